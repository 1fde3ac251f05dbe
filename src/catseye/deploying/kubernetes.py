"""`catseye deploy kubernetes`: a Kustomize base, components and overlays that put one model's server into a cluster.

Enters: a model file and what the cluster is like. Leaves: a folder for `kubectl apply -k`. Every number comes from the
server's own settings (budget.py). The templates lie in templates/kubernetes. Called by cli.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from catseye.deploying.budget import memory_of, requests_per_s, stop_of
from catseye.deploying.rendering import DeployedModel, Written, render_template, write_folder
from catseye.errors import UsageError
from catseye.serving.settings import ServerSettings

USER, PORT = 10001, 8000
MODEL = "/app/model.onnx"
TOKEN_FOLDER = "/run/secrets/catseye"  # noqa: S105 - a path
STARTUP_S = 120
MAX_CLASSES_BYTES = 65_536  # all annotations of an object have 256 KiB, and `kubectl apply` keeps them twice
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", re.ASCII)
# Source: github.com/distribution/reference, the grammar in reference.go.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?P<name>(?:(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+:[0-9]+)(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
OVERLAYS = {
    "cpu": (),
    "gpu": ("gpu",),
    "monitoring": ("monitoring",),
    "requests-per-pod": ("monitoring", "requests-per-pod"),
    "ingress": ("ingress",),
    "gateway": ("gateway",),
}


@dataclass(frozen=True)
class Cluster:
    """What the cluster is like and what it should do. "" and 0 are filled in from the model."""

    image: str = ""
    namespace: str = ""
    min_replicas: int = 2
    max_replicas: int = 10
    cpus: int = 2
    requests_per_pod: int = 0
    token_secret: str = ""
    insecure: bool = False
    host: str = ""
    gateway_class: str = "istio"
    monitoring_namespace: str = "monitoring"
    release: str = "kube-prometheus-stack"
    prestop_s: int = 5

    def __post_init__(self) -> None:
        _require(self.image, IMAGE, "--image takes a reference such as registry.example/team/cats:1 in small letters")
        _require(self.namespace, LABEL, "--namespace takes small letters, digits and '-', at most 63")
        _require(
            self.token_secret, DNS_NAME, "--token-secret takes the name of a Secret: small letters, digits, '-', '.'"
        )
        _require(self.host, DNS_NAME, "--host takes a DNS name in small letters such as cats.example.org")
        _require(self.gateway_class, DNS_NAME, "--gateway-class takes a name that `kubectl get gatewayclass` lists")
        _require(
            self.monitoring_namespace, LABEL, "--monitoring-namespace takes small letters, digits and '-', at most 63"
        )
        _require(self.release, LABEL_VALUE, "--release becomes a label: letters, digits, '-', '_', '.', at most 63")
        if self.min_replicas > self.max_replicas:
            raise UsageError(
                f"--min-replicas is at most --max-replicas; got {self.min_replicas} and {self.max_replicas}; swap them?"
            )
        if self.insecure and self.token_secret:
            raise UsageError(f"--insecure means no token; got --token-secret {self.token_secret} too; leave one out")


def write_kubernetes(model: DeployedModel, cluster: Cluster, out: Path, *, force: bool = False) -> Written:
    """Write the folder.

    Raises:
        UsageError: it holds something already and `force` was not given.
        SaveError: it cannot be written.

    """
    cluster = _filled(model, cluster)
    notes = []
    if "num-classes" in _classes(model).partition(":")[0]:
        notes.append(
            f"the names of all {len(model.manifest.classes):,} classes are too long for an annotation "
            f"(at most {MAX_CLASSES_BYTES:,} bytes), so the Deployment says their number; GET /model lists them"
        )
    if cluster.insecure:
        notes.append(
            "--insecure: whoever the NetworkPolicy lets in may ask; the overlays ingress and gateway let in all"
        )
    files = write_folder(out, render_all(model, cluster), force=force)
    name, space = model.name, f" -n {cluster.namespace}" if cluster.namespace else ""
    steps = []
    if "@" not in cluster.image:  # what has a digest has been pushed
        steps.append(f"docker tag {name} {cluster.image} && docker push {cluster.image}")
    if not cluster.insecure:
        steps.append(
            f"kubectl{space} create secret generic {cluster.token_secret} "
            '--from-literal=token="$(openssl rand -hex 32)"'
        )
    steps += [f"kubectl apply -k {out / 'overlays' / 'cpu'}", f"kubectl{space} rollout status deployment/{name}"]
    return Written(files, notes, steps)


def render_all(model: DeployedModel, cluster: Cluster) -> dict[str, str | bytes | Path]:
    """Every file by its name."""
    cluster = _filled(model, cluster)
    facts = _template_facts(model, cluster)
    pod = _pod(facts, container="server", port_name="http", spread_label="app.kubernetes.io/name")
    kserve = _pod(
        facts, container="kserve-container", port_name="http1", spread_label="serving.kserve.io/inferenceservice"
    )
    network = {"network.yaml": "open-network.yaml"}
    parts: dict[str, dict[str, str]] = {
        "base": {
            "kustomization.yaml": "base.yaml",
            **{f"{name}.yaml": f"{name}.yaml" for name in ("service", "autoscaler", "disruption", "network")},
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
        "overlays/kserve": {"kustomization.yaml": "kserve.yaml"},
    }
    files: dict[str, str | bytes | Path] = {
        f"{folder}/{name}": render_template(f"kubernetes/{template}", facts)
        for folder, templates in parts.items()
        for name, template in templates.items()
    }
    files["base/deployment.yaml"] = render_template("kubernetes/deployment.yaml", facts | {"pod": indent(pod, " " * 6)})
    files["overlays/kserve/inference-service.yaml"] = render_template(
        "kubernetes/inference-service.yaml", facts | {"pod": indent(kserve, " " * 4)}
    )
    files["components/monitoring/dashboard.json"] = render_template("monitoring/dashboard.json", facts)
    for overlay, components in OVERLAYS.items():
        said = json.dumps([f"../../components/{name}" for name in components])
        files[f"overlays/{overlay}/kustomization.yaml"] = render_template(
            "kubernetes/overlay.yaml", {"overlay": overlay, "components": said}
        )
    return files


def server_settings(cluster: Cluster) -> ServerSettings:
    """What the server in the container is told."""
    token_file = None if cluster.insecure else Path(TOKEN_FOLDER) / "token"
    return ServerSettings(Path(MODEL), host="0.0.0.0", port=PORT, token_file=token_file, insecure=cluster.insecure)  # noqa: S104


def container_command(settings: ServerSettings) -> list[str]:
    """The container's command. What the time to stop is made of is said in full, whatever later defaults are."""
    guard = ["--insecure"] if settings.token_file is None else ["--token-file", str(settings.token_file)]
    return [
        *("catseye", "serve", str(settings.model), "--host", settings.host, "--port", str(settings.port)),
        *("--drain", f"{settings.drain_s:g}", "--deadline", f"{settings.limits.deadline_s:g}", *guard),
    ]


def _filled(model: DeployedModel, cluster: Cluster) -> Cluster:
    """The cluster with everything said."""
    found = IMAGE.fullmatch(cluster.image or model.name)
    assert found is not None
    image = (
        found["name"]
        + (f":{found['tag']}" if found["tag"] else "")
        + (f"@{found['digest']}" if found["digest"] else "")
    )
    if not found["tag"] and not found["digest"]:
        image += f":{_model_version(model)}"  # never `latest`: a tag that moves cannot be rolled back to
    secret = "" if cluster.insecure else cluster.token_secret or f"{model.name}-token"
    return replace(cluster, image=image, token_secret=secret)


def _template_facts(model: DeployedModel, cluster: Cluster) -> dict[str, Any]:
    settings = server_settings(cluster)
    image = IMAGE.fullmatch(cluster.image)
    assert image is not None
    stop, memory = stop_of(settings, cluster.prestop_s), memory_of(model, settings, cluster.cpus)
    measured = cluster.requests_per_pod or requests_per_s(model, cluster.cpus)
    digest_or_tag = f'digest: "{image["digest"]}"' if image["digest"] else f'newTag: "{image["tag"]}"'
    return {
        **{"name": model.name, "version": _model_version(model), "sha256": model.sha256, "user": USER, "port": PORT},
        **{
            "image": json.dumps(cluster.image),
            "image_name": image["name"],
            "gpu_tag": f"{image['tag'] or _model_version(model)}-gpu",
        },
        "image_lines": f"    newName: {image['name']}\n    {digest_or_tag}",
        "namespace_line": f"namespace: {cluster.namespace}\n" if cluster.namespace else "",
        "num_classes": f"{len(model.manifest.classes):,}",
        "megabytes": f"{model.num_bytes / 1e6:.1f}",
        "classes_annotation": _classes(model),
        "command": json.dumps(container_command(settings)),
        **{"prestop_s": stop.prestop_s, "drain_s": f"{stop.drain_s:g}", "finish_s": stop.finish_s},
        **{"reserve_s": stop.reserve_s, "grace_s": stop.grace_s, "startup_s": STARTUP_S},
        "progress_s": 2 * STARTUP_S + stop.grace_s,
        **{"cpus": cluster.cpus, "memory_request": f"{memory.usual_mib}Mi", "memory_limit": f"{memory.most_mib}Mi"},
        "memory_why": f"MiB at most: {memory.why}",
        **{"min_replicas": cluster.min_replicas, "max_replicas": cluster.max_replicas},
        "requests_per_pod": measured,
        "requests_why": "said"
        if cluster.requests_per_pod
        else "70 % of what this many processors answered where this file was made",
        **{"monitoring_namespace": cluster.monitoring_namespace, "release": cluster.release},
        "body_megabytes": -(-settings.limits.body_bytes // 1_000_000),
        "guard": "and the server answers nobody without the token"
        if cluster.token_secret
        else "and the server asks for no token",
        "model": Path(MODEL).stem,
        "groups": indent(render_template("monitoring/alerts.yaml", {"name": model.name}), "  "),
        **_token(cluster),
        **_doors(model, cluster),
    }


def _token(cluster: Cluster) -> dict[str, str]:
    secret = cluster.token_secret
    if not secret:
        return {"token_mount": "", "token_volume": "", "scrape_token": ""}
    return {
        "token_mount": f"      - name: token\n        mountPath: {TOKEN_FOLDER}\n        readOnly: true\n",
        "token_volume": f"  - name: token\n    secret:\n      secretName: {secret}\n      defaultMode: 0440\n"
        "      items:\n        - key: token\n          path: token\n",
        "scrape_token": "      authorization: # /metrics wants the token too\n"
        "        type: Bearer\n        credentials:\n"
        f"          name: {secret}\n          key: token\n",
    }


def _doors(model: DeployedModel, cluster: Cluster) -> dict[str, str]:
    """What Ingress and Gateway say: https and one host where a host is named, else http and any."""
    host, secret = cluster.host, f"{model.name}-tls"
    if not host:
        listener = "    - name: http\n      protocol: HTTP\n      port: 80\n"
        return {
            "gateway_class": cluster.gateway_class,
            **{"tls": "", "host_line": "", "hostnames": "", "listener": listener, "section": "http"},
        }
    return {
        "gateway_class": cluster.gateway_class,
        "tls": f"  tls:\n    - hosts: [{host}]\n      secretName: {secret}\n",
        "host_line": f"host: {host}\n      ",
        "hostnames": f"  hostnames: [{host}]\n",
        "listener": f"    - name: https\n      protocol: HTTPS\n      port: 443\n      hostname: {host}\n      tls:\n"
        f"        mode: Terminate\n        certificateRefs:\n          - name: {secret}\n",
        "section": "https",
    }


def _pod(facts: dict[str, Any], **names: str) -> str:
    return render_template("kubernetes/pod.yaml", facts | names).rstrip("\n")


def _model_version(model: DeployedModel) -> str:
    return model.sha256[:12]


def _classes(model: DeployedModel) -> str:
    """The line of the annotation: the names, or where they are too long for one, their number."""
    listed = json.dumps(model.manifest.classes, ensure_ascii=False)
    if len(listed.encode()) > MAX_CLASSES_BYTES:
        return f'    catseye/num-classes: "{len(model.manifest.classes)}"\n'
    return f"    catseye/classes: {json.dumps(listed, ensure_ascii=False)}\n"


def _require(text: str, rule: re.Pattern[str], said: str) -> None:
    if text and not rule.fullmatch(text):
        raise UsageError(f"{said}; got {text!r}")
