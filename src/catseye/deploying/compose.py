"""`catseye deploy compose`: the server, Prometheus and Grafana on one machine.

Enters: a model file. Leaves: a folder for `docker compose up`, with dashboard, alerts and the build context of
`deploy docker` inside. Called by cli.
"""

import re
import secrets
import shlex
from pathlib import Path

import catseye
from catseye.deploying.budget import memory_of
from catseye.deploying.docker import build_context
from catseye.deploying.rendering import DeployedModel, Written, render_template, write_folder
from catseye.errors import UsageError
from catseye.serving.settings import ServerSettings

# Recent or long-supported releases, pinned; change them here.
PROMETHEUS = "prom/prometheus:v3.5.0"
GRAFANA = "grafana/grafana:12.1.0"
MEMORY = re.compile(r"[1-9][0-9]{0,5}[MG]")
PASSWORD = "secrets/grafana-password"  # noqa: S105 - a path


def write_compose(
    model: DeployedModel, out: Path, *, cpus: int = 2, memory: str = "auto", force: bool = False
) -> Written:
    """Write the folder. Each call draws a new password for Grafana's administrator.

    `memory` is the limit of the classifier's container; auto: what its limits allow at most.

    Raises:
        UsageError: the folder is not empty and `force` was not given; or the memory is not a size.
        SaveError: it cannot be written.

    """
    most_mib = memory_of(model, ServerSettings(model.path), cpus).most_mib
    if memory == "auto":
        memory = f"{most_mib}M"
    if not MEMORY.fullmatch(memory):
        raise UsageError(f"--memory takes a number and M or G, such as 1G, or auto; got {memory!r}")
    context, notes = build_context(model)
    if int(memory[:-1]) * (1024 if memory.endswith("G") else 1) < most_mib:
        notes.append(
            f"malicious images can take {most_mib}M, more than --memory {memory}; the kernel would kill the server"
        )
    facts = {
        "name": model.name,
        "version": model.sha256[:12],
        "catseye": catseye.__version__,
        "prometheus": PROMETHEUS,
        "grafana": GRAFANA,
        "cpus": cpus,
        "memory": memory,
    }
    content: dict[str, str | bytes | Path] = {
        "compose.yaml": render_template("compose/compose.yaml", facts),
        "prometheus/prometheus.yml": render_template("compose/prometheus.yml", facts),
        "prometheus/alerts.yaml": render_template("monitoring/alerts.yaml", facts),
        "grafana/datasources/prometheus.yaml": render_template("compose/datasource.yaml", facts),
        "grafana/dashboards/dashboards.yaml": render_template("compose/dashboards.yaml", facts),
        f"grafana/dashboards/{model.name}.json": render_template("monitoring/dashboard.json", facts),
        PASSWORD: secrets.token_urlsafe(24),
    }
    content |= {f"classifier/{name}": file for name, file in context.items()}
    files = write_folder(out, content, force=force)
    # Grafana reads the file as another user; the folder keeps other users of this machine out.
    (out / PASSWORD).parent.chmod(0o700)
    (out / PASSWORD).chmod(0o444)
    steps = [f"cd {shlex.quote(str(out))}", "docker compose up --build --detach", "open http://127.0.0.1:3000"]
    return Written(files, notes, steps)
