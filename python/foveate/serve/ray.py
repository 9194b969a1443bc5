# SPDX-License-Identifier: Apache-2.0
"""The service under Ray Serve: replicas of one engine each, more of them as more is asked for.

    foveate.serve.ray.run(replicas=(1, 4))                  here, or where RAY_ADDRESS is
    serve run foveate.serve.ray:application backend=cpu     by Ray's own command

Ray's proxies are in front of it: they read requests, and hand them to replicas. See docs/guide/serve_ray.md.
"""

import importlib
import re

from ..error import UnsupportedError, require
from . import http
from .auth import check_bind, load_keys
from .server import Settings, decoder
from .service import Service

WAIT_S = 5      # beyond its own time to drain, until Ray ends a replica that does not
NUMBERS = {"decode_workers": "1", "min_replicas": "1", "max_replicas": "4", "cpus": "1", "gpus": "0"}
WORDS = ("host", "token_file", "backend", "device", *NUMBERS)


class Replica:
    """What Ray asks of one. A lost device that did not come back is the end of it: Ray starts another."""

    def check_health(self):
        if self.app.service.dead:
            raise RuntimeError("no device")


def copied(app, service):
    """The app for a server in another process: what is sent is bytes, and not memory of this one."""
    async def plain(scope, receive, send):
        async def sent(message):
            await send({**message, "body": bytes(message["body"])} if "body" in message else message)

        await app(scope, receive, sent)

    plain.service = service
    return plain


def _serve():
    try:
        return importlib.import_module("ray.serve")
    except ModuleNotFoundError:
        raise UnsupportedError('serve: Ray: got no ray, expected it installed. pip install "foveate[ray,serve]"'
                               ) from None


def deployment(settings=None, *, replicas=(1, 4), cpus=1.0, gpus=0.0, **options):
    """An application for `ray.serve.run`.

    Args:
        settings: server.Settings. `host` is where Ray's proxies listen; TLS is theirs.
        replicas: (at least, at most) so many.
        cpus, gpus: of a replica.
        options: others of Ray's `deployment`, above ours; of `autoscaling_config`, a dict, each by itself.
    """
    serve, settings = _serve(), settings or Settings()
    low, high = replicas
    require(1 <= low <= high, "serve: replicas", f"{low}, {high}", "1 <= at least <= at most")
    require(not settings.tls_cert, "serve: TLS under Ray", settings.tls_cert, "none", "Ray's proxies have their own.")
    keys, limits = load_keys(settings.token_file), settings.limits     # of tokens their digests, which alone travel
    check_bind(settings.host, keys, None)

    def built():
        service = Service(settings.engine, limits=limits, batching=settings.batching, decoder=decoder(settings),
                          models=settings.models)
        return copied(http.app(service, keys), service)

    chosen = {
        "name": "foveate",
        "autoscaling_config": {"min_replicas": low, "max_replicas": high, "initial_replicas": low,
                               "target_ongoing_requests": max(1, limits.in_flight // 4)},
        "ray_actor_options": {"num_cpus": cpus, "num_gpus": gpus},
        # the service has its own queue, and says no in its own words
        "max_ongoing_requests": 2 * (limits.in_flight + limits.queue),
        "graceful_shutdown_wait_loop_s": 0.5, "graceful_shutdown_timeout_s": limits.drain_s + WAIT_S,
    }
    scaling = options.get("autoscaling_config")
    if isinstance(scaling, dict):
        options["autoscaling_config"] = chosen["autoscaling_config"] | scaling
    return serve.deployment(**chosen | options)(serve.ingress(built)(Replica)).bind()


def application(arguments: dict[str, str]):
    """What `serve run foveate.serve.ray:application NAME=VALUE ...` makes.

    Without `host` it takes it that others reach Ray's proxies, and wants a token.
    """
    for word in arguments:
        require(word in WORDS, "serve: argument", word, ", ".join(WORDS))
    given = {"host": "0.0.0.0", **NUMBERS, **arguments}
    for word in NUMBERS:
        form = r"\d{1,4}(\.\d{1,4})?" if word in ("cpus", "gpus") else r"\d{1,4}"
        require(re.fullmatch(form, given[word]), "serve: argument", f"{word}={given[word]}", "a number")
    engine = {name: given[name] for name in ("backend", "device") if name in given}
    settings = Settings(host=given["host"], token_file=given.get("token_file"), engine=engine,
                        decode_workers=int(given["decode_workers"]))
    return deployment(settings, replicas=(int(given["min_replicas"]), int(given["max_replicas"])),
                      cpus=float(given["cpus"]), gpus=float(given["gpus"]))


def run(settings=None, **options):
    """Starts the application where Ray is, or here; Ray's proxies listen on its host and HTTP port."""
    serve, settings = _serve(), settings or Settings()
    made = deployment(settings, **options)
    serve.start(http_options={"host": settings.host, "port": settings.http_port})
    return serve.run(made, name="foveate", route_prefix="/")
