# SPDX-License-Identifier: Apache-2.0
# Sourced: the validation layer on for every instance, synchronisation included. Old layers read the first
# two variables, newer ones the last. The empty folder keeps a user's own layer settings out. FOVEATE_VALIDATION is
# for tests that make engines in several threads at once, which the layer does not lock.
export FOVEATE_VALIDATION=1
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
export VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT:VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
export VK_VALIDATION_VALIDATE_SYNC=1
export XDG_DATA_HOME=$FOVEATE_EMPTY
export FOVEATE_STRESS_VULKAN=1 FOVEATE_STRESS_CALLS=24
