# SPDX-License-Identifier: Apache-2.0
"""Metadata and configuration of models, as JSON of the Open Inference Protocol and of Triton has them."""

from .models import VERSION

# What Triton calls the parts of the protocol that are spoken here.
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "schedule_policy",
              "statistics")


def metadata(name, module):
    """Of a model. An input of several types is named by its first."""
    return {"name": name, "versions": [VERSION], "platform": "foveate",
            "inputs": [_port(port) for port in module.INPUTS], "outputs": [_port(port) for port in module.OUTPUTS]}


def _port(port):
    return {"name": port.name, "datatype": port.datatypes[0], "shape": list(port.dims)}


def config(name, module, batching, limits):
    """Of a model, in the shape of Triton's model configuration. What a model takes and means is in `parameters`."""
    found = {
        "name": name, "platform": "foveate", "backend": "foveate", "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": batching.max_batch_size if module.BATCHES else 0,
        "input": [{**_entry(port, module), "format": "FORMAT_NONE", "allow_ragged_batch": False,
                   "optional": port.optional} for port in module.INPUTS],
        "output": [{**_entry(port, module), "label_filename": ""} for port in module.OUTPUTS],
        "instance_group": [{"name": name, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "", "cc_model_filenames": {}, "metric_tags": {}, "model_warmup": [],
        "parameters": {key: {"string_value": known.expected} for key, known in module.parameters(limits).items()},
        "model_transaction_policy": {"decoupled": False},
    }
    if module.BATCHES:
        found["dynamic_batching"] = {
            "preferred_batch_size": list(batching.preferred_batch_size) or [batching.max_batch_size],
            "max_queue_delay_microseconds": batching.max_queue_delay_microseconds, "preserve_ordering": False,
            "priority_levels": 0, "default_priority_level": 0, "priority_queue_policy": {},
            "default_queue_policy": {"timeout_action": "REJECT", "allow_timeout_override": True,
                                     "default_timeout_microseconds": int(limits.queue_s * 1e6),
                                     "max_queue_size": limits.queue},
        }
    return found


def _entry(port, module):
    """Without the axis of the batch, where there is one; what is left of one axis is written as [1]."""
    dims = list(port.dims[1:] if module.BATCHES else port.dims) or [1]
    kind = {"BYTES": "STRING"}.get(port.datatypes[0], port.datatypes[0])
    return {"name": port.name, "data_type": f"TYPE_{kind}", "dims": dims, "is_shape_tensor": False}
