"""As much of a cluster as one machine without one has: pods as processes in network namespaces, probes, a roll-out.

A pod is the Deployment's very command under the Deployment's limits: PID 1 of a PID namespace, user 10001, no
capabilities, a read-only root made of bind mounts, /tmp as its only writable folder, a control group with the
memory and the processors of `resources.limits`, and an address of its own behind a bridge. Needs root, Debian's
bubblewrap and iproute2.
"""

import contextlib
import http.client
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import catseye

NETWORK, BRIDGE = "10.203.77", "catseye-br0"
GROUPS = Path("/sys/fs/cgroup")
TOKEN = "a-token-for-the-pods-of-this-test"


def missing() -> str:
    """Why pods cannot be made here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tools = [name for name in ("bwrap", "ip", "setpriv", "unshare") if shutil.which(name) is None]
    return f"needs {', '.join(tools)}" if tools else ""


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def group_files(name: str, memory_bytes: int, cpus: int) -> list[Path]:
    """Make the control groups of a pod and return the files that take its process, of version 1 or 2."""
    if (GROUPS / "cgroup.controllers").exists():
        folder = GROUPS / name
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(str(memory_bytes))
        (folder / "cpu.max").write_text(f"{cpus * 100_000} 100000")
        return [folder / "cgroup.procs"]
    folders = [GROUPS / kind / name for kind in ("memory", "cpu")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    (folders[0] / "memory.limit_in_bytes").write_text(str(memory_bytes))
    (folders[1] / "cpu.cfs_quota_us").write_text(str(cpus * 100_000))
    return [folder / "cgroup.procs" for folder in folders]


def peak_memory_mb(process: int) -> float:
    """The most that it held at a time; its control group counts no page that others read before it."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@dataclass
class Probe:
    """An httpGet probe as it was rendered, and how often it failed."""

    said: dict
    port: int
    failed: int = 0

    def once(self, address: str) -> bool:
        connection = http.client.HTTPConnection(address, self.port, timeout=self.said["timeoutSeconds"])
        try:
            connection.request("GET", self.said["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def until_good(self, address: str, alive) -> float:
        """Seconds until it succeeds; an AssertionError where a kubelet would give up."""
        begun, threshold = time.monotonic(), self.said["failureThreshold"]
        for _ in range(threshold):
            if self.once(address):
                return time.monotonic() - begun
            assert alive(), "the process ended"
            time.sleep(self.said["periodSeconds"])
        raise AssertionError(f"{self.said} failed {threshold} times")


@dataclass
class Pod:
    """One replica."""

    number: int
    spec: dict
    folder: Path
    model: Path
    process: subprocess.Popen | None = None
    child: int = 0
    started_s: float = 0.0
    ended: dict = field(default_factory=dict)
    _watched: threading.Event = field(default_factory=threading.Event)
    probe_failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.address = f"catseye-{self.number}", f"{NETWORK}.{self.number + 10}"
        (self.container,) = self.spec["containers"]
        self.port = self.container["ports"][0]["containerPort"]
        self.log = self.folder / f"{self.name}.log"
        self.probes = {
            kind: Probe(self.container[kind], self.port) for kind in ("startupProbe", "readinessProbe", "livenessProbe")
        }

    def start(self) -> None:
        """Namespaces, control groups, root file system, process; then the startup and readiness probes."""
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", f"v{self.number}", "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", f"v{self.number}", "master", BRIDGE, "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")
        limits = self.container["resources"]["limits"]
        groups = group_files(self.name, int(limits["memory"].removesuffix("Mi")) * 2**20, int(limits["cpu"]))
        join = "".join(f"echo $$ > {path}; " for path in groups)
        read_end, write_end = os.pipe()
        words = ["sh", "-c", f'{join}exec "$@"', "sh", "ip", "netns", "exec", self.name]
        words += self._sandbox(write_end, int(limits["cpu"])) + self._as_user() + self.container["command"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, pass_fds=[write_end], stdin=subprocess.DEVNULL
            )
        os.close(write_end)
        with os.fdopen(read_end) as told:
            self.child = json.load(told)["child-pid"]
        self.started_s = self.probes["startupProbe"].until_good(self.address, lambda: self.process.poll() is None)
        self.probes["readinessProbe"].until_good(self.address, lambda: self.process.poll() is None)
        threading.Thread(target=self._watch, daemon=True).start()

    def _sandbox(self, info: int, cpus: int) -> list[str]:
        """A root of what the image would hold, read-only."""
        quota = self.folder / "cpu.max"  # where the server looks, whatever this machine's control groups are like
        quota.write_text(f"{cpus * 100_000} 100000\n")
        token = self.folder / "token"
        token.write_text(TOKEN)
        token.chmod(0o444)  # a Secret is read through fsGroup
        source = Path(catseye.__file__).parents[1]
        binds = {path: path for path in (Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), source)}
        binds |= {Path("/sys/fs/cgroup/cpu.max"): quota, Path(self.container["command"][2]): self.model}
        mounts = {one["name"]: Path(one["mountPath"]) for one in self.container["volumeMounts"]}
        if "token" in mounts:
            binds[mounts["token"] / "token"] = token
        folders = {parent for path in binds for parent in path.parents} - set(binds) - {Path("/")}
        words = ["bwrap", "--unshare-pid", "--as-pid-1", "--unshare-ipc", "--info-fd", str(info)]
        for folder in sorted(folders):  # made without being asked, they would be root's alone
            words += ["--perms", "0755", "--dir", str(folder)]
        for inside, outside in sorted(binds.items()):
            words += ["--ro-bind", str(outside), str(inside)]
        for link in ("bin", "lib", "lib64", "sbin"):
            words += ["--symlink", f"usr/{link}", f"/{link}"]
        words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", str(mounts["tmp"])]
        # The last: whatever is not a mount of its own cannot be written from here on.
        words += ["--remount-ro", "/", "--chdir", "/", "--clearenv", "--setenv", "PATH", f"{sys.prefix}/bin:/usr/bin"]
        return [*words, "--setenv", "PYTHONPATH", str(source)]

    def _as_user(self) -> list[str]:
        user = self.spec["securityContext"]["runAsUser"]
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all",
                "--inh-caps=-all", "--no-new-privs"]  # fmt: skip

    def _watch(self) -> None:
        """The readiness and liveness probes, by their periods, until the pod is deleted."""
        due = {kind: time.monotonic() for kind in ("readinessProbe", "livenessProbe")}
        while not self._watched.wait(0.2):
            for kind, when in due.items():
                if time.monotonic() >= when:
                    due[kind] = time.monotonic() + self.probes[kind].said["periodSeconds"]
                    if not self.probes[kind].once(self.address) and not self._watched.is_set():
                        self.probe_failures.append(kind)

    def delete(self) -> dict:
        """What a kubelet does: the preStop sleep, SIGTERM, at the end of the grace period SIGKILL."""
        grace_s = self.spec["terminationGracePeriodSeconds"]
        begun = time.monotonic()
        self._watched.set()
        time.sleep(self.container["lifecycle"]["preStop"]["sleep"]["seconds"])
        asked = time.monotonic()
        os.kill(self.child, 15)
        killed = False
        try:
            code = self.process.wait(max(0.1, grace_s - (asked - begun)))
        except subprocess.TimeoutExpired:
            killed = True
            self.kill()
            code = self.process.wait()
        end = time.monotonic()
        self.ended = {"code": code, "killed": killed, "stop_s": end - asked, "all_s": end - begun, "grace_s": grace_s}
        return self.ended

    def kill(self) -> None:
        if self.child and self.process.poll() is None:
            os.kill(self.child, 9)

    def events(self) -> list[dict]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines if '"event"' in line]

    def clear(self) -> None:
        self._watched.set()
        if self.process is not None:
            self.kill()
            self.process.wait(10)
        # The namespace's own end goes with it, but later than the next test needs the name.
        subprocess.run(["ip", "link", "del", f"v{self.number}"], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        for folder in (GROUPS / self.name, GROUPS / "memory" / self.name, GROUPS / "cpu" / self.name):
            with contextlib.suppress(OSError):
                folder.rmdir()


@dataclass
class Cluster:
    """The bridge, the pods of one Deployment, and its roll-out."""

    deployment: dict
    folder: Path
    model: Path
    pods: list[Pod] = field(default_factory=list)
    all: list[Pod] = field(default_factory=list)

    def __enter__(self) -> "Cluster":
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.all:
            pod.clear()
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)

    def add(self, count: int = 1) -> None:
        """New pods, started side by side; back when all are ready."""
        spec, first = self.deployment["spec"]["template"]["spec"], len(self.all) + 1
        new = [Pod(number, spec, self.folder, self.model) for number in range(first, first + count)]
        self.all += new
        with ThreadPoolExecutor(count) as starting:
            for started in [starting.submit(pod.start) for pod in new]:
                started.result()
        self.pods += new

    def roll_out(self, tell, propagation_s: float) -> None:
        """Replace all pods as the Deployment's strategy says. `tell` is what proxies hear, `propagation_s` late."""
        strategy = self.deployment["spec"]["strategy"]["rollingUpdate"]
        replicas = len(self.pods)
        assert strategy["maxUnavailable"] == 0
        surge = math.ceil(int(strategy["maxSurge"].removesuffix("%")) / 100 * replicas)
        old, endings = list(self.pods), []
        while old:
            batch, old = old[:surge], old[surge:]
            self.add(len(batch))
            for pod in batch:
                self.pods.remove(pod)
                endings.append(threading.Thread(target=pod.delete))
                endings[-1].start()
            # The controller goes on while the old ones end; the proxies hear of both later.
            tell(list(self.pods), propagation_s)
        for ending in endings:
            ending.join()
