# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry's spans of requests: the whole, and in it decoding, waiting for the engine, and the engine.

Where they go is told by OpenTelemetry's own variables, as OTEL_EXPORTER_OTLP_ENDPOINT. Spans are made when a request
ends, of the times that it took; a client's `traceparent` is their parent.
"""

import time

from .. import __version__
from ..error import UnsupportedError


class Traces:
    """Called when a request ends, as `Service.done` has it. exporter: None: OTLP over HTTP, in the background."""

    def __init__(self, exporter=None):
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ModuleNotFoundError as error:
            raise UnsupportedError(f"serve: traces: got no {error.name}, expected it installed. "
                                   'pip install "foveate[otel]"') from None
        self._trace, self._parents = trace, TraceContextTextMapPropagator()
        named = Resource({"service.name": "foveate", "service.version": __version__})
        named = named.merge(OTELResourceDetector().detect())    # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
        self._provider = TracerProvider(resource=named)
        self._provider.add_span_processor(SimpleSpanProcessor(exporter) if exporter
                                          else BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("foveate.serve", __version__)

    def __call__(self, account, fault, seconds):
        trace, end = self._trace, time.time_ns()
        parent = self._parents.extract({"traceparent": account.traceparent}) if account.traceparent else None
        begin = end - int(seconds * 1e9)
        span = self._tracer.start_span("infer", parent, trace.SpanKind.SERVER, start_time=begin, attributes={
            "foveate.model": account.model, "foveate.images": account.images, "foveate.pixels": account.pixels,
            "foveate.batch": account.batch, "foveate.code": fault.code if fault else "ok"})
        if fault is not None and fault.status >= 500:
            span.set_status(trace.Status(trace.StatusCode.ERROR, fault.text))
        inside, at = trace.set_span_in_context(span), end - account.decode_ns - account.queue_ns - account.run_ns
        for name, length in (("decode", account.decode_ns), ("queue", account.queue_ns), ("engine", account.run_ns)):
            if length:
                self._tracer.start_span(name, inside, start_time=at).end(at + length)
            at += length
        span.end(end)

    def close(self):
        """Sends what is left."""
        self._provider.shutdown()
