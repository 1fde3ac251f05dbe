"""/metrics: what it counts, that no client can add a label, and that a real Prometheus reads it."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server import models
from tests.server.running import form, noise, png

GOOD = noise(1, kind="PNG")


def samples(running) -> dict[str, list]:
    text = running.get("/metrics").body.decode()
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def test_what_is_counted(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"))
    for color in ("red", "red", "blue"):
        running.predict(png(color))
    running.predict(b"x")
    body, kind = form(*[png("green")] * 5)
    running.predict(body, "/predict/batch", content_type=kind)
    running.wait_for(lambda: running.metric("catseye_requests_total", route="/predict", status="200") == 3)
    running.wait_for(lambda: running.metric("catseye_requests_total", route="/predict", status="415") == 1)
    assert running.metric("catseye_predicted_total", class_name="red") == 2
    assert running.metric("catseye_predicted_total", class_name="green") == 5
    assert running.metric("catseye_confidence_count") == 8
    assert running.metric("catseye_batch_size_sum") == 8
    for stage in ("decode", "queue"):
        assert running.metric("catseye_stage_seconds_count", stage=stage) == 8
    assert 1 <= running.metric("catseye_stage_seconds_count", stage="model") <= 8
    assert running.metric("catseye_model_loaded", model="m") == 1


def test_no_client_adds_a_label(server):
    def names() -> Counter:
        return Counter((s.name, tuple(sorted(s.labels))) for family in samples(server).values() for s in family)

    def values() -> set:
        return {v for family in samples(server).values() for s in family for k, v in s.labels.items() if k != "le"}

    for _ in range(2):  # the second time nothing is new
        before = values()
        for number in range(20):
            server.get(f"/path-{number}", user_agent=f"agent-{number}", x_request_id=f"id-{number}")
            server.request(f"VERB{number}", "/predict")
            server.predict(GOOD, f"/predict?top={number}", x_class=f"class-{number}")
    assert values() == before
    assert not [one for one in values() if "agent" in one or "path-" in one or "id-" in one]


def test_several_workers_are_counted_together(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--workers", 2, "--concurrency", 1, "--quiet")
    running.wait_for(lambda: len(running.events("worker-ready")) == 2)
    for _ in range(40):
        assert running.predict(GOOD).status == 200
    # A request is counted once its answer is written: the caller may be quicker.
    running.wait_for(lambda: running.metric("catseye_requests_total", route="/predict", status="200") >= 40)
    assert running.metric("catseye_requests_total", route="/predict", status="200") == 40


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_a_real_prometheus_scrapes_it(server, tmp_path):
    server.predict(GOOD)
    (tmp_path / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
scrape_configs:
  - job_name: catseye
    static_configs: [{{targets: ["127.0.0.1:{server.port}"]}}]
"""
    )
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def asked(query: str):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=2) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    try:
        end = time.monotonic() + 30
        while not (found := asked("catseye_requests_total%7Bstatus=%22200%22%7D")) and time.monotonic() < end:
            time.sleep(0.1)
        assert {one["metric"]["route"] for one in found} >= {"/predict"}
        assert asked("up")[0]["value"][1] == "1"
    finally:
        process.terminate()
        process.wait(20)
