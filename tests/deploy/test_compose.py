"""The folder of `catseye deploy compose`: its Prometheus and every question of its dashboard, asked for real.

A real Prometheus (Debian's, in a container of the stand-in base) reads the rendered folder and scrapes the real
image under the limits of compose.yaml. Grafana's image cannot be had without a registry: its files are only read.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest
import yaml

from tests.deploy.conftest import BASE, Docker, say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(trained):
    root, model, _ = trained
    subprocess.run([sys.executable, "-m", "catseye", "deploy", "compose", model, "--out", root / "compose"], check=True)
    return root / "compose"


def limits(service: dict) -> list[str]:
    """What compose.yaml says, as words of `docker run`."""
    most = service["deploy"]["resources"]["limits"]
    words = [f"--cpus={min(2, float(most['cpus']))}", f"--memory={most['memory']}", f"--pids-limit={most['pids']}"]
    words += [f"--cap-drop={one}" for one in service["cap_drop"]]
    words += [f"--security-opt={one}" for one in service["security_opt"]]
    words += [f"--tmpfs={one}" for one in service.get("tmpfs", [])]
    words += ["--read-only"] if service["read_only"] else []
    return words + ([f"--user={service['user']}"] if "user" in service else [])


def test_prometheus_scrapes_the_server_and_answers_the_dashboard(docker: Docker, image, trained, folder):
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (Debian)")
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    started = []

    def start(*words: object) -> str:
        started.append(docker("run", "--detach", *words))
        return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", started[-1])

    try:
        server = start(*limits(services["classifier"]), image)
        program = shutil.which("prometheus")
        prometheus = start(
            *limits(services["prometheus"]),
            f"--add-host=classifier:{server}",
            f"--volume={program}:/bin/prometheus:ro",
            f"--volume={folder / 'prometheus'}:/etc/prometheus:ro",
            "--tmpfs=/prometheus:mode=1777",
            BASE,
            "/bin/prometheus",
            *services["prometheus"]["command"],
        )

        def ask(path: str, **query: str) -> dict:
            address = f"http://{prometheus}:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]

        def wait_for(condition, timeout_s: float = 120):
            end = time.monotonic() + timeout_s
            while True:
                try:
                    if found := condition():
                        return found
                except OSError:
                    pass
                assert time.monotonic() < end, docker("logs", started[-1], check=False)
                time.sleep(0.5)

        job = 'up{job="cnn-classifier"} == 1'
        wait_for(lambda: ask("query", query=job)["result"])
        for _ in range(4):  # rates need several scrapes, ten seconds apart, with something between them
            for _ in range(20):
                request = urllib.request.Request(
                    f"http://{server}:8000/predict", trained[2], {"Content-Type": "image/png"}
                )
                urllib.request.urlopen(request, timeout=20).close()
            time.sleep(10)
        board = json.loads((folder / "grafana/dashboards/cnn-classifier.json").read_text())
        silent = []
        for panel in board["panels"]:
            answers = [
                ask("query", query=target["expr"].replace("$__rate_interval", "1m").replace("$job", "cnn-classifier"))
                for target in panel["targets"]
            ]
            if not any(answer["result"] for answer in answers):
                silent.append(panel["title"])
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        say(f"Prometheus scraped {services['classifier']['image']}: {len(board['panels'])} panels, silent: {silent}")
        say(f"{len(rules)} alerts loaded, health {sorted({rule['health'] for rule in rules})}")
        # Without one answer above 499 there is no share of them.
        assert set(silent) <= {"Faults"}
        assert len(rules) == 10
        assert {rule["health"] for rule in rules} == {"ok"}
        assert {rule["state"] for rule in rules} == {"inactive"}
    finally:
        for identity in started:
            docker("rm", "--force", identity, check=False)
