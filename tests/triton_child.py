# SPDX-License-Identifier: Apache-2.0
"""A real Triton with two models, in an environment of its own (see real_triton.py): `foveate`, which has the ports of
our model of that name and answers with numbers of no meaning, and what docs/guide/serve_scale.md binds.

Its arguments: the JSON of the ports, the source of the page's block, and the ports of HTTP, gRPC and metrics, which it
says on a line when it is ready.
"""

import json
import signal
import sys

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

TYPES = {"BYTES": bytes, "UINT8": np.uint8, "FP32": np.float32, "INT32": np.int32, "BOOL": np.bool_}


def tensors(ports):
    return [Tensor(name=name, dtype=TYPES[datatype], shape=tuple(shape), optional=optional)
            for name, datatype, shape, optional in ports]


def echo(outputs):
    """As many images as came, and two tokens each."""
    def infer(requests):
        answers = []
        for request in requests:
            count = len(request.data.get("image", ())) or 1
            answers.append({name: np.ones([count if axis == 0 else 2 for axis in range(len(shape))], TYPES[datatype])
                            for name, datatype, shape, _ in outputs})
        return answers

    return infer


ports, block = json.loads(sys.argv[1]), {"__name__": "recipe"}
http, grpc, metrics = map(int, sys.argv[3:6])
exec(compile(sys.argv[2], "recipe", "exec"), block)
config = TritonConfig(http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc,
                      metrics_port=metrics, allow_gpu_metrics=False)
with Triton(config=config, security_config=TritonSecurityConfig(restricted_endpoints=[])) as triton:
    triton.bind("foveate", echo(ports["outputs"]), tensors(ports["inputs"]), tensors(ports["outputs"]),
                config=ModelConfig(batching=False))
    block["bind"](triton)
    print("READY", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
