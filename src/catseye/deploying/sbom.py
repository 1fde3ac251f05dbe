"""The contents of an image as CycloneDX 1.6 JSON.

It lists the model, catseye and every pinned package. It does not list the base image's packages, and says so.

Enters: the model, the wheel and the text of a lock file. Leaves: the text of a bill of materials, the same for the same
image. Called by docker.
"""

import hashlib
import json
import re
import uuid
from typing import Any

from catseye.counting import count
from catseye.deploying.rendering import DeployedModel

PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Versions by the packages' normalised names.

    >>> pins("h11==0.16.0 --hash=sha256:00")
    {'h11': '0.16.0'}
    """
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINNED.findall(lock)}


def bill_of_materials(model: DeployedModel, lock: str, *, catseye: str, wheel: bytes) -> str:
    """The text of sbom.cdx.json."""
    image = f"container:{model.name}@{model.sha256[:12]}"
    parts = [_model(model), _application(catseye, wheel), *(_library(*pin) for pin in sorted(pins(lock).items()))]
    # Derived from the content, so that equal images have equal bills.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts, sort_keys=True))
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "catseye", "version": catseye}]},
            "component": {"type": "container", "bom-ref": image, "name": model.name, "version": model.sha256[:12]},
            "properties": [{"name": "catseye:scope", "value": "without the packages of the base image"}],
        },
        "components": parts,
        "compositions": [{"aggregate": "incomplete", "assemblies": [image]}],
    }
    return json.dumps(bill, indent=2, ensure_ascii=False) + "\n"


def _model(model: DeployedModel) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.sha256}",
        "name": model.name,
        "version": model.sha256[:12],
        "description": f"{model.manifest.architecture.name}, {count(len(model.manifest.classes), 'class')}",
        "hashes": [{"alg": "SHA-256", "content": model.sha256}],
    }


def _application(version: str, wheel: bytes) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": f"pkg:pypi/catseye@{version}",
        "name": "catseye",
        "version": version,
        "purl": f"pkg:pypi/catseye@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}],
    }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
