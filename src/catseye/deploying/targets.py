"""The user's description of a platform: a cluster, or machines for training.

Enters: values as typed. Leaves: `Cluster` or `TrainingJob`, or an error. A field whose metadata has a `help` is an
option of `catseye deploy` (cli/verbs.py), which is why nothing heavy is imported here. Called by kubernetes.py,
training_job.py and cli.
"""

import re
from dataclasses import dataclass, field

from catseye.errors import UsageError

NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")  # leaves room for suffixes within 63 characters
SIZE = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi|Ti)")
RESTARTS = 3  # of a training, from its checkpoint
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


@dataclass(frozen=True)
class Cluster:
    """The cluster and the deployment in it. "" and 0 are filled in from the model."""

    image: str = field(
        default="",
        metadata={"show_default": "NAME", "help": "The image as pushed; without a tag, the model's version is used."},
    )
    namespace: str = field(
        default="", metadata={"show_default": False, "help": "Namespace; kubectl's own if left out."}
    )
    min_replicas: int = field(default=2, metadata={"min": 1, "max": 1000, "help": "Fewest replicas."})
    max_replicas: int = field(default=10, metadata={"min": 1, "max": 1000, "help": "Most replicas."})
    cpus: int = field(default=2, metadata={"min": 1, "max": 256, "help": "Processors per replica."})
    requests_per_pod: int = field(
        default=0,
        metadata={"min": 0, "help": "Requests per second and replica, above which replicas are added; 0: measured."},
    )
    token_secret: str = field(
        default="", metadata={"show_default": "NAME-token", "help": "The Secret with the key `token`."}
    )
    insecure: bool = field(default=False, metadata={"help": "Accept requests without a token."})
    host: str = field(default="", metadata={"help": "DNS name of Ingress and Gateway, with https."})
    gateway_class: str = field(default="istio", metadata={"help": "A name from kubectl get gatewayclass."})
    monitoring_namespace: str = field(default="monitoring", metadata={"help": "Where Prometheus runs."})
    release: str = field(
        default="kube-prometheus-stack", metadata={"help": "The Helm release of the Prometheus operator."}
    )
    prestop_s: int = field(
        default=5,
        metadata={
            "option": "--prestop",
            "min": 1,
            "max": 600,
            "help": "Seconds for load balancers to learn of a stop.",
        },
    )

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
                f"--min-replicas is at most --max-replicas; got {self.min_replicas} and {self.max_replicas}; swap them"
            )
        if self.insecure and self.token_secret:
            raise UsageError(f"--insecure means no token; got --token-secret {self.token_secret} too; leave one out")


@dataclass(frozen=True)
class TrainingJob:
    """The training and its machines.

    Without GPUs, one process per machine computes on the CPU.
    """

    data: str = field(metadata={"help": "DATA as in train, as the machines see it."})
    run: str = field(metadata={"help": "The run folder, as the machines see it; an unfinished run is continued."})
    nodes: int = field(default=2, metadata={"min": 1, "max": 1000, "help": "Number of machines."})
    gpus_per_node: int = field(
        default=1, metadata={"min": 0, "max": 64, "help": "Processes per machine; 0: one, on the CPU."}
    )
    cpus_per_node: int = field(default=8, metadata={"min": 1, "max": 1024, "help": "Cores per machine."})
    memory: str = field(default="32Gi", metadata={"help": "Memory per machine, such as 32Gi."})
    name: str = field(default="catseye-train", metadata={"help": "Name of the job."})
    words: tuple[str, ...] = ()  # further words of `catseye train`

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(f"--name takes small letters, digits and '-', at most 52; got {self.name!r}")
        if not SIZE.fullmatch(self.memory):
            raise UsageError(f"--memory takes a number and Mi, Gi or Ti, such as 32Gi; got {self.memory!r}")
        for word in self.words:
            option = word.partition("=")[0]
            if option in ("--out", "--resume", "--nproc", "--max-restarts"):
                raise UsageError(f"--options cannot hold {option}: torchrun and RUN set it already; leave it out")

    @property
    def processes(self) -> int:
        """Processes per machine."""
        return max(1, self.gpus_per_node)

    @property
    def command(self) -> list[str]:
        """The words after `catseye`."""
        device = [] if self.gpus_per_node else ["--device", "cpu"]
        return ["train", self.data, "--out", self.run, *device, *self.words]

    def facts(self) -> dict[str, object]:
        """The facts for every template."""
        return {
            "name": self.name,
            "nodes": self.nodes,
            "processes": self.processes,
            "cpus": self.cpus_per_node,
            "threads": max(1, self.cpus_per_node // self.processes),
            "restarts": RESTARTS,
            "gpus": self.gpus_per_node,
            "memory": self.memory,
        }


def _require(text: str, rule: re.Pattern[str], message: str) -> None:
    if text and not rule.fullmatch(text):
        raise UsageError(f"{message}; got {text!r}")
