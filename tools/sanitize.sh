#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the engine and its C++ tests with sanitizers and runs them.
# Usage: tools/sanitize.sh NAME SANITIZERS [CTEST OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?} sanitizers=${2:?}
shift 2
folder=build/$name
. .cache/env.sh
python=OFF  # only the address sanitizer can be loaded into an ordinary Python
[ "$name" != asan ] || python=ON
cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFOVEATE_TESTS=ON \
    -DFOVEATE_PYTHON=$python -DPython_EXECUTABLE="$PWD/.venv/bin/python" \
    -DFOVEATE_SANITIZE="$sanitizers" >"$folder.log" 2>&1 || { cat "$folder.log"; exit 1; }
cmake --build "$folder" >"$folder.log" 2>&1 || { tail -n 40 "$folder.log"; exit 1; }
# Drivers are not ours: their leaks and their uninstrumented threads are named, one reason each.
# Fake stacks do not align 64-byte vectors (GCC bug 110027).
export ASAN_OPTIONS=detect_stack_use_after_return=0:strict_string_checks=1:verify_asan_link_order=0
export LSAN_OPTIONS=suppressions=$PWD/tools/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=suppressions=$PWD/tools/tsan.supp:halt_on_error=1
export FOVEATE_STRESS_VULKAN=1 FOVEATE_STRESS_CALLS=24
export VK_DRIVER_FILES=$FOVEATE_ICD_LAVAPIPE VK_ICD_FILENAMES=$FOVEATE_ICD_LAVAPIPE
# The loader unloads a driver with its last instance; kept in memory, its leaks still have a name.
driver=$(sed -n 's/.*"library_path": *"\([^"]*\)".*/\1/p' "$FOVEATE_ICD_LAVAPIPE")
LD_PRELOAD=$driver ctest --test-dir "$folder" --output-on-failure --no-tests=error --timeout 300 -j "$(nproc)" "$@"
