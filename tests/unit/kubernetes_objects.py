"""Overlays as Kustomize builds them, checked as strictly as can be without a cluster."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.custom_schemas import PREDICTOR, SCHEMAS

KUBECTL = Path(sys.executable).with_name("kubectl")
VERSIONS = ("1.30", "1.34", "1.37")


class Objects:
    """All objects of one overlay, by kind and name."""

    def __init__(self, text: str) -> None:
        self.all = [one for one in yaml.safe_load_all(text) if one]

    def of(self, kind: str) -> list[dict]:
        return [one for one in self.all if one["kind"] == kind]

    def the(self, kind: str) -> dict:
        (found,) = self.of(kind)
        return found

    @property
    def pod(self) -> dict:
        return self.the("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self) -> dict:
        (found,) = self.pod["containers"]
        return found


def build(folder: Path) -> Objects:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # it warns of what is deprecated
    return Objects(done.stdout)


def check(one: dict, version: str) -> None:
    """Raise what a cluster of this version would, and a little more."""
    # Not at the top: they take three seconds to load, in every process that collects the tests.
    import jsonschema
    from kubernetes_validate import validate

    kind = one["kind"]
    if kind not in SCHEMAS:
        validate(one, version, strict=True)
        return
    jsonschema.validate(one, SCHEMAS[kind])
    if kind == "InferenceService":
        predictor = one["spec"]["predictor"]
        spec = {name: value for name, value in predictor.items() if name not in PREDICTOR}
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}, version, strict=True)
        strategy = {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec},
            "strategy": predictor["deploymentStrategy"],
        }
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "p"}, "spec": strategy}
        validate(deployment, version, strict=True)


def bytes_of(quantity: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+)(Ki|Mi|Gi)", quantity).groups()
    return int(number) * {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def selects(selector: dict, labels: dict) -> bool:
    return bool(selector) and selector.items() <= labels.items()
