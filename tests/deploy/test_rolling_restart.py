"""The rendered Deployment, run: replicas in network namespaces behind HAProxy, replaced under load; nobody notices."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from catseye.deploying.kubernetes import Cluster as Wanted
from catseye.deploying.kubernetes import write_kubernetes
from catseye.deploying.rendering import read_model
from tests.deploy.small_cluster import TOKEN, Cluster, missing, peak_memory_mb
from tests.deploy.traffic import Balancer, Load, free_port, wait_for
from tests.server import models
from tests.unit.kubernetes_objects import Objects, build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs Debian's package haproxy"),
]
REPLICAS = 3
LATE_S = 2.0  # until a proxy has heard of a pod's end: less than the preStop sleep, more than the server's own drain


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Objects:
    folder = tmp_path_factory.mktemp("rendered")
    model = models.write(folder / "best.onnx")
    write_kubernetes(read_model(model, "pets"), Wanted(cpus=1, requests_per_pod=50), folder / "k")
    found = build(folder / "k" / "overlays" / "requests-per-pod")
    found.model, found.folder = model, folder / "k"
    return found


@pytest.fixture
def cluster(objects, tmp_path):
    with Cluster(objects.the("Deployment"), tmp_path, objects.model) as made:
        made.add(REPLICAS)
        yield made


@pytest.fixture
def balancer(objects, cluster, tmp_path):
    check = objects.container["readinessProbe"]["httpGet"]["path"]
    with Balancer(tmp_path, check, objects.container["ports"][0]["containerPort"]) as made:
        made.tell(cluster.pods)
        wait_for(lambda: made.num_up() == REPLICAS)
        yield made


def test_a_pod_is_as_locked_up_as_the_deployment_says(cluster, objects):
    pod = cluster.pods[0]
    status = Path(f"/proc/{pod.child}/status").read_text()
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert said["Uid"].split() == ["10001"] * 4
    assert said["NSpid"].split()[-1] == "1", "a container's first process"
    assert int(said["CapEff"], 16) == int(said["CapBnd"], 16) == 0
    assert said["NoNewPrivs"] == "1"
    root = Path(f"/proc/{pod.child}/root")
    mounts = Path(f"/proc/{pod.child}/mounts").read_text().splitlines()
    writable = {line.split()[1] for line in mounts if line.split()[3].split(",")[0] == "rw"}
    assert "/" not in writable
    assert "/tmp" in writable
    assert not [place for place in writable if not place.startswith(("/tmp", "/dev", "/proc"))]
    assert (root / "app" / "model.onnx").exists()
    (plan,) = [event for event in pod.events() if event["event"] == "plan"]
    assert plan["choice"].startswith("1 call(s)"), "one processor is one call at a time"
    limit = int(objects.container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert 0 < peak_memory_mb(pod.child) < limit


def test_a_rolling_restart_under_load_loses_no_request(cluster, balancer, objects, record):
    first = list(cluster.pods)
    with Load(balancer.port) as load:
        wait_for(lambda: load.good > 200)
        begun = time.monotonic()
        cluster.roll_out(balancer.tell, LATE_S)
        took_s = time.monotonic() - begun
        wait_for(lambda: balancer.num_up() == REPLICAS)
        before = load.good
        wait_for(lambda: load.good > before + 200)
    assert not load.bad, load.bad
    assert {pod.number for pod in cluster.pods} == {4, 5, 6}
    (sleep,) = {pod.container["lifecycle"]["preStop"]["sleep"]["seconds"] for pod in first}
    for pod in first:
        assert pod.ended["code"] == 0, pod.ended
        assert not pod.ended["killed"]
        assert pod.ended["all_s"] >= sleep + 0.5, "the preStop sleep, then the server's own drain"
        assert pod.ended["all_s"] < pod.ended["grace_s"]
        events = [event["event"] for event in pod.events()]
        assert events.index("drain") < events.index("end")
    assert not [failure for pod in cluster.all for failure in pod.probe_failures]
    record(
        requests=load.good,
        failed=0,
        seconds=round(took_s, 1),
        p50_ms=round(load.quantile_ms(0.5), 1),
        p99_ms=round(load.quantile_ms(0.99), 1),
        start_s=[round(pod.started_s, 1) for pod in cluster.all],
        stop_s=[round(pod.ended["stop_s"], 1) for pod in first],
        peak_mb=[round(peak_memory_mb(pod.child)) for pod in cluster.pods],
    )


def test_without_anybody_telling_the_readiness_path_is_enough(cluster, balancer, record):
    """A load balancer outside the cluster hears of nothing; its health check sees 503 while requests are served."""
    pod = cluster.pods.pop()
    with Load(balancer.port) as load:
        wait_for(lambda: load.good > 200)
        os.kill(pod.child, signal.SIGTERM)
        seen = wait_for(lambda: balancer.states()[f"s{pod.number}"].startswith("DOWN"))
        assert pod.process.wait(20) == 0
        before = load.good
        wait_for(lambda: load.good > before + 200)
    assert seen
    assert not load.bad, load.bad
    record(requests=load.good, failed=0)


def test_the_callers_do_notice_a_pod_that_is_killed(cluster, balancer, record):
    """The two tests above mean something only if this one sees failures."""
    pod = cluster.pods.pop()
    with Load(balancer.port) as load:
        wait_for(lambda: load.good > 200)
        pod.kill()
        wait_for(lambda: load.bad)
        wait_for(lambda: balancer.num_up() == REPLICAS - 1)
    record(requests=load.good, failed=sum(load.bad.values()))


def test_a_stop_in_the_middle_of_an_upload_ends_within_the_grace_period(cluster, balancer):
    import socket

    pod = cluster.pods.pop()
    with socket.create_connection((pod.address, pod.port)) as slow:
        slow.sendall(f"POST /predict HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n".encode())
        slow.sendall(b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
        ended = pod.delete()
    assert not ended["killed"], ended
    assert ended["all_s"] < ended["grace_s"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")
def test_prometheus_reads_the_pods_with_the_rendered_rules(cluster, balancer, objects, tmp_path, record):
    config = prometheus_config(objects, cluster.pods, tmp_path)
    checked = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/tsdb",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str, **query: str):
        address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}

    try:
        with Load(balancer.port):
            name = objects.the("Service")["metadata"]["name"]
            up = f'up{{job="{name}"}} == 1'
            wait_for(lambda: len(ask("query", query=up).get("result", [])) == REPLICAS)
            rates = wait_for(lambda: seen_rates(ask("query", query=adapter_query(objects))))
            assert set(rates) == {pod.name for pod in cluster.pods}
            groups = wait_for(lambda: evaluated(ask("rules").get("groups", [])))
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == len(objects.the("PrometheusRule")["spec"]["groups"][0]["rules"])
        assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]
        assert not [rule["name"] for rule in rules if rule["state"] == "firing"]
        for pod in cluster.pods:
            pod.kill()
        down = wait_for(
            lambda: {r["name"] for g in ask("rules")["groups"] for r in g["rules"] if r["state"] != "inactive"}
        )
        assert down & {"ClassifierServerDown", "ClassifierDown"}
        record(rules=len(rules), requests_per_second={pod: round(rate, 1) for pod, rate in rates.items()})
    finally:
        process.terminate()
        process.wait(20)


def prometheus_config(objects: Objects, pods, folder: Path) -> Path:
    """What the Prometheus operator would make of ServiceMonitor and PrometheusRule; asked more often, for speed."""
    endpoint = objects.the("ServiceMonitor")["spec"]["endpoints"][0]
    (folder / "scrape-token").write_text(TOKEN)
    (folder / "rules.yaml").write_text(yaml.safe_dump(objects.the("PrometheusRule")["spec"]))
    targets = [
        {"targets": [f"{pod.address}:{pod.port}"], "labels": {"namespace": "cats", "pod": pod.name}} for pod in pods
    ]
    scrape = {
        "job_name": objects.the("Service")["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "authorization": {"type": endpoint["authorization"]["type"], "credentials_file": "scrape-token"},
        "static_configs": targets,
    }
    path = folder / "prometheus.yml"
    intervals = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    path.write_text(yaml.safe_dump({"global": intervals, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}))
    return path


def adapter_query(objects: Objects) -> str:
    """The adapter's template, filled in as the adapter does for the pods of one namespace."""
    path = objects.folder / "components" / "requests-per-pod" / "prometheus-adapter-values.yaml"
    (rule,) = yaml.safe_load(path.read_text())["rules"]["custom"]
    series = rule["seriesQuery"].partition("{")[0]
    text = (
        rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", 'namespace="cats",pod=~".+"')
    )
    return text.replace("<<.GroupBy>>", "pod")


def seen_rates(answer: dict) -> dict[str, float]:
    found = {one["metric"]["pod"]: float(one["value"][1]) for one in answer.get("result", [])}
    return found if len(found) == REPLICAS and all(rate > 0 for rate in found.values()) else {}


def evaluated(groups: list[dict]) -> list[dict]:
    rules = [rule for group in groups for rule in group["rules"]]
    return groups if rules and all(rule["health"] != "unknown" for rule in rules) else []


@pytest.fixture
def record(request):
    """Print what was measured, for the guide: `pytest -s` shows it."""

    def write(**facts: object) -> None:
        print(f"\n{request.node.name}: {json.dumps(facts)}")

    return write
