# SPDX-License-Identifier: Apache-2.0
"""The service behind every wire: what is served, and a request from its first check to its tensors."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from .. import __version__
from ..decode import DecodeError
from ..engine import Engine
from ..error import DeviceError, DeviceLostError, Error, InputError, LimitError, MemoryBudgetError, WaitTimeoutError
from . import describe
from .batcher import Batcher, Batching
from .decoding import DecodeThreads
from .fault import Fault, shown
from .gate import Bodies, Gate
from .limits import Limits
from .models import MODELS, VERSION
from .principals import Principals
from .protocol import Request, Response
from .slack import Slack
from .statistics import Statistics
from .work import image_fault, worker_fault
from .worker import WorkerError

log = logging.getLogger("foveate.serve")


@dataclass
class Account:
    """What is known of a request when it ends, for logs and metrics."""

    principal: str = "anyone"
    model: str = ""
    pixels: int = 0
    images: int = 0
    decode_ns: int = 0
    queue_ns: int = 0
    run_ns: int = 0
    batch: int = 0
    traceparent: str = ""       # the client's span, as W3C's Trace Context writes it
    kept: list | None = None    # where the pixels of its images go, for who asks again about them


class Service:
    """Answers requests with one Engine.

    Args:
        engine: options of the Engine, as a dict.
        limits: see Limits; None: the defaults.
        batching: see Batching; None: the defaults.
        decoder: a DecodePool that is not open yet, or what does the same; None: a thread of this process.
        models: names of those to serve; None: all.
        embed: the model of that name, see models/embed.py; None: there is none.

    `await start()` before anything else, `await drain()` and `await close()` in the end.
    """

    def __init__(self, engine=None, *, limits=None, batching=None, decoder=None, models=None, embed=None):
        self.limits = limits or Limits()
        self.batching = batching or Batching()
        known = {**MODELS, "embed": embed} if embed is not None else MODELS
        self.models = {name: known[name] for name in models or known}
        self.statistics = {name: Statistics(name, VERSION) for name in self.models}
        self.gate, self.slack = Gate(self.limits), Slack(lambda: self.gate.active or self.bodies.held, self._rest)
        self.bodies = Bodies(self.limits.bodies, self.slack.soon)
        self.principals = Principals(self.limits)
        self.draining = self.dead = False
        self.done = []          # called with (Account, Fault or None, seconds) when a request ends
        self._options, self._decoder = dict(engine or {}), decoder
        self._engine = self._batcher = None

    async def start(self):
        loop = asyncio.get_running_loop()
        self._engine = await loop.run_in_executor(None, lambda: Engine(**self._options))
        self._decoder = await (self._decoder or DecodeThreads(1, self.limits)).open()
        self._batcher = Batcher(self._execute, self.batching)

    async def drain(self):
        """Nothing new begins from now on; returns when all that has begun is done, or the time for it is over."""
        self.draining = True
        end = time.monotonic() + self.limits.drain_s
        while (self.gate.active or self.gate.waiting) and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def close(self):
        self.draining = True
        await self.slack.close()
        if self._batcher is not None:
            await self._batcher.close()
            await self._decoder.close()
            self._engine.close()

    @property
    def backend(self) -> str:
        return self._engine.backend["sample"]

    @property
    def ready(self) -> bool:
        """Whether a request that came now would be begun."""
        if self._batcher is None or self.draining or self.dead or self.gate.full or not self._decoder.healthy:
            return False
        since = self._batcher.busy_since
        return since is None or time.monotonic() - since < self.limits.request_s

    def model(self, name, version=""):
        """The module of a model."""
        if name not in self.models:
            raise Fault("unknown_model", name=shown(name))
        if version not in ("", VERSION):
            raise Fault("unknown_version", name=name, version=shown(version))
        return self.models[name]

    def metadata(self):
        return {"name": "foveate", "version": __version__, "extensions": list(describe.EXTENSIONS)}

    def model_metadata(self, name, version=""):
        return describe.metadata(name, self.model(name, version))

    def model_config(self, name, version=""):
        return describe.config(name, self.model(name, version), self.batching, self.limits)

    def model_statistics(self, name="", version=""):
        if name:
            self.model(name, version)
        return {"model_stats": [one.as_dict() for key, one in self.statistics.items() if name in ("", key)]}

    def index(self, ready=False):
        return [{"name": name, "version": VERSION, "state": "READY" if self.ready else "UNAVAILABLE", "reason": ""}
                for name in self.models if self.ready or not ready]

    async def infer(self, request: Request, account: Account | None = None) -> Response:
        """Raises Fault, and nothing else but CancelledError."""
        start, account, fault = time.monotonic(), account or Account(), None
        try:
            return await self._infer(request, account, start)
        except Fault as error:
            fault = error
            raise
        except asyncio.CancelledError:
            fault = Fault("cancelled")
            raise
        except Exception as error:
            fault = self._fault_of(error)
            raise fault from error
        finally:
            if fault is not None and account.model:
                self.statistics[account.model].add("fail", (time.monotonic() - start) * 1e9)
            for call in self.done:
                call(account, fault, time.monotonic() - start)
            self.slack.soon()

    async def _infer(self, request, account, start):
        module = self.model(request.model, request.version)
        account.model = request.model
        if self.draining or self._batcher is None:
            raise Fault("draining")
        if self.dead:
            raise Fault("not_ready")
        work = module.plan(request, self.limits)
        account.pixels, account.images = work.pixels, len(work.sources)
        try:
            async with asyncio.timeout_at(self._end(request)), self._place(account.principal, work.price):
                begin = time.monotonic_ns()
                work.images = await self._decoded(work)
                account.decode_ns = time.monotonic_ns() - begin
                if account.kept is not None:
                    account.kept[:] = work.images
                done = await self._batcher.submit(work, module.BATCHES)
        except TimeoutError:
            raise Fault("deadline") from None
        account.queue_ns, account.run_ns, account.batch = done.queue_ns, done.run_ns, done.batch
        elapsed = (time.monotonic() - start) * 1e9
        self.statistics[request.model].succeeded(elapsed, max(1, len(work.images)), account.decode_ns, done)
        return Response(request.model, VERSION, request.id, [done.outputs[name] for name in work.names])

    @contextlib.asynccontextmanager
    async def _place(self, principal, price):
        with self.principals.pixels(principal, price):
            async with self.gate.entered(price):
                yield

    def _end(self, request):
        """The loop's time when the request is over: Triton's `timeout`, in microseconds, can only make it sooner."""
        asked = request.parameters.get("timeout", 0)
        seconds = self.limits.request_s
        if type(asked) is int and asked > 0:
            seconds = min(seconds, asked * 1e-6)
        return asyncio.get_running_loop().time() + seconds

    async def _decoded(self, work):
        if len(work.sources) == 1:
            return [await self._pixels_of(0, work.sources[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._pixels_of(*one)) for one in enumerate(work.sources)]
        return [task.result() for task in tasks]

    async def _pixels_of(self, index, source):
        if not isinstance(source, bytes):
            return source
        try:
            return await self._decoder.decode(source)
        except DecodeError as error:
            raise image_fault(index, error.code, self.limits) from None
        except WorkerError as error:
            log.warning("decode worker", extra={"fields": {"code": error.code}})
            raise worker_fault(index, error.code) from None

    def _execute(self, works):
        """On the engine's thread: outputs, or an exception, for each work. A work fails for itself alone."""
        module = self.models[works[0].request.model]
        try:
            return module.run(self._engine, works)
        except (DeviceLostError, WaitTimeoutError):
            self._reopen()
            raise
        except Exception as error:
            if len(works) == 1:
                return [error]
        return [self._execute([work])[0] for work in works]

    async def _rest(self):
        """The engine keeps blocks of every size that it needed: a new one, where that takes a millisecond, has none."""
        if self._batcher is not None and not self.draining and set(self._engine.backend.values()) == {"cpu"}:
            await self._batcher.between(self._renew)

    def _renew(self):
        new = Engine(**self._options)
        old, self._engine = self._engine, new
        old.close()

    def _reopen(self):
        """A lost device does not come back; a new Engine may find one."""
        try:
            self._engine.close()
            self._engine = Engine(**self._options)
        except Error:
            self.dead = True
            log.exception("no device")

    def _fault_of(self, error):
        """What an exception is to the client. The log has the rest."""
        if isinstance(error, ExceptionGroup):
            inner = error.exceptions[0]
            return inner if isinstance(inner, Fault) else self._fault_of(inner)
        if isinstance(error, InputError):
            return Fault("engine", text=str(error))     # our own words, about this request's values
        if isinstance(error, LimitError):
            return Fault("limit")
        log.error("request failed", exc_info=error)
        if isinstance(error, (MemoryBudgetError, MemoryError)):
            return Fault("memory")
        return Fault("device" if isinstance(error, (DeviceError, WaitTimeoutError)) else "internal")
