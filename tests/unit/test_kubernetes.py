"""`catseye deploy kubernetes`: strict schemas take every overlay, and what schemas do not say holds too."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from catseye.cli import app
from catseye.deploying import budget, kubernetes
from catseye.deploying.budget import memory_of, requests_per_s, stop_of
from catseye.deploying.kubernetes import OVERLAYS, Cluster, render_all, server_settings, write_kubernetes
from catseye.deploying.rendering import DeployedModel, read_model
from catseye.errors import ModelFileError, UsageError
from catseye.http.limits import Limits
from catseye.serving.lanes import decoders_bytes
from catseye.serving.settings import ServerSettings
from tests.unit.kubernetes_objects import KUBECTL, VERSIONS, Objects, build, bytes_of, check, selects
from tests.unit.onnx_files import manifest, tiny_model

ALL = [*OVERLAYS, "kserve"]
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
ONE = Cluster(requests_per_pod=50)
OTHER = Cluster(
    image="ghcr.io/cats/are-great:1.0",
    namespace="cats",
    min_replicas=1,
    max_replicas=3,
    cpus=4,
    requests_per_pod=7,
    insecure=True,
    host="cats.example.org",
    gateway_class="cilium",
    monitoring_namespace="observability",
    release="prom",
    prestop_s=15,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DeployedModel:
    path = tmp_path_factory.mktemp("model") / "best.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    return read_model(path, "pets")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kubernetes")
    write_kubernetes(model, ONE, out / "one")
    write_kubernetes(model, OTHER, out / "other")
    return out


@pytest.fixture(scope="module")
def built(folder) -> dict[str, dict[str, Objects]]:
    """One run of Kustomize per overlay."""
    return {case: {name: build(folder / case / "overlays" / name) for name in ALL} for case in ("one", "other")}


@pytest.fixture(params=["one", "other"])
def overlays(request, built) -> dict[str, Objects]:
    return built[request.param]


def network_peers(objects: Objects) -> list[dict]:
    """The rules of all policies that select the pods; policies add up."""
    labels = objects.the("Deployment")["spec"]["template"]["metadata"]["labels"]
    policies = [one["spec"] for one in objects.of("NetworkPolicy")]
    assert all(selects(one["podSelector"]["matchLabels"], labels) for one in policies)
    return [rule for one in policies for rule in one.get("ingress", [])]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(overlays, version):
    different = {json.dumps(one, sort_keys=True): one for objects in overlays.values() for one in objects.all}
    assert len(different) >= 16
    for one in different.values():
        check(one, version)


@pytest.mark.parametrize(
    ("overlay", "kind", "place", "value"),
    [
        ("cpu", "Deployment", ("spec", "template", "spec", "readOnly"), True),
        ("cpu", "HorizontalPodAutoscaler", ("spec", "maxReplica"), 3),
        ("monitoring", "ServiceMonitor", ("spec", "endpoint"), []),
        ("gateway", "HTTPRoute", ("spec", "hostname"), "a.b"),
        ("kserve", "InferenceService", ("spec", "predictor", "minReplica"), 3),
    ],
)
def test_the_check_can_fail(built, overlay, kind, place, value):
    broken = json.loads(json.dumps(built["one"][overlay].the(kind)))
    inner = broken
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        check(broken, VERSIONS[-1])


def test_labels_and_names_are_within_the_rules(overlays):
    for objects in overlays.values():
        for one in objects.all:
            assert len(one["metadata"]["name"]) <= 63
            labels = dict(one["metadata"].get("labels", {}))
            labels |= one.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
            assert all(LABEL_VALUE.fullmatch(value) for value in labels.values()), labels
        names = [(one["kind"], one["metadata"]["name"]) for one in objects.all]
        assert len(names) == len(set(names))


def test_selectors_find_the_pods(overlays):
    for name, objects in overlays.items():
        if name == "kserve":
            continue
        deployment = objects.the("Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert selects(deployment["spec"]["selector"]["matchLabels"], labels)
        assert selects(objects.the("Service")["spec"]["selector"], labels)
        assert selects(objects.the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels)
        # What changes with every model must not be in a selector, which cannot be changed.
        assert "app.kubernetes.io/version" not in deployment["spec"]["selector"]["matchLabels"]
        for spread in objects.pod["topologySpreadConstraints"]:
            assert selects(spread["labelSelector"]["matchLabels"], labels)
        assert "replicas" not in deployment["spec"]  # `kubectl apply` would undo what the autoscaler chose
        target = objects.the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
        assert target["apiVersion"] == deployment["apiVersion"]


def test_ports_have_one_name_from_probe_to_door(overlays):
    for name, objects in overlays.items():
        if name == "kserve":
            container = objects.the("InferenceService")["spec"]["predictor"]["containers"][0]
            assert container["name"] == "kserve-container"
        else:
            container = objects.container
            (service,) = objects.the("Service")["spec"]["ports"]
            assert service["targetPort"] == container["ports"][0]["name"]
            for rule in network_peers(objects):
                assert [port["port"] for port in rule["ports"]] == [container["ports"][0]["name"]]
        (port,) = container["ports"]
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", port["name"])
        assert str(port["containerPort"]) == container["command"][container["command"].index("--port") + 1]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] == port["name"]
            assert container[probe]["timeoutSeconds"] <= max(2, container[probe]["periodSeconds"])
    ((door,),) = [one["spec"]["ports"] for one in overlays["ingress"].of("Service")]
    backend = overlays["ingress"].the("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": overlays["ingress"].the("Service")["metadata"]["name"], "port": {"name": door["name"]}}
    route = overlays["gateway"].the("HTTPRoute")["spec"]
    assert route["rules"][0]["backendRefs"] == [{"name": backend["name"], "port": door["port"]}]
    gateway = overlays["gateway"].the("Gateway")
    (listener,) = gateway["spec"]["listeners"]
    assert route["parentRefs"] == [{"name": gateway["metadata"]["name"], "sectionName": listener["name"]}]
    (endpoint,) = overlays["monitoring"].the("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] == door["name"]
    monitor = overlays["monitoring"].the("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selects(monitor, overlays["monitoring"].the("Service")["metadata"]["labels"])


def test_probes_and_scrapes_ask_for_what_is_there(overlays, served):
    container = overlays["cpu"].container
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert paths == ["/healthz", "/readyz", "/healthz"]  # a server that drains lives, and is not ready
    for path in paths:
        assert {"GET"} == set(served._routes[path])
        assert path in served._open, "the kubelet sends no token"
    scraped = overlays["monitoring"].the("ServiceMonitor")["spec"]["endpoints"][0]["path"]
    assert "GET" in served._routes[scraped]


@pytest.fixture(scope="module")
def served():
    """The server's own table of routes, without a server."""
    from catseye.serving.app import Application

    class Nothing:
        limits = Limits()
        model = None

    class Unserved(Application):
        def use(self, model: object) -> None: ...

    return Unserved(Nothing(), None, None, b"0" * 16)


def test_a_stop_is_longer_than_the_servers_own(overlays):
    for name, objects in overlays.items():
        pod = objects.the("InferenceService")["spec"]["predictor"] if name == "kserve" else objects.pod
        command = pod["containers"][0]["command"]
        told = {flag: command[command.index(flag) + 1] for flag in ("--drain", "--deadline")}
        limits = Limits(deadline_s=float(told["--deadline"]))
        settings = ServerSettings(Path("m"), drain_s=float(told["--drain"]), limits=limits)
        prestop_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        longest = prestop_s + settings.drain_s + settings.finish_s
        assert longest + 1 <= pod["terminationGracePeriodSeconds"] <= longest + 10
        assert settings.finish_s > limits.deadline_s  # whatever was accepted has its answer by then
        assert prestop_s >= 5
        probe = pod["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_the_pod_may_do_nothing(overlays):
    for name, objects in overlays.items():
        pod = objects.the("InferenceService")["spec"]["predictor"] if name == "kserve" else objects.pod
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        container = pod["containers"][0]["securityContext"]
        assert container["readOnlyRootFilesystem"] is True
        assert container["allowPrivilegeEscalation"] is False
        assert container["capabilities"] == {"drop": ["ALL"]}
        volumes = {one["name"]: one for one in pod["volumes"]}
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert volumes.keys() == mounts.keys()
        assert mounts["tmp"] == "/tmp"
        assert volumes["tmp"]["emptyDir"]["sizeLimit"]


def test_limits_hold_what_the_settings_allow(overlays, model):
    for name, objects in overlays.items():
        pod = objects.the("InferenceService")["spec"]["predictor"] if name == "kserve" else objects.pod
        resources = pod["containers"][0]["resources"]
        requests, limits = resources["requests"], resources["limits"]
        assert bytes_of(requests["memory"]) <= bytes_of(limits["memory"])
        assert requests["cpu"] == limits["cpu"]
        assert limits["cpu"].isdigit(), "the server rounds a part of a processor to a whole thread"
        worst = Limits().buffered_bytes + decoders_bytes(int(limits["cpu"]), Limits().max_pixels)
        assert bytes_of(limits["memory"]) > worst + 100 * 2**20
    gpu = overlays["gpu"].container
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert gpu["command"][-2:] == ["--runtime", "cuda"]
    assert overlays["gpu"].pod["tolerations"]
    assert gpu["image"] == overlays["cpu"].container["image"] + "-gpu"
    assert overlays["gpu"].the("Deployment")["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": 1,
        "maxSurge": 0,
    }
    assert overlays["cpu"].the("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_larger_model_gets_more_memory(model):
    settings = server_settings(ONE)
    small = memory_of(model, settings, 2)
    large = memory_of(replace(model, num_bytes=400 * 2**20), settings, 2)
    assert large.usual_mib - small.usual_mib >= 1200 - 32  # rounded
    # Every decoder has room for an ordinary image; of those that take much memory one is decoded at a time.
    assert memory_of(model, settings, 8).most_mib - small.most_mib >= 6 * 64_000_000 / 2**20 - 32
    assert small.most_mib >= (400_000_000 + 2 * 64_000_000 + settings.limits.buffered_bytes) / 2**20
    assert stop_of(ServerSettings(Path("m"), limits=Limits(deadline_s=60)), 5).grace_s > 70


def test_a_node_can_always_be_drained(overlays):
    budgets = overlays["cpu"].the("PodDisruptionBudget")["spec"]
    replicas = overlays["cpu"].the("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert budgets["maxUnavailable"] == 1
    assert "minAvailable" not in budgets
    assert budgets["maxUnavailable"] <= replicas


def test_who_may_connect(built):
    one, other = built["one"], built["other"]
    assert one["cpu"].the("NetworkPolicy")["spec"]["egress"] == []
    assert set(one["cpu"].the("NetworkPolicy")["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert [rule["from"] for rule in network_peers(one["cpu"])] == [[{"podSelector": {}}]]
    spaces = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in network_peers(other["monitoring"])
        for peer in rule["from"]
        if "namespaceSelector" in peer
    ]
    assert spaces == ["observability"]
    for name in ("ingress", "gateway"):
        assert any("from" not in rule for rule in network_peers(one[name])), "the controller cannot reach the pods"


def test_the_token_is_a_reference(built, folder):
    one, other = built["one"], built["other"]
    assert not [objects for objects in one.values() if objects.of("Secret")]
    for name in ("cpu", "kserve"):
        objects = one[name]
        pod = objects.the("InferenceService")["spec"]["predictor"] if name == "kserve" else objects.pod
        secret = next(volume["secret"] for volume in pod["volumes"] if "secret" in volume)
        mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "token")
        command = pod["containers"][0]["command"]
        assert command[command.index("--token-file") + 1] == f"{mount['mountPath']}/{secret['items'][0]['path']}"
        assert mount["readOnly"] is True
        assert secret["secretName"] == "pets-token"
        assert secret["defaultMode"] == 0o440  # read through fsGroup
    scraped = one["monitoring"].the("ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert scraped == {"name": "pets-token", "key": "token"}
    assert "--insecure" in other["cpu"].container["command"]
    assert "authorization" not in other["monitoring"].the("ServiceMonitor")["spec"]["endpoints"][0]
    assert "token" not in {volume["name"] for volume in other["cpu"].pod["volumes"]}


def test_the_image_is_the_models_version(built, model):
    assert built["one"]["cpu"].container["image"] == f"pets:{model.sha256[:12]}"
    assert built["other"]["cpu"].container["image"] == "ghcr.io/cats/are-great:1.0"
    kserve = built["other"]["kserve"].the("InferenceService")["spec"]["predictor"]["containers"][0]
    assert kserve["image"] == "ghcr.io/cats/are-great:1.0"
    said = built["one"]["cpu"].the("Deployment")["metadata"]["annotations"]
    assert json.loads(said["catseye/classes"]) == ["red", "green", "blue"]
    assert said["catseye/model-sha256"] == model.sha256


def test_an_image_by_its_digest_has_been_pushed_already(model, tmp_path):
    image = "localhost:5000/pets@sha256:" + "a" * 64
    written = write_kubernetes(model, replace(ONE, image=image), tmp_path / "k")
    assert not [step for step in written.next if "docker" in step]
    assert build(tmp_path / "k" / "overlays" / "cpu").container["image"] == image
    gpu = build(tmp_path / "k" / "overlays" / "gpu").container["image"]
    assert gpu == f"localhost:5000/pets:{model.sha256[:12]}-gpu"


def test_the_image_is_the_one_that_deploy_docker_describes(built):
    dockerfile = (Path(kubernetes.__file__).parent / "templates" / "docker" / "Dockerfile").read_text()
    command = built["one"]["cpu"].container["command"]
    assert f"CMD {json.dumps(command[:7])[:-1]}" in dockerfile
    pod = built["one"]["cpu"].pod["securityContext"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in dockerfile
    assert f"EXPOSE {command[command.index('--port') + 1]}" in dockerfile
    gpu = dockerfile[dockerfile.index("FROM runtime AS gpu") :]
    assert json.dumps(built["one"]["gpu"].container["command"][-2:])[1:-1] in gpu


def test_requests_per_pod_ask_for_the_adapters_metric(built, folder):
    autoscaler = built["one"]["requests-per-pod"].the("HorizontalPodAutoscaler")["spec"]
    assert [metric["type"] for metric in autoscaler["metrics"]] == ["Resource", "Pods"]
    wanted = autoscaler["metrics"][1]["pods"]
    assert wanted["target"] == {"type": "AverageValue", "averageValue": "50"}
    values = folder / "one" / "components" / "requests-per-pod" / "prometheus-adapter-values.yaml"
    (rule,) = yaml.safe_load(values.read_text())["rules"]["custom"]
    assert rule["name"]["as"] == wanted["metric"]["name"]
    assert autoscaler["minReplicas"] <= autoscaler["maxReplicas"]


def test_what_one_replica_answers_is_measured(model, monkeypatch):
    monkeypatch.setattr(budget, "TRIAL_S", 0.01)
    assert 1 <= requests_per_s(model, 1) <= budget.MOST_REQUESTS
    calls = []
    monkeypatch.setattr(kubernetes, "requests_per_s", lambda *said: calls.append(said) or 123)
    files = render_all(model, Cluster(cpus=3))
    assert 'averageValue: "123"' in files["components/requests-per-pod/kustomization.yaml"]
    assert [cpus for _, cpus in calls] == [3]


def test_doors_take_the_largest_image_and_https_where_a_host_is_named(built):
    annotations = built["one"]["ingress"].the("Ingress")["metadata"]["annotations"]
    assert set(annotations.values()) == {f"{Limits().body_bytes // 1_000_000}m"}
    ingress = built["other"]["ingress"].the("Ingress")["spec"]
    assert ingress["tls"] == [{"hosts": ["cats.example.org"], "secretName": "pets-tls"}]
    assert ingress["rules"][0]["host"] == "cats.example.org"
    (listener,) = built["other"]["gateway"].the("Gateway")["spec"]["listeners"]
    assert (listener["protocol"], listener["port"], listener["hostname"]) == ("HTTPS", 443, "cats.example.org")
    assert built["other"]["gateway"].the("HTTPRoute")["spec"]["hostnames"] == ["cats.example.org"]
    assert "tls" not in built["one"]["ingress"].the("Ingress")["spec"]


def test_rules_and_dashboard_are_those_of_all_targets(built):
    objects = built["one"]["monitoring"]
    rules = objects.the("PrometheusRule")["spec"]["groups"][0]["rules"]
    job = objects.the("Service")["metadata"]["name"]  # the operator makes it the label `job`
    assert all(f'job="{job}"' in rule["expr"] for rule in rules)
    dashboard = objects.the("ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["dashboard.json"])["title"] == "pets"
    assert len(json.dumps(dashboard)) < 2**20, "a ConfigMap holds 1 MiB"


def test_components_can_be_combined(folder, tmp_path):
    names = [path.name for path in (folder / "one" / "components").iterdir()]
    assert set(names) == {"gpu", "monitoring", "requests-per-pod", "ingress", "gateway"}
    everything = folder / "one" / "overlays" / "everything"
    everything.mkdir()
    listed = [f"../../components/{name}" for name in ("gpu", "monitoring", "requests-per-pod", "gateway")]
    everything.joinpath("kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["../../base"], "components": listed})
    )
    objects = build(everything)
    for one in objects.all:
        check(one, VERSIONS[-1])
    assert len(objects.of("NetworkPolicy")) == 3
    assert objects.container["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "Cats:1"}, "--image takes .* got 'Cats:1'"),
        ({"image": "cats:1:2"}, "--image"),
        ({"image": "https://ghcr.io/cats"}, "--image"),
        ({"image": "cats@sha256:abc"}, "--image"),
        ({"image": "cats:" + "a" * 129}, "--image"),
        ({"namespace": "c" * 64}, "--namespace"),
        ({"namespace": "my.cats"}, "--namespace"),
        ({"token_secret": "My_Secret"}, "--token-secret"),
        ({"host": "cats example"}, "--host"),
        ({"host": "https://cats.example"}, "--host"),
        ({"gateway_class": "Istio!"}, "--gateway-class"),
        ({"release": "p" * 64}, "--release .* at most 63"),
        ({"monitoring_namespace": "-m"}, "--monitoring-namespace"),
        ({"min_replicas": 3, "max_replicas": 2}, "got 3 and 2"),
        ({"insecure": True, "token_secret": "t"}, "leave one out"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        Cluster(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "image", ["cats", "a/b/c", "localhost/cats:1", "r.io:5000/a__b/c-d.e:v1.0_x", "127.0.0.1:5000/c"]
)
def test_images_that_docker_takes(image):
    assert Cluster(image=image).image == image


def test_a_folder_with_something_in_it_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        write_kubernetes(model, ONE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert write_kubernetes(model, ONE, tmp_path, force=True).files


def test_a_class_list_too_long_for_an_annotation_is_left_out_and_said(tmp_path):
    classes = tuple(f"a class with quite a long name, number {number}" for number in range(3_000))
    long = manifest(classes=classes)
    path = tmp_path / "many.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    model = replace(read_model(path), manifest=long)
    written = write_kubernetes(model, ONE, tmp_path / "out")
    (note,) = written.notes
    assert "all 3,000 classes are too long for an annotation (at most 65,536 bytes)" in note
    deployment = build(tmp_path / "out" / "overlays" / "cpu").the("Deployment")
    assert deployment["metadata"]["annotations"]["catseye/num-classes"] == "3000"
    check(deployment, VERSIONS[-1])


@pytest.mark.parametrize("name", ['say "cheese" \\ $(HOME) @{name}', "Katze: süß # 1", "a\nb"])
def test_class_names_arrive_as_they_are(tmp_path, name):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    model = replace(read_model(path), manifest=manifest(classes=(name, "other", "third")))
    (text,) = [render_all(model, ONE)["base/deployment.yaml"]]
    assert json.loads(yaml.safe_load(text)["metadata"]["annotations"]["catseye/classes"])[0] == name


def test_the_command_writes_and_says_what_comes_next(model, tmp_path):
    words = ["deploy", "kubernetes", str(model.path), "--out", str(tmp_path / "k"), "--name", "pets"]
    words += ["--requests-per-pod", "9", "--max-replicas", "4", "--cpus", "1", "--prestop", "20", "--insecure"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {Path(path) for path in said["written"]} == {path for path in (tmp_path / "k").rglob("*") if path.is_file()}
    assert "can send requests" in said["notes"][0]
    pod = yaml.safe_load((tmp_path / "k" / "base" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 20 + 0.5 + 15 + 3 + 0.5
    with pytest.raises(UsageError, match="is not empty"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    (tmp_path / "bare.onnx").write_bytes(tiny_model("").SerializeToString())
    with pytest.raises(ModelFileError, match="carries no catseye manifest"):
        CliRunner().invoke(app, [*words[:2], str(tmp_path / "bare.onnx"), *words[3:]], catch_exceptions=False)


def test_next_steps_are_commands(model, tmp_path):
    written = write_kubernetes(model, replace(ONE, namespace="cats"), tmp_path / "out")
    assert written.next[0].endswith(f" && docker push pets:{model.sha256[:12]}")
    assert written.next[1].startswith("kubectl -n cats create secret generic pets-token --from-literal=token=")
    assert str(tmp_path / "out" / "overlays" / "cpu") in written.next[2]
    assert subprocess.run(["bash", "-n", "-c", "\n".join(written.next)]).returncode == 0
    assert KUBECTL.exists()


def test_no_file_has_a_line_of_blanks_or_a_tag_left_over(model):
    """What a template's {% if %} leaves out leaves no trace, whatever is asked for."""
    for cluster in (Cluster(requests_per_pod=9), Cluster(requests_per_pod=9, insecure=True, host="a.example")):
        for name, text in render_all(model, cluster).items():
            if name.endswith(".yaml"):
                assert not [line for line in str(text).split("\n") if line != line.rstrip()], name
                assert not str(text).endswith("\n\n"), name
                assert "{%" not in str(text), name
                assert "@{" not in str(text), name
