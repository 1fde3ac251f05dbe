"""The description fits the server: schemathesis asks what the description allows, and what it does not."""

import pytest
import requests


def test_every_route_is_described(server):
    said = server.get("/openapi.json").json()
    assert said["openapi"] == "3.1.0"
    assert {"/predict", "/predict/batch", "/model", "/healthz", "/readyz", "/metrics", "/v2"} <= said["paths"].keys()
    example = said["components"]["schemas"]["Prediction"]["examples"][0]
    assert list(example) == ["class", "confidence", "all_probabilities"]


def fuzz(server, max_examples: int) -> int:
    # Not at the top: it takes three seconds to load, in every process that collects the tests.
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # a schema cannot say "bytes of an image"

    schema = schemathesis.openapi.from_url(server.address + "/openapi.json")
    checked = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=max_examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy())
        def ask(case):
            response = case.call(session=session)
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            assert response.status_code < 500
            checked.append(case.path)

        with requests.Session() as session:
            ask()
    return len(set(checked))


def test_schemathesis(server):
    assert fuzz(server, 2) == 11


@pytest.mark.slow
def test_schemathesis_at_length(server):
    assert fuzz(server, 300) == 11
