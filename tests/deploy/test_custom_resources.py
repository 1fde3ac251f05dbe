"""Custom resources against what their own projects publish: types made from the definitions, KServe's own model."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from catseye.deploying.kubernetes import Cluster, write_kubernetes
from catseye.deploying.rendering import read_model
from tests.server import models
from tests.unit.custom_schemas import PREDICTOR
from tests.unit.kubernetes_objects import build

pytestmark = pytest.mark.slow
# Generated from the projects' CustomResourceDefinitions; github.com/tommy351/kubernetes-models-ts, MIT.
PACKAGES = {
    "@kubernetes-models/gateway-api": "2.0.0",
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "typescript": "7.0.2",
}
KSERVE = "kserve==0.21.0"
MODULES = {
    "ServiceMonitor": "prometheus-operator/monitoring.coreos.com/v1",
    "PrometheusRule": "prometheus-operator/monitoring.coreos.com/v1",
    "Gateway": "gateway-api/gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway-api/gateway.networking.k8s.io/v1",
}


@pytest.fixture(
    scope="module",
    params=[Cluster(requests_per_pod=5), Cluster(requests_per_pod=5, host="cats.example", insecure=True)],
)
def objects(request, tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("rendered")
    write_kubernetes(read_model(models.write(folder / "m.onnx"), "pets"), request.param, folder / "k")
    built = [build(folder / "k" / "overlays" / name) for name in ("monitoring", "gateway", "kserve")]
    return {one["kind"]: one for part in built for one in part.all}


@pytest.fixture(scope="module")
def checker(tmp_path_factory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text(json.dumps({"type": "module", "dependencies": PACKAGES}))
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not install: {done.stderr[-300:]}")
    return folder


def errors(folder: Path, objects: dict[str, dict]) -> str:
    """Unknown fields and wrong types by the TypeScript compiler; patterns, bounds and choices by the schemas."""
    lines, calls = [], []
    for kind, module in MODULES.items():
        lines.append(f'import {{ {kind}, type I{kind} }} from "@kubernetes-models/{module}/{kind}";')
        calls.append(f"const {kind}_: I{kind} = {json.dumps(objects[kind])};\nnew {kind}({kind}_).validate();")
    (folder / "objects.ts").write_text("\n".join([*lines, *calls]))
    options = "--strict --skipLibCheck --module nodenext --moduleResolution nodenext --target es2022"
    words = ["npx", "tsc", *options.split(), "objects.ts"]
    checked = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if checked.returncode:
        return checked.stdout
    return subprocess.run(["node", "objects.js"], cwd=folder, capture_output=True, text=True).stderr


def test_prometheus_operator_and_gateway_api_take_them(checker, objects):
    assert not errors(checker, objects)


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("ServiceMonitor", {"selector": {}, "endpoints": [{"porty": "http"}]}, "porty"),
        ("ServiceMonitor", {"selector": {}, "endpoints": [{"port": "http", "interval": "15 s"}]}, "interval"),
        ("HTTPRoute", {"rules": [{"matches": [{"path": {"type": "Prefix", "value": "/"}}]}]}, "type"),
    ],
)
def test_that_check_can_fail(checker, objects, kind, wrong, told):
    broken = {**objects[kind], "spec": wrong}
    assert told in errors(checker, objects | {kind: broken})


def test_kserve_knows_every_field_of_the_predictor(objects, tmp_path):
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path, KSERVE]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("kserve cannot be downloaded")
    (wheel,) = tmp_path.glob("kserve-*.whl")
    known = fields_of(zipfile.ZipFile(wheel).read("kserve/models/v1beta1_predictor_spec.py").decode())
    used = set(objects["InferenceService"]["spec"]["predictor"])
    assert used <= known, used - known
    assert known >= PREDICTOR
    assert "minReplica" not in known


def fields_of(source: str) -> set[str]:
    """The names in `attribute_map` of one of KServe's generated models."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "attribute_map":
            return set(ast.literal_eval(node.value).values())
    raise AssertionError("KServe's models look different now")
