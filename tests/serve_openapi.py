# SPDX-License-Identifier: Apache-2.0
"""The service's routes as OpenAPI 3.1: paths and methods are those of the app, the rest is said here once a kind."""

import json
import re

from foveate.serve import guard
from foveate.serve import http as serve_http
from foveate.serve.fault import KINDS
from foveate.serve.models import VERSION
from foveate.serve.protocol import DATATYPES


def strict(required, **properties):
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def some(items, most=None):
    return {"type": "array", "items": items} | ({"maxItems": most} if most else {})


def ref(name, kind="schemas"):
    return {"$ref": f"#/components/{kind}/{name}"}


WORD, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
PLACES = {"model": (WORD, "a name, as /v2/repository/index lists them"),
          "version": ({"enum": [VERSION]}, "of a model, there is one"), "region": (WORD, "a name")}
VALUES = {"type": "object", "additionalProperties": {"type": ["boolean", "integer", "number", "string"]}}
DATATYPE = {"enum": list(DATATYPES)}
PORT = strict("name datatype shape", name=WORD, datatype=DATATYPE, shape=some({"type": "integer"}))
SCHEMAS = {
    "Error": strict("error code id", error={"type": "string", "minLength": 1}, code={"enum": list(KINDS)},
                    id={"type": "string", "pattern": "^([0-9a-f]{16})?$"}),
    "Live": strict("live", live=FLAG),
    "Ready": strict("ready", ready=FLAG, name=WORD),
    "Server": strict("name version extensions", name=WORD, version=WORD, extensions=some(WORD)),
    "Model": strict("name versions platform inputs outputs", name=WORD, versions=some(WORD), platform=WORD,
                    inputs=some(PORT), outputs=some(PORT)),
    "Config": {"type": "object", "description": "Triton's model configuration",
               "required": ["name", "platform", "max_batch_size", "input", "output", "parameters"]},
    "Statistics": strict("model_stats", model_stats=some({"type": "object", "description": "Triton's statistics"})),
    "Index": some(strict("name version state reason", name=WORD, version=WORD, state={"enum": ["READY", "UNAVAILABLE"]},
                         reason=WORD)),
    "IndexRequest": strict("", ready=FLAG),
    "InferRequest": strict(
        "", id={"type": "string", "maxLength": 128}, parameters=VALUES,
        inputs=some(strict("name datatype shape", name=WORD, datatype=DATATYPE, shape=some(COUNT, 8),
                           parameters=VALUES, data={"type": "array"}), 64),
        outputs=some(strict("name", name=WORD, parameters=VALUES), 64)),
    "InferResponse": strict(
        "model_name model_version outputs", id=WORD, model_name=WORD, model_version=WORD,
        outputs=some(strict("name datatype shape", name=WORD, datatype=DATATYPE, shape=some(COUNT),
                            parameters=VALUES, data={"type": "array"}))),
}
BINARY = {"application/octet-stream": {"schema": {
    "type": "string", "format": "binary",
    "description": "JSON of Inference-Header-Content-Length bytes, and the tensors behind it"}}}
LENGTH = {"name": "Inference-Header-Content-Length", "in": "header", "required": False, "schema": COUNT,
          "description": "bytes of JSON in front of tensors; 0: the body is one image; left out: it is all JSON"}
# by the end of a path: what it answers with, and what it is sent
ANSWERS = {"/v2": "Server", "/live": "Live", "/ready": "Ready", "/stats": "Statistics", "/index": "Index",
           "/config": "Config", "/infer": "InferResponse"}
BODIES = {"/index": "IndexRequest", "/infer": "InferRequest"}
LATER = {"/ready": ["503"], "/infer": ["503", "504"]}


def json_of(name):
    return {"application/json": {"schema": ref(name)}}


RETRY = {"headers": {"Retry-After": {"schema": COUNT, "description": "seconds"}}}
RESPONSES = {
    "refused": {"description": "the request's fault, or too many of them", "content": json_of("Error"), **RETRY},
    "unsupported": {"description": "not supported by this server", "content": json_of("Error")},
    "later": {"description": "not now", "content": json_of("Error"), **RETRY},
}
PARAMETERS = {name: {"name": name, "in": "path", "required": True, "schema": schema, "description": what}
              for name, (schema, what) in PLACES.items()} | {"length": LENGTH}


def operation(route, method, unsupported):
    """What a method of a path takes and answers with."""
    end = "/" + route.path.rpartition("/")[2]
    answer = ANSWERS.get(end, "Model")
    found = {"operationId": f"{method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}".rstrip("_"),
             "parameters": [ref(name, "parameters") for name in re.findall(r"{(\w+)}", route.path)],
             "responses": {"4XX": ref("refused", "responses")}}
    if unsupported:
        found["responses"]["501"] = ref("unsupported", "responses")
        return found
    content = json_of(answer) | (BINARY if end == "/infer" else {})
    found["responses"]["200"] = {"description": "good", "content": content}
    found["responses"] |= {status: ref("later", "responses") for status in LATER.get(end, [])}
    if end in BODIES:
        found["requestBody"] = {"required": end == "/infer",
                                "content": json_of(BODIES[end]) | (BINARY if end == "/infer" else {})}
    if end == "/infer":
        found["parameters"].append(ref("length", "parameters"))
    if route.path in guard.PUBLIC:
        found["security"] = []
    return found


def description(service):
    """The whole document."""
    unsupported = {path for paths in serve_http.UNSUPPORTED.values() for path, _ in paths}
    paths = {}
    for route in serve_http.routes(service):
        for method in sorted(route.methods):
            paths.setdefault(route.path, {})[method.lower()] = operation(route, method, route.path in unsupported)
    return {
        "openapi": "3.1.0",
        "info": {"title": "foveate serve", "version": "2", "license": {"name": "Apache-2.0"},
                 "description": "The Open Inference Protocol v2 over HTTP."},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "responses": RESPONSES, "parameters": PARAMETERS,
                       "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def text(document):
    """JSON to read: a path or a component a line."""
    def lines(value, depth):
        if depth == 0 or not isinstance(value, dict) or not value:
            return json.dumps(value)
        inner = ",\n".join(f"{json.dumps(key)}: {lines(one, depth - 1)}" for key, one in value.items())
        return f"{{\n{inner}\n}}"

    found = {key: lines(value, {"paths": 1, "components": 2}.get(key, 0)) for key, value in document.items()}
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {value}" for key, value in found.items()) + "\n}\n"
