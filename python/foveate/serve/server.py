# SPDX-License-Identifier: Apache-2.0
"""A service's life: sockets, signals, an orderly end."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from dataclasses import dataclass, field
from functools import partial

from ..error import InputError, require
from . import http, logs, metrics, slack
from .auth import check_bind, load_keys
from .batcher import Batching
from .decoding import DecodeThreads
from .door import RpcServer
from .limits import Limits
from .listener import Listener
from .models.embed import embed_of
from .principals import MEMORY
from .service import Account, Service
from .shared import MemoryServer
from .traces import Traces
from .worker import DecodePool

LAST = 0.25     # seconds between the last answer and the end of the listeners: who asks again is told, not cut off


@dataclass(frozen=True)
class Settings:
    """What `foveate serve` is started with. A port of 0 is any that is free; of None: none."""

    host: str = "127.0.0.1"
    http_port: int | None = 8000
    grpc_port: int | None = 8001
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = 8002
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    engine: dict = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    batching: Batching = field(default_factory=Batching)
    models: tuple[str, ...] | None = None
    encoder: str | None = None      # folder of a checkpoint, for the model embed
    encoder_device: str = "cpu"
    decode_workers: int = 1
    memory: str | None = None       # path of the socket for clients on this machine
    triton_metrics: bool = False
    traces: bool = False            # OpenTelemetry's
    log_level: str = "info"


def run(settings, announce=lambda addresses: None) -> int:
    """Serves until SIGTERM or SIGINT, and returns the exit status. `announce` gets {what: (host, port)}.

    The second signal ends everything at once.
    """
    return asyncio.run(serve(settings, announce))


async def serve(settings, announce=lambda addresses: None) -> int:
    """The same in a loop that runs already, on its main thread."""
    keys = load_keys(settings.token_file)
    check_bind(settings.host, keys, settings.tls_client_ca)
    if settings.metrics_port is not None:
        check_bind(settings.metrics_host, keys, None)
    _check_tls(settings)
    embed = embed_of(settings.encoder, settings.encoder_device) if settings.encoder else None
    _more_descriptors(settings.limits.connections)
    slack.hold()
    sockets = _sockets(settings)
    traces = Traces() if settings.traces else None
    lines = logs.set_up(settings.log_level)
    service = Service(settings.engine, limits=settings.limits, batching=settings.batching,
                      decoder=decoder(settings), models=settings.models, embed=embed)
    service.done += [traces] if traces else []
    try:
        calls = _calls(settings, service, keys)
        await service.start()
        async with contextlib.AsyncExitStack() as beside:
            if settings.memory is not None:
                await beside.enter_async_context(MemoryServer(settings.memory, partial(_in_memory, service),
                                                                    limits=settings.limits))
            if calls is not None:
                beside.push_async_callback(calls.stop)
            listeners = _listeners(settings, service, keys)
            return await _until_told(service, listeners, sockets, calls, announce)
    finally:
        await service.close()
        for one in sockets.values():
            one.close()
        if traces:
            await asyncio.to_thread(traces.close)
        lines.close()


async def _in_memory(service, request):
    with service.principals.request(MEMORY):
        return await service.infer(request, Account(principal=MEMORY))


def decoder(settings):
    """Where encoded images become pixels: in processes of their own, or with no worker on a thread of this one."""
    limits = settings.limits
    if settings.decode_workers == 0:
        return DecodeThreads(1, limits)
    return DecodePool(settings.decode_workers, pixels=limits.pixels, file_bytes=limits.encoded,
                      wait_s=limits.request_s, timeout_s=min(15.0, limits.request_s))


def _check_tls(settings):
    """Here, because HTTP and gRPC would each complain in words of its own, or ask the terminal for a password."""
    if not settings.tls_cert:
        return
    import ssl

    context, good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), True
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
    except ssl.SSLError:
        good = False
    require(good, "serve: tls", "files that do not fit",
            "PEM: a certificate, its key without a password, and certificates")


def _more_descriptors(connections):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _sockets(settings):
    found = {}
    for what, host, port in (("http", settings.host, settings.http_port),
                             ("metrics", settings.metrics_host, settings.metrics_port)):
        if port is None:
            continue
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            one = socket.create_server((host, port), family=family, backlog=1024)
            # asyncio sends at once, without Nagle's 40 ms, only where the socket says that it is TCP
            found[what] = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, one.detach())
        except OSError as error:
            for one in found.values():
                one.close()
            raise _taken(what, host, port, os.strerror(error.errno or 0)) from None
    return found


def _taken(what, host, port, why):
    return InputError(f"serve: {what} port: got {host} {port} ({why}), expected an address that is free. Choose "
                      f"another with --{what}-port.")


def _calls(settings, service, keys):
    """gRPC on its port, not started yet; None where none is wanted."""
    if settings.grpc_port is None:
        return None
    calls = RpcServer(service, keys)
    tls = (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if settings.tls_cert else ()
    try:
        calls.bind(settings.host, settings.grpc_port, *tls)
    except OSError as error:
        raise _taken("grpc", settings.host, settings.grpc_port, error) from None
    return calls


def _listeners(settings, service, keys):
    tls = {}
    if settings.tls_cert:
        import ssl

        tls = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
        if settings.tls_client_ca:
            tls |= {"ssl_ca_certs": settings.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    limits = settings.limits
    found = {}
    if settings.http_port is not None:
        found["http"] = Listener(http.app(service, keys), limits, **tls)
    if settings.metrics_port is not None:
        shown = metrics.Metrics(service, settings.triton_metrics)
        found["metrics"] = Listener(metrics.app(shown, limits, keys), limits)
    return found


async def _until_told(service, listeners, sockets, calls, announce):
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def signalled():
        if told.is_set():
            os._exit(1 if service.gate.active else 0)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    tasks = [loop.create_task(listeners[what].serve([sockets[what]])) for what in listeners]
    while not all(one.started for one in listeners.values()) and not any(task.done() for task in tasks):
        await asyncio.sleep(0.005)
    addresses = {what: one.getsockname()[:2] for what, one in sockets.items()}
    if calls is not None:
        await calls.start()
        addresses["grpc"] = calls.address
    announce(addresses)
    waiting = loop.create_task(told.wait())
    await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    logs.log.info("draining", extra={"fields": {"in_flight": service.gate.active}})
    await service.drain()
    await asyncio.sleep(LAST)
    for one in listeners.values():
        one.should_exit = True
    if calls is not None:
        await calls.stop()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    logs.log.info("ended")
    return 1 if any(isinstance(one, BaseException) for one in ended) else 0
