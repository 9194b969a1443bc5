# SPDX-License-Identifier: Apache-2.0
"""The service against its own description: whatever schemathesis makes of it, good and bad, has a declared answer."""

import collections
import copy
import unittest

import pytest
import requests
import serving
from foveate.serve.models import MODELS
from foveate.serve.service import Service
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from serve_openapi import description
from serving import ask, infer_body, running, said_by

MANY, FEW = 160, 10     # cases of an operation, with a body and without


@pytest.mark.long
def test_described_requests():
    import schemathesis
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi import checks

    load_all_checks()
    same = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    document, counts = copy.deepcopy(description(Service())), collections.Counter()
    document["components"]["parameters"]["model"]["schema"] = {"enum": list(MODELS)}
    held = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance,
            checks.response_headers_conformance]
    with running("--decode-workers", 0) as (address, _, child), requests.Session() as session:
        def sent(case):
            answer = case.call(base_url=f"http://{address}", session=session, timeout=20)
            case.validate_response(answer, checks=held)
            counts[answer.status_code] += 1
            if case.method.upper() != "HEAD":
                serving.scan(answer.status_code, answer.content)
            assert answer.status_code < 500 or answer.status_code == 501, answer.content

        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = found.ok()
            for mode in schemathesis.GenerationMode:
                asked = given(operation.as_strategy(generation_mode=mode))(sent)
                try:
                    settings(same, max_examples=MANY if operation.body else FEW)(asked)()
                except (Unsatisfiable, unittest.SkipTest):      # nothing in it can be wrong
                    assert mode is schemathesis.GenerationMode.NEGATIVE
        body, headers = infer_body(budget=12)
        assert ask(address, "POST", "/v2/models/foveate/infer", body, headers)[0] == 200 and child.poll() is None
        assert b"request failed" not in said_by(child)
    assert sum(counts.values()) >= 1000 and counts[200] > 100 and counts[400] > 100 and counts[501] > 50, counts
