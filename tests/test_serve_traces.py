# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry's spans of requests: of both wires, below the client's own, sent by OTLP."""

import http.server
import sys
import threading

import pytest
import tritonclient.grpc as triton
from foveate.error import UnsupportedError
from foveate.serve import http as wire
from foveate.serve.traces import Traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from serving import ask, call, infer_body, jpeg, running, served
from test_serve_rpc import file_input

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INFER = "/v2/models/foveate/infer"


def test_a_request_is_a_span_with_its_parts():
    memory = InMemorySpanExporter()

    async def test(service):
        service.done.append(Traces(memory))
        app = wire.app(service)
        body, headers = infer_body(budget=12)
        assert (await call(app, "POST", INFER, body, headers | {"traceparent": PARENT}))[0] == 200
        assert (await call(app, "POST", INFER, *infer_body(b"no image", budget=12)))[0] == 415

    served(test)
    spans = {span.name: span for span in memory.get_finished_spans() if span.context.trace_id == int(PARENT[3:35], 16)}
    assert set(spans) == {"infer", "decode", "queue", "engine"}
    whole = spans.pop("infer")
    assert whole.parent.span_id == int(PARENT[36:52], 16)
    assert whole.attributes["foveate.pixels"] == 96 * 128 and whole.attributes["foveate.code"] == "ok"
    at = whole.start_time
    for name in ("decode", "queue", "engine"):      # one after the other, inside
        assert spans[name].parent.span_id == whole.context.span_id
        assert at <= spans[name].start_time <= spans[name].end_time <= whole.end_time
        at = spans[name].end_time
    failed = [span for span in memory.get_finished_spans() if span.attributes.get("foveate.code") == "format"]
    assert len(failed) == 1 and failed[0].parent is None and failed[0].status.status_code is StatusCode.UNSET


def test_they_are_sent_when_the_service_ends():
    heard = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    try:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
                 "OTEL_SERVICE_NAME": "eyes", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        with running("--traces", "--grpc-port", 0, env=where) as (address, _, child):
            body, headers = infer_body(budget=12)
            assert ask(address, "POST", INFER, body, headers | {"traceparent": PARENT})[0] == 200
            with triton.InferenceServerClient(child.addresses["grpc"]) as client:
                client.infer("foveate", [file_input(jpeg())], parameters={"budget": 12},
                             headers={"traceparent": PARENT})
        assert child.returncode == 0
    finally:
        collector.shutdown()
        collector.server_close()
    found = []
    for path, data in heard:
        assert path == "/v1/traces"
        for one in ExportTraceServiceRequest.FromString(data).resource_spans:
            names = {pair.key: pair.value.string_value for pair in one.resource.attributes}
            assert names["service.name"] == "eyes"
            found += [span for scope in one.scope_spans for span in scope.spans]
    assert sorted(span.name for span in found) == sorted(["infer", "decode", "queue", "engine"] * 2)
    assert {span.trace_id.hex() for span in found} == {PARENT[3:35]}


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UnsupportedError, match="serve: traces: got no opentelemetry, expected it installed"):
        Traces()
