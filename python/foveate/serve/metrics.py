# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads: our own names, and where asked Triton's beside them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from .fault import Fault
from .guard import Guard
from .principals import KINDS

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
STAGES = {"decode": "decode_ns", "queue": "queue_ns", "engine": "run_ns"}


class Metrics:
    """Of one service, in a registry of its own. triton: Triton's names too."""

    def __init__(self, service, triton=False):
        self.registry = CollectorRegistry()
        self._requests = self._make(Counter, "requests", "Inference requests that ended.", ("model", "code"))
        self._seconds = self._make(Histogram, "request_seconds", "Time of a request that succeeded.", ("model",),
                                   buckets=SECONDS)
        self._stages = self._make(Histogram, "stage_seconds", "Time of its parts.", ("stage",), buckets=SECONDS)
        self._batch = self._make(Histogram, "batch_images", "Images that ran together.", ("model",),
                                 buckets=(1, 2, 4, 8, 16, 32, 64))
        self._images = self._make(Counter, "images", "Images.", ("model",))
        self._pixels = self._make(Counter, "pixels", "Pixels of images.", ("model",))
        refused = self._make(Counter, "principal_refused", "Requests and streams over a limit of one principal.",
                             ("limit",))
        by_limit = {kind: refused.labels(kind) for kind in KINDS}       # all there are: names are in the log
        service.principals.refused.append(lambda kind: by_limit[kind].inc())
        gate, bodies = service.gate, service.bodies
        for name, what, value in (
            ("requests_in_flight", "Requests that are worked on.", lambda: gate.active),
            ("requests_waiting", "Requests that wait for their turn.", lambda: gate.waiting),
            ("pixels_in_flight", "Pixels of them, a third of the numbers that come out among them.",
             lambda: gate.pixels),
            ("body_bytes", "Bytes of request bodies that are held.", lambda: bodies.held),
            ("ready", "1: ready.", lambda: float(service.ready)),
        ):
            self._make(Gauge, name, what).set_function(value)
        if triton:
            self.registry.register(_Triton(service))
        service.done.append(self._ended)

    def _make(self, kind, name, what, labels=(), **options):
        return kind(f"foveate_{name}", what, labels, registry=self.registry, **options)

    def _ended(self, account, fault, seconds):
        model = account.model or "unknown"
        self._requests.labels(model, fault.code if fault else "ok").inc()
        if fault:
            return
        self._seconds.labels(model).observe(seconds)
        for stage, field in STAGES.items():
            self._stages.labels(stage).observe(getattr(account, field) * 1e-9)
        self._batch.labels(model).observe(account.batch)
        self._images.labels(model).inc(account.images)
        self._pixels.labels(model).inc(account.pixels)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Triton:
    """The names that dashboards made for Triton ask for."""

    def __init__(self, service):
        self._service = service

    def collect(self):
        labels = ("model", "version")
        statistics = self._service.statistics.values()

        def family(name, what, value, **more):
            # not a counter's family: its samples would end in _total, and Triton's do not
            found = Metric(f"nv_inference_{name}", what, "unknown")
            for one in statistics:
                found.add_sample(found.name, {"model": one.name, "version": one.version, **more}, value(one))
            return found

        yield family("request_success", "Requests that succeeded.", lambda one: one.parts["success"][0])
        yield family("request_failure", "Requests that failed.", lambda one: one.parts["fail"][0], reason="OTHER")
        yield family("count", "Inferences.", lambda one: one.inferences)
        yield family("exec_count", "Batches.", lambda one: one.executions)
        for name, part in (("request_duration_us", "success"), ("queue_duration_us", "queue"),
                           ("compute_input_duration_us", "compute_input"),
                           ("compute_infer_duration_us", "compute_infer"),
                           ("compute_output_duration_us", "compute_output")):
            yield family(name, f"Time of {part}, us.", lambda one, part=part: one.parts[part][1] // 1000)
        pending = GaugeMetricFamily("nv_inference_pending_request_count", "Requests that wait.", labels=labels)
        for one in statistics:
            pending.add_metric((one.name, one.version), self._service.gate.waiting)
        yield pending


def app(metrics, limits, keys=None):
    """The ASGI app of /metrics."""
    async def serve(scope, receive, send):
        if scope["path"] != "/metrics":
            raise Fault("not_found")
        if scope["method"] not in ("GET", "HEAD"):
            raise Fault("method")
        response = Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
        await response(scope, receive, send)

    return Guard(serve, limits, keys, public=())
