# SPDX-License-Identifier: Apache-2.0
"""The service over gRPC: what each of its calls answers. `door.py` is what stands in front of them."""

from functools import partial

from google.protobuf.json_format import ParseDict
from tritonclient.grpc import service_pb2 as pb

from . import message
from .fault import Fault
from .service import Account
from .stream import stream

SERVICE = "inference.GRPCInferenceService"
HEALTH = "/grpc.health.v1.Health/Check"
STREAM = f"/{SERVICE}/ModelStreamInfer"
PUBLIC = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", HEALTH)
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"     # grpc.health.v1.HealthCheckResponse
UNSUPPORTED = {
    "shared memory by name": [f"{kind}SharedMemory{what}" for kind in ("System", "Cuda")
                              for what in ("Status", "Register", "Unregister")],
    "loading and unloading of models": ["RepositoryModelLoad", "RepositoryModelUnload"],
    "changing of logs": ["LogSettings"],
    "tracing by request": ["TraceSetting"],
}


def methods():
    """{path: what answers it}; each is called with the service and a Call."""
    simple = {
        "ServerLive": (pb.ServerLiveRequest, pb.ServerLiveResponse, lambda service, _: {"live": True}),
        "ServerReady": (pb.ServerReadyRequest, pb.ServerReadyResponse, lambda service, _: {"ready": service.ready}),
        "ModelReady": (pb.ModelReadyRequest, pb.ModelReadyResponse, _model_ready),
        "ServerMetadata": (pb.ServerMetadataRequest, pb.ServerMetadataResponse,
                           lambda service, _: service.metadata()),
        "ModelMetadata": (pb.ModelMetadataRequest, pb.ModelMetadataResponse,
                          lambda service, asked: service.model_metadata(asked.name, asked.version)),
        "ModelConfig": (pb.ModelConfigRequest, pb.ModelConfigResponse,
                        lambda service, asked: {"config": service.model_config(asked.name, asked.version)}),
        "ModelStatistics": (pb.ModelStatisticsRequest, pb.ModelStatisticsResponse,
                            lambda service, asked: service.model_statistics(asked.name, asked.version)),
        "RepositoryIndex": (pb.RepositoryIndexRequest, pb.RepositoryIndexResponse,
                            lambda service, asked: {"models": service.index(asked.ready)}),
    }
    found = {name: partial(_simple, *how) for name, how in simple.items()}
    found |= {name: partial(_refuse, what) for what, names in UNSUPPORTED.items() for name in names}
    found |= {"ModelInfer": _infer, "ModelStreamInfer": stream}
    return {f"/{SERVICE}/{name}": call for name, call in found.items()} | {HEALTH: _health}


def _model_ready(service, asked):
    service.model(asked.name, asked.version)
    return {"ready": service.ready}


async def _simple(asked, answer, call_of, service, call):
    request = message.parsed(asked, await call.read(service.limits.header_json), service.limits)
    await call.write(ParseDict(call_of(service, request), answer()).SerializeToString())


async def _refuse(what, service, call):
    raise Fault("unsupported", what=what)


async def _health(service, call):
    """Of the whole server, or of its one service by name: what Kubernetes and load balancers ask."""
    asked = await call.read(service.limits.header_json)
    if asked not in (b"", b"\x0a\x00", b"\x0a" + bytes([len(SERVICE)]) + SERVICE.encode()):
        raise Fault("not_found")
    await call.write(SERVING if service.ready else NOT_SERVING)


async def _infer(service, call):
    limits = service.limits

    def check():
        if service.gate.full and not service.draining:
            raise Fault("queue")

    check()
    data = await call.read(limits.body, check)
    held = len(data)
    service.bodies.take(held)
    try:
        if service.draining:
            raise Fault("draining")
        found = await message.opened(data, limits)
        call.account = Account(principal=call.principal, traceparent=call.traceparent)
        service.model(found.head.model_name, found.head.model_version)
        request = await message.request_of(found, limits)
        del data, found
        response = await service.infer(request, call.account)
    finally:
        service.bodies.give(held)
    await call.write(b"".join(message.write(response)))
