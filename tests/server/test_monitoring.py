"""Alerts and dashboard ask only for what a real server tells; alerts fire when they should: promtool says so."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from catseye.deploying.rendering import render_template
from tests.server import models
from tests.server.running import png

FACTS = {"name": "pets"}
NAMES = re.compile(r"\bcatseye_[a-z_]+")
SELECTOR = re.compile(r"(catseye_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GIVEN_BY_PROMETHEUS = {"job", "instance"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")


def alerts() -> dict:
    return yaml.safe_load(render_template("monitoring/alerts.yaml", FACTS))


def dashboard() -> dict:
    return json.loads(render_template("monitoring/dashboard.json", FACTS))


def expressions() -> list[str]:
    rules = [rule["expr"] for group in alerts()["groups"] for rule in group["rules"]]
    return rules + [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def told(shared_start, tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """Sample name -> the labels of each of its samples, of a server that was asked on every kind of route.

    Counters that have counted nothing yet are declared by `# TYPE` lines only.
    """
    running = shared_start(models.write(tmp_path_factory.mktemp("monitored") / "m.onnx"))
    running.predict(png("red"))
    body = {"inputs": [{"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8", "data": [0] * 48}]}
    answer = running.request("POST", "/v2/models/m/infer", json.dumps(body).encode(), content_type="application/json")
    assert answer.status == 200
    found: dict[str, list[dict[str, str]]] = {}
    for line in running.get("/metrics").body.decode().splitlines():
        if line.startswith("# TYPE "):
            found.setdefault(line.split()[2], [])
        elif not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups()
            found.setdefault(name, []).append({k: v for k, _, v in MATCHER.findall(labels or "")})
    return found


def test_every_metric_asked_for_is_told(told):
    asked = {name for text in expressions() for name in NAMES.findall(text)}
    assert len(asked) > 10
    assert asked <= told.keys()


def test_every_label_asked_for_is_there(told):
    for text in expressions():
        for name, inside in SELECTOR.findall(text):
            for label, operator, value in MATCHER.findall(inside):
                if label in GIVEN_BY_PROMETHEUS or not told[name]:
                    continue
                values = {labels.get(label) for labels in told[name]}
                assert None not in values, f"{name} has no label {label}: {text}"
                if label == "route":
                    assert operator == "=~"
                    assert values & set(value.split("|")), f"{name} knows the routes {values}; asked for {value}"


def test_labels_of_sums_are_there(told):
    """`sum by (le, route) (…)` with a label that nobody has would give one nameless curve."""
    known = {label for samples in told.values() for labels in samples for label in labels}
    known |= GIVEN_BY_PROMETHEUS | {"result"}  # of catseye_reloads, which counted nothing here
    for text in expressions():
        for group in re.findall(r"by \(([^)]*)\)", text):
            assert {one.strip() for one in group.split(",")} <= known, text


def test_the_alerts_are_worth_waking_up_for():
    for rule in alerts()["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["labels"]["classifier"] == "pets"
        assert rule["annotations"].keys() == {"summary", "description"}
        assert 'job="pets"' in rule["expr"]


def test_panels_do_not_overlap_and_fill_the_page():
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [(p["x"] + i, p["y"] + j) for p in places for i in range(p["w"]) for j in range(p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(places)


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path):
    (tmp_path / "alerts.yaml").write_text(render_template("monitoring/alerts.yaml", FACTS))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "alerts.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 rules found" in done.stdout


@needs_promtool
def test_promtool_accepts_every_question_of_the_dashboard(tmp_path):
    """As recording rules, because this promtool has no other way to read an expression without a server."""
    texts = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m").replace("$job", "pets")}
        for number, text in enumerate(texts)
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "panels.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def series(name: str, values: str, **labels: str) -> dict:
    said = ", ".join(f'{key}="{value}"' for key, value in {"job": "pets", "instance": "a", **labels}.items())
    return {"series": f"{name}{{{said}}}", "values": values}


HEALTHY = [
    series("up", "1x60"),
    series("catseye_requests_total", "0+600x60", route="/predict", status="200"),
    series("catseye_requests_total", "0+3x60", route="/predict", status="415"),
    series("catseye_request_seconds_bucket", "0+600x60", route="/predict", le="0.1"),
    series("catseye_request_seconds_bucket", "0+600x60", route="/predict", le="+Inf"),
    series("catseye_queue_depth", "2x60"),
    series("catseye_batch_splits_total", "0x60"),
    series("catseye_model_loaded", "1x60", model="m", version="aaa"),
    series("catseye_confidence_sum", "0+570x60"),
    series("catseye_confidence_count", "0+600x60"),
]
# Alert -> what is told instead of or beside the healthy series, and what keeps quiet just so.
TROUBLE = {
    "ClassifierServerDown": [series("up", "1x60"), series("up", "1x30 0x30", instance="b")],
    "ClassifierFaults": [series("catseye_requests_total", "0x30 0+12x30", route="/predict", status="500")],
    "ClassifierOverloaded": [series("catseye_requests_total", "0x30 0+60x30", route="/predict", status="503")],
    "ClassifierSlow": [
        series("catseye_request_seconds_bucket", "0+600x60", route="/predict", le="0.1"),
        series("catseye_request_seconds_bucket", "0+600x60", route="/predict", le="1"),
        series("catseye_request_seconds_bucket", "0+650x60", route="/predict", le="5"),
        series("catseye_request_seconds_bucket", "0+650x60", route="/predict", le="+Inf"),
    ],
    "ClassifierQueueLong": [series("catseye_queue_depth", "2x30 300x30")],
    "ClassifierOutOfMemory": [series("catseye_batch_splits_total", "0x55 1x5")],
    "ClassifierModelRefused": [series("catseye_reloads_total", "0x55 1x5", result="refused")],
    "ClassifierVersionsDiffer": [series("catseye_model_loaded", "1x60", instance="b", model="m", version="bbb")],
    "ClassifierLessSure": [
        series("catseye_confidence_sum", "0+570x6000 3420000+400x200"),
        series("catseye_confidence_count", "0+600x6200"),
    ],
}


def fired(tmp_path, told: list[dict], at: str = "60m", every: str = "1m") -> set[str]:
    """The alerts that promtool sees firing, found by telling it that each should not."""
    (tmp_path / "alerts.yaml").write_text(render_template("monitoring/alerts.yaml", FACTS))
    names = [rule["alert"] for rule in alerts()["groups"][0]["rules"]]
    test = {
        "interval": "1m",
        "input_series": told,
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in names],
    }
    asked = {"rule_files": ["alerts.yaml"], "evaluation_interval": every, "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(asked))
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    said = done.stdout + done.stderr
    found = set(re.findall(r"alertname: ?(\w+)", said))
    assert (done.returncode != 0) == bool(found), said
    return found


@needs_promtool
def test_no_alert_fires_on_a_healthy_server(tmp_path):
    assert fired(tmp_path, HEALTHY) == set()


@needs_promtool
@pytest.mark.parametrize("name", TROUBLE)
def test_an_alert_fires_on_its_trouble_and_no_other_does(name, tmp_path):
    replaced = {one["series"] for one in TROUBLE[name]}
    told = [one for one in HEALTHY if one["series"] not in replaced] + TROUBLE[name]
    days = {"at": "6060m", "every": "10m"} if name == "ClassifierLessSure" else {}
    # At a tick of ten minutes every series is stale for half of the time, which `absent` takes for silence.
    assert fired(tmp_path, told, **days) - ({"ClassifierDown"} if days else set()) == {name}


@needs_promtool
def test_silence_is_the_worst(tmp_path):
    down = [series("up", "1x30 0x30"), *HEALTHY[1:]]
    assert fired(tmp_path, down) == {"ClassifierDown", "ClassifierServerDown"}
    assert fired(tmp_path, []) == {"ClassifierDown"}
