"""`catseye deploy kubernetes`: one model's server in a cluster.

Enters: a model file and a description of the cluster. Leaves: a folder for `kubectl apply -k`: a Kustomize base,
components and overlays. Every number comes from the server's own settings (budget.py). The templates lie in
templates/kubernetes. Called by cli.
"""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from catseye.counting import count
from catseye.deploying.budget import memory_of, requests_per_s, stop_of
from catseye.deploying.rendering import DeployedModel, Written, render_template, write_folder
from catseye.deploying.targets import IMAGE, Cluster
from catseye.serving.settings import ServerSettings

USER, PORT = 10001, 8000
MODEL = "/app/model.onnx"
TOKEN_FOLDER = "/run/secrets/catseye"  # noqa: S105 - a path
STARTUP_S = 120
MAX_CLASSES_BYTES = 65_536  # all annotations of an object may have 256 KiB, and `kubectl apply` keeps them twice
BASE = ("deployment", "service", "autoscaler", "disruption", "network")
OVERLAYS = {
    "cpu": (),
    "gpu": ("gpu",),
    "monitoring": ("monitoring",),
    "requests-per-pod": ("monitoring", "requests-per-pod"),
    "ingress": ("ingress",),
    "gateway": ("gateway",),
}


def write_kubernetes(model: DeployedModel, cluster: Cluster, out: Path, *, force: bool = False) -> Written:
    """Write the folder.

    Raises:
        UsageError: it is not empty and `force` was not given.
        SaveError: it cannot be written.

    """
    cluster = _filled(model, cluster)
    notes = []
    if _annotated_classes(model) is None:
        notes.append(
            f"the names of all {count(len(model.manifest.classes), 'class')} are too long for an annotation "
            f"(at most {MAX_CLASSES_BYTES:,} bytes), so the Deployment has only their number; GET /model lists them"
        )
    if cluster.insecure:
        notes.append(
            "--insecure: any client that the NetworkPolicy admits can send requests; the overlays ingress and gateway "
            "admit all"
        )
    files = write_folder(out, render_all(model, cluster), force=force)
    name, space = model.name, f" -n {cluster.namespace}" if cluster.namespace else ""
    steps = []
    if "@" not in cluster.image:  # an image with a digest has been pushed
        steps.append(f"docker tag {name} {cluster.image} && docker push {cluster.image}")
    if not cluster.insecure:
        steps.append(
            f"kubectl{space} create secret generic {cluster.token_secret} "
            '--from-literal=token="$(openssl rand -hex 32)"'
        )
    steps += [
        f"kubectl apply -k {shlex.quote(str(out / 'overlays' / 'cpu'))}",
        f"kubectl{space} rollout status deployment/{name}",
    ]
    return Written(files, notes, steps)


def render_all(model: DeployedModel, cluster: Cluster) -> dict[str, str | bytes | Path]:
    """Every file by its name."""
    cluster = _filled(model, cluster)
    facts = _template_facts(model, cluster)
    network = {"network.yaml": "open-network.yaml"}
    parts: dict[str, dict[str, str]] = {
        "base": {
            "kustomization.yaml": "base.yaml",
            **{f"{name}.yaml": f"{name}.yaml" for name in BASE},
        },
        "components/gpu": {"kustomization.yaml": "gpu.yaml"},
        "components/requests-per-pod": {
            "kustomization.yaml": "requests-per-pod.yaml",
            "prometheus-adapter-values.yaml": "adapter-values.yaml",
        },
        "components/monitoring": {
            "kustomization.yaml": "monitoring.yaml",
            "service-monitor.yaml": "service-monitor.yaml",
            "network.yaml": "monitoring-network.yaml",
            "rules.yaml": "rules.yaml",
        },
        "components/ingress": {
            "kustomization.yaml": "ingress-component.yaml",
            "ingress.yaml": "ingress.yaml",
            **network,
        },
        "components/gateway": {
            "kustomization.yaml": "gateway-component.yaml",
            "gateway.yaml": "gateway.yaml",
            **network,
        },
        "overlays/kserve": {"kustomization.yaml": "kserve.yaml", "inference-service.yaml": "inference-service.yaml"},
    }
    files: dict[str, str | bytes | Path] = {
        f"{folder}/{name}": render_template(f"kubernetes/{template}", facts)
        for folder, templates in parts.items()
        for name, template in templates.items()
    }
    files["components/monitoring/dashboard.json"] = render_template("monitoring/dashboard.json", facts)
    for overlay, components in OVERLAYS.items():
        paths = [f"../../components/{name}" for name in components]
        files[f"overlays/{overlay}/kustomization.yaml"] = render_template(
            "kubernetes/overlay.yaml", {"overlay": overlay, "components": paths}
        )
    return files


def server_settings(cluster: Cluster) -> ServerSettings:
    """The settings of the server in the container."""
    token_file = None if cluster.insecure else Path(TOKEN_FOLDER) / "token"
    return ServerSettings(Path(MODEL), host="0.0.0.0", port=PORT, token_file=token_file, insecure=cluster.insecure)  # noqa: S104


def container_command(settings: ServerSettings) -> list[str]:
    """The container's command, with explicit times for stopping.

    A later change of the defaults does not affect it.
    """
    guard = ["--insecure"] if settings.token_file is None else ["--token-file", str(settings.token_file)]
    return [
        *("catseye", "serve", str(settings.model), "--host", settings.host, "--port", str(settings.port)),
        *("--drain", f"{settings.drain_s:g}", "--deadline", f"{settings.limits.deadline_s:g}", *guard),
    ]


def _filled(model: DeployedModel, cluster: Cluster) -> Cluster:
    """The cluster with all defaults filled in."""
    match = IMAGE.fullmatch(cluster.image or model.name)
    assert match is not None
    image = (
        match["name"]
        + (f":{match['tag']}" if match["tag"] else "")
        + (f"@{match['digest']}" if match["digest"] else "")
    )
    if not match["tag"] and not match["digest"]:
        image += f":{_model_version(model)}"  # never `latest`: one cannot roll back to a moving tag
    secret = "" if cluster.insecure else cluster.token_secret or f"{model.name}-token"
    return replace(cluster, image=image, token_secret=secret)


def _template_facts(model: DeployedModel, cluster: Cluster) -> dict[str, Any]:
    settings = server_settings(cluster)
    image = IMAGE.fullmatch(cluster.image)
    assert image is not None
    stop, memory = stop_of(settings, cluster.prestop_s), memory_of(model, settings, cluster.cpus)
    measured = cluster.requests_per_pod or requests_per_s(model, cluster.cpus)
    return {
        **{"name": model.name, "version": _model_version(model), "sha256": model.sha256, "user": USER, "port": PORT},
        **{"image": cluster.image, "image_name": image["name"]},
        **{"image_tag": image["tag"], "image_digest": image["digest"], "namespace": cluster.namespace},
        **{"num_classes": len(model.manifest.classes), "classes": _annotated_classes(model)},
        "megabytes": f"{model.num_bytes / 1e6:.1f}",
        "command": container_command(settings),
        **{"prestop_s": stop.prestop_s, "drain_s": f"{stop.drain_s:g}", "finish_s": stop.finish_s},
        **{"reserve_s": stop.reserve_s, "grace_s": stop.grace_s, "startup_s": STARTUP_S},
        "progress_s": 2 * STARTUP_S + stop.grace_s,
        **{"cpus": cluster.cpus, "memory_request": f"{memory.usual_mib}Mi", "memory_limit": f"{memory.most_mib}Mi"},
        "memory_why": f"MiB at most: {memory.why}",
        **{"min_replicas": cluster.min_replicas, "max_replicas": cluster.max_replicas},
        "requests_per_pod": measured,
        "requests_why": "given"
        if cluster.requests_per_pod
        else "70 % of what this many processors answered on the machine that made this file",
        **{"monitoring_namespace": cluster.monitoring_namespace, "release": cluster.release},
        "body_megabytes": -(-settings.limits.body_bytes // 1_000_000),
        **{"token_secret": cluster.token_secret, "token_folder": TOKEN_FOLDER},
        **{"host": cluster.host, "gateway_class": cluster.gateway_class},
        "model": Path(MODEL).stem,
    }


def _model_version(model: DeployedModel) -> str:
    return model.sha256[:12]


def _annotated_classes(model: DeployedModel) -> list[str] | None:
    """The names for the annotation, or None if they are too long for one."""
    listed = json.dumps(model.manifest.classes, ensure_ascii=False)
    return None if len(listed.encode()) > MAX_CLASSES_BYTES else list(model.manifest.classes)
