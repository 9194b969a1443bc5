# SPDX-License-Identifier: Apache-2.0
"""`foveate serve`: what lies between the command line and the service."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .cli_encode import Failure


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; public ones need a token or mTLS.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Of HTTP. 0: any that is free.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=-1, max=65535, help="Of gRPC. 0: any; -1: no gRPC.")] = 8001,
    metrics_host: Annotated[str, typer.Option(help="Where metrics are.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=-1, max=65535, help="Of metrics. 0: any; -1: no metrics.")] = 8002,
    token_file: Annotated[Path | None, typer.Option(help="Tokens that may ask. Else: FOVEATE_SERVE_TOKEN.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="Whose certificates clients need, PEM.")] = None,
    model: Annotated[list[str], typer.Option(help="To serve. May be repeated. Default: all.")] = (),
    encoder: Annotated[Path | None, typer.Option(help="Folder of a checkpoint, for the model embed.")] = None,
    encoder_device: Annotated[str, typer.Option(help="Of torch.")] = "cpu",
    backend: Annotated[str, typer.Option(help="auto, cpu, vulkan, opengl or cuda.")] = "auto",
    device: Annotated[str | None, typer.Option(help="UUID, index or part of its name.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the cpu backend.")] = None,
    decode_workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that decode. 0: in this one.")] = 1,
    memory: Annotated[Path | None, typer.Option(help="Socket for clients that share memory on this machine.")] = None,
    max_batch_size: Annotated[int, typer.Option(help="Images that run together.")] = 32,
    preferred_batch_size: Annotated[list[int], typer.Option(help="That go at once. May be repeated.")] = (),
    max_queue_delay_microseconds: Annotated[int, typer.Option(help="How long an idle engine waits for more.")] = 0,
    limit: Annotated[list[str], typer.Option(help="NAME=NUMBER, see docs/guide/serve.md. May be repeated.")] = (),
    triton_metrics: Annotated[bool, typer.Option("--triton-metrics", help="Metrics by Triton's names too.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    as_json: Annotated[bool, typer.Option("--json", help="Addresses as one JSON document.")] = False,
):
    """Answer requests of the Open Inference Protocol v2 over HTTP and gRPC, until SIGTERM."""
    try:
        from .serve import server
        from .serve.batcher import Batching
        from .serve.limits import parsed
        from .serve.models import MODELS
    except ModuleNotFoundError as error:
        raise Failure(f'serve: got no {error.name}, expected it installed. pip install "foveate[serve]"') from None
    known = [*MODELS, *(["embed"] if encoder else [])]
    unknown = ", ".join(name for name in model if name not in known)
    if unknown:
        raise Failure(f"serve: model: got {unknown}, expected some of {', '.join(known)}.")
    if encoder and not (encoder / "config.json").is_file():
        raise Failure(f"serve: encoder: got {encoder}, expected a folder with config.json and safetensors.")
    if log_level not in ("debug", "info", "warning", "error"):
        raise Failure(f"serve: log_level: got {log_level}, expected debug, info, warning or error.")
    if bool(tls_cert) != bool(tls_key) or (tls_client_ca and not tls_cert):
        raise Failure("serve: tls: got one file without the other, expected --tls-cert with --tls-key, and with "
                      "--tls-client-ca both.")
    settings = server.Settings(
        host=host, http_port=http_port, grpc_port=None if grpc_port < 0 else grpc_port, metrics_host=metrics_host,
        metrics_port=None if metrics_port < 0 else metrics_port, token_file=token_file, tls_cert=tls_cert,
        tls_key=tls_key, tls_client_ca=tls_client_ca, engine={"backend": backend, "device": device, "threads": threads},
        limits=parsed(limit), batching=Batching(max_batch_size, tuple(preferred_batch_size),
                                                max_queue_delay_microseconds),
        models=tuple(model) or None, encoder=encoder, encoder_device=encoder_device, decode_workers=decode_workers,
        memory=memory, triton_metrics=triton_metrics, log_level=log_level)

    def announce(addresses):
        if as_json:
            print(json.dumps({what: {"host": host, "port": port} for what, (host, port) in addresses.items()}))
        for what, (where, port) in () if as_json else addresses.items():
            scheme = {"grpc": "grpc"}.get(what, "http") + ("s" if tls_cert and what != "metrics" else "")
            path = {"http": "/v2", "metrics": "/metrics"}.get(what, "")
            print(f"{scheme}://{f'[{where}]' if ':' in where else where}:{port}{path}")
        sys.stdout.flush()

    raise typer.Exit(server.run(settings, announce))
