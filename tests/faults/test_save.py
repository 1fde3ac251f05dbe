"""A save that is killed, cut off from power, out of space, failing once, or changed afterwards: the run is loadable.

SIGKILL strikes at real system calls (tracing.py), the full disk is a small tmpfs, the power cut is the trace of a real
save replayed without what was not synced (as in Pillai et al. 2014, OSDI), and in the slow suite an ext4 image.
"""

import errno
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import torch
from rich.console import Console

import catseye
from catseye.errors import ModelFileError, SaveError
from catseye.files import write_atomically
from catseye.manifest import Architecture, Manifest
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.runs import CHECKPOINT_FILE, PREVIOUS_FILE, Run, load_model, locked, save_model
from catseye.settings.schema import AugmentSettings
from catseye.tensor_files import read_tensors
from catseye.training.checkpoints import Checkpoints, TrainingPosition, load_newest
from catseye.training.ema import EMA
from catseye.training.history import History
from catseye.training.losses import Criterion
from catseye.training.signals import StopRequest
from catseye.training.step import TrainState
from tests.faults.conftest import NotPossible, assert_same_weights, enlarge_disk, in_child, small_disk, train
from tests.faults.test_signals import stopped_at
from tests.faults.tracing import follow, why_not

CPU = torch.device("cpu")
SPEC = Preprocessing(height_px=32, width_px=32, channels=1, mean=(0.5,), std=(0.5,))
QUIET = Console(file=io.StringIO())
traceable = pytest.mark.skipif(why_not() != "", reason=why_not() or "-")


def make_trainer(step: int) -> TrainState:
    """A LeNet-5 with momentum and average, in a state that only this step has."""
    torch.manual_seed(step)
    model = registry.create("lenet5", num_classes=3, in_channels=1, input_px=32)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return TrainState(
        model, optimizer, lambda _: (0.1, 0.9), Criterion(), AugmentSettings(), SPEC, 3, 0,
        ema=EMA(model, 0.9), step=step,
    )  # fmt: skip


def end_of_epoch(folder: Path, step: int) -> None:
    """What `fit` writes at the end of an epoch that is the best so far."""
    run, trainer = Run(folder), reference(step)
    manifest = Manifest(classes=("a", "b", "c"), preprocessing=SPEC, architecture=Architecture(name="lenet5"))
    save_model(run.model_path, trainer.whole_state(trainer.model), manifest)
    History(run, step - 1).append({"epoch": step})
    Checkpoints(run, trainer, StopRequest(), 300).save(TrainingPosition(epoch=step, step=step))


def loaded(folder: Path) -> int:
    """The step that a resumed run would begin at; every tensor is compared with that step's."""
    trainer = scratch()
    position = load_newest(Run(folder), trainer, QUIET)
    same = reference(position.step)
    pairs = [(trainer.model.state_dict(), same.model.state_dict()), (trainer.ema.state_dict(), same.ema.state_dict())]
    mine, wanted = (each.optimizer.state_dict()["state"] for each in (trainer, same))
    pairs += [(mine[index], wanted[index]) for index in wanted]
    for one, other in pairs:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in other)
    history = Run(folder).history
    assert len(history) >= position.epoch, "a finished epoch is without its row"
    read_tensors(folder / "model.safetensors", sealed=True)
    return position.step


reference = cache(make_trainer)  # never changed
scratch = cache(lambda: make_trainer(99))  # overwritten whole by every load


def sweep(folder: str, calls_only: bool) -> list[tuple[str, int]]:
    """Kill the save at each system call in turn; returns the calls and the step found after each."""
    start, run = Path(folder) / "start", Path(folder) / "run"
    start.mkdir()
    end_of_epoch(start, 1)
    end_of_epoch(start, 2)
    trainer = reference(3)  # made here, so that the child's calls are those of saving alone
    found: list[tuple[str, int]] = []
    for number in itertools.count():
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(start, run)
        seen: list[str] = []

        def decide(stop, seen=seen, number=number):
            if calls_only and not (stop.name and stop.entering):
                return None
            seen.append(f"{'before' if stop.entering else 'after'} {stop.name}")
            return "kill" if len(seen) > number else None

        def save():
            History(Run(run), 2).append({"epoch": 3})
            Checkpoints(Run(run), trainer, StopRequest(), 300).save(TrainingPosition(epoch=3, step=3))

        status = follow(save, decide)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert loaded(run) == 3
            return found
        assert os.WTERMSIG(status) == signal.SIGKILL
        with locked(Run(run)):  # what --resume does first
            pass
        assert not list(run.glob(".*.new")), "what was half written is left"
        found.append((seen[-1], loaded(run)))
    raise AssertionError


@traceable
def test_sigkill_at_every_call_of_a_save(tmp_path):
    found = in_child(sweep, str(tmp_path), True)
    calls = [call for call, _ in found]
    for name in ("write", "fsync", "rename"):
        assert any(name in call for call in calls)
    steps = [step for _, step in found]
    assert steps == sorted(steps), "a later kill found an earlier state"
    assert set(steps) == {2, 3}, "the new checkpoint counts from its rename on"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@traceable
def test_sigkill_at_every_system_call_whatever_it_is(tmp_path):
    found = in_child(sweep, str(tmp_path), False, timeout_s=2900)
    assert len(found) > 60
    assert {step for _, step in found} == {2, 3}


# Power cut


@dataclass
class Disk:
    """What a disk holds for certain: bytes that were synced, names whose folder was synced; the rest may be lost."""

    root: Path
    content: dict[str, bytes] = field(default_factory=dict)  # per file as it is in memory
    synced: dict[str, bytes] = field(default_factory=dict)  # per file, its last synced bytes
    names: dict[str, str] = field(default_factory=dict)  # name on disk -> file
    pending: list[tuple[str, ...]] = field(default_factory=list)  # changes of names since the folder was synced
    live: dict[str, str] = field(default_factory=dict)  # name in memory -> file
    made: int = 0

    @classmethod
    def of(cls, root: Path) -> "Disk":
        disk = cls(root)
        for path in root.iterdir():
            disk.names[path.name] = disk.live[path.name] = path.name
            disk.content[path.name] = disk.synced[path.name] = path.read_bytes()
        return disk

    def write(self, name: str, content: bytes) -> None:
        if name not in self.live:
            self.made += 1
            self.live[name] = f"new-{self.made}"
            self.pending.append(("make", name, self.live[name]))
        self.content[self.live[name]] = content

    def sync(self, name: str) -> None:
        if name == ".":
            self.names = self.after(len(self.pending))
            self.pending = []
        elif name in self.live:
            self.synced[self.live[name]] = self.content[self.live[name]]

    def rename(self, one: str, other: str) -> None:
        self.live[other] = self.live.pop(one)
        self.pending.append(("rename", one, other))

    def after(self, count: int) -> dict[str, str]:
        names = dict(self.names)
        for change in self.pending[:count]:
            if change[0] == "make":
                names[change[1]] = change[2]
            elif change[1] in names:
                names[change[2]] = names.pop(change[1])
        return names

    def states(self):
        """Every folder that may be found after a power cut now: names up to any change, bytes as synced."""
        for count in range(len(self.pending) + 1):
            yield {name: self.synced.get(number, b"") for name, number in self.after(count).items()}


def record(run: str, save) -> list[tuple[str, ...]]:
    """The calls of a real save, in order: ("write", name, bytes), ("sync", name), ("rename", one, other)."""
    root = Path(run)
    calls: list[tuple] = []

    def decide(stop):
        inside = [Path(path).name if Path(path) != root else "." for path in stop.paths if path.startswith(str(root))]
        if not inside or stop.entering or stop.result < 0:
            return
        if stop.name in ("openat", "open", "write", "writev", "pwrite64", "ftruncate"):
            path = root / inside[0]
            if inside[0] != "." and path.exists():
                calls.append(("write", inside[0], path.read_bytes()))
        elif stop.name in ("fsync", "fdatasync"):
            calls.append(("sync", inside[0]))
        elif stop.name.startswith("rename"):
            calls.append(("rename", *inside))

    status = follow(save, decide)
    assert os.WIFEXITED(status)
    assert os.WEXITSTATUS(status) == 0
    return calls


def cut_power_everywhere(folder: str, careless: bool) -> tuple[list[int | str], list[int | str]]:
    """Replay a traced save up to each of its calls, drop what was not synced, and load what is left.

    What was found anywhere, and what was found once the save had returned.
    """
    run = Path(folder) / "run"
    run.mkdir()
    end_of_epoch(run, 1)
    end_of_epoch(run, 2)
    disk = Disk.of(run)
    trainer = reference(3)

    def save():
        if careless:
            os.fsync = lambda descriptor: None
        History(Run(run), 2).append({"epoch": 3})
        Checkpoints(Run(run), trainer, StopRequest(), 300).save(TrainingPosition(epoch=3, step=3))

    found: list[int | str] = []
    for number, (kind, *values) in enumerate([*record(str(run), save), ("end",)]):
        num_before = len(found)
        for state in disk.states():
            left = Path(folder) / f"left-{number}"
            shutil.rmtree(left, ignore_errors=True)
            left.mkdir()
            for name, content in state.items():
                (left / name).write_bytes(content)
            try:
                found.append(loaded(left))
            except (catseye.CatseyeError, AssertionError) as error:
                found.append(str(error))
        if kind != "end":
            getattr(disk, kind)(*values)
    return found, found[num_before:]


@traceable
def test_a_power_cut_at_every_call_of_a_save(tmp_path):
    found, at_the_end = in_child(cut_power_everywhere, str(tmp_path), False)
    assert len(found) > 15
    assert set(found) == {2, 3}, found
    assert set(at_the_end) == {3}, "a save that has returned is on the disk"


@traceable
def test_a_power_cut_finds_a_save_that_does_not_sync(tmp_path):
    """The replay can fail: the same save without fsync loses the run."""
    found, _ = in_child(cut_power_everywhere, str(tmp_path), True)
    assert any(isinstance(each, str) for each in found)


def ext4_sweep(folder: str) -> list[int]:
    """Save onto ext4 in an image file; at every call, read the image as it is: what is not synced is not in it."""
    base = Path(folder)
    image, copy, disk, second = (base / name for name in ("image", "copy", "disk", "second"))
    for each in (disk, second):
        each.mkdir()
    image.write_bytes(bytes(24 << 20))
    made = subprocess.run(["mkfs.ext4", "-q", "-b", "1024", str(image)], capture_output=True)
    small_disk(base / "second", "1m")  # a mount namespace of our own: whatever happens, no mount is left behind
    mounted = subprocess.run(["mount", "-o", "loop,commit=600", image, disk], capture_output=True)
    if made.returncode or mounted.returncode:
        raise NotPossible(f"no ext4 image can be mounted here ({mounted.stderr.decode().strip()})")
    run = disk / "run"
    run.mkdir()
    end_of_epoch(run, 1)
    end_of_epoch(run, 2)
    os.sync()
    trainer, found = reference(3), []

    def decide(stop):
        if stop.name in ("write", "fsync", "rename", "openat", "close"):
            shutil.copyfile(image, copy)
            subprocess.run(["mount", "-o", "loop", copy, second], check=True)
            try:
                found.append(loaded(second / "run"))
            finally:
                subprocess.run(["umount", second], check=True)

    def save():
        History(Run(run), 2).append({"epoch": 3})
        Checkpoints(Run(run), trainer, StopRequest(), 300).save(TrainingPosition(epoch=3, step=3))

    status = follow(save, decide)
    assert os.WIFEXITED(status)
    shutil.copyfile(image, copy)
    subprocess.run(["mount", "-o", "loop", copy, second], check=True)
    found.append(loaded(second / "run"))
    subprocess.run(["umount", second, disk], check=True)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@traceable
def test_a_power_cut_on_a_real_file_system(tmp_path):
    if os.getuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("an ext4 image needs root and mkfs.ext4")
    found = in_child(ext4_sweep, str(tmp_path), timeout_s=800)
    assert set(found) == {2, 3}
    assert found[-1] == 3


# Full disk, failing disk


def train_on_a_small_disk(data: str, folder: str) -> tuple:
    """Train where the third checkpoint does not fit any more; then make room and go on."""
    disk = Path(folder)
    small_disk(disk, "2600k")
    settings = {"training.epochs": 4}
    with pytest.raises(SaveError) as caught:
        train(data, disk / "run", settings)
    left = sorted(path.name for path in (disk / "run").iterdir())
    epochs = [load_position(path) for path in Run(disk / "run").checkpoints]
    enlarge_disk(disk, "50m")
    train(None, None, resume=disk / "run")
    model, _ = load_model(disk / "run", CPU)
    return str(caught.value), caught.value.exit_code, left, epochs, model.state_dict()["head.4.weight"].tolist()


def load_position(path: Path) -> int:
    _, metadata = read_tensors(path, sealed=True)
    return int(re.search(r'"epoch":(\d+)', metadata["position"])[1])


def test_a_full_disk(tinted, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    said, code, left, epochs, weights = in_child(train_on_a_small_disk, str(tinted), str(disk))
    assert code == 1
    assert "the disk is full" in said
    assert "what was saved before is intact" in said
    assert not [name for name in left if name.endswith(".new")]
    assert epochs, "nothing to go on with"
    run, _ = train(tinted, tmp_path / "whole", {"training.epochs": 4})
    assert load_model(run.path, CPU)[0].state_dict()["head.4.weight"].tolist() == weights


def fail(folder: str, name: str, number: int, times: int) -> tuple[int, list[str], bytes, str]:
    """Let call `name` number `number` and the next ones, `times` in all, fail with EIO; overwrite a file."""
    path = Path(folder) / "file"
    path.write_bytes(b"old")
    count = defaultdict(int)

    def decide(stop):
        inside = any(f"{path}/".startswith(f"{folder}/") for path in stop.paths)  # the log lies beside
        if not inside or not stop.entering or not stop.name.startswith(name):
            return None
        count[name] += 1
        return errno.EIO if number <= count[name] < number + times else None

    log = os.open(Path(folder).with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    status = follow(lambda: write_atomically(path, b"new"), decide)
    said = Path(folder).with_suffix(".log").read_text()
    return os.WEXITSTATUS(status), sorted(each.name for each in Path(folder).iterdir()), path.read_bytes(), said


intel = pytest.mark.skipif(os.uname().machine != "x86_64", reason="return values are set as x86_64 has them")


@traceable
@intel
@pytest.mark.parametrize(("call", "number"), [("write", 1), ("fsync", 1), ("rename", 1), ("fsync", 2)])
def test_one_input_output_error_is_survived(call, number, tmp_path):
    (tmp_path / "run").mkdir()
    assert in_child(fail, str(tmp_path / "run"), call, number, 1) == (0, ["file"], b"new", "")


@traceable
@intel
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_keeps_failing_is_an_error_with_a_name(call, tmp_path):
    (tmp_path / "run").mkdir()
    code, left, content, said = in_child(fail, str(tmp_path / "run"), call, 1, 100)
    assert (code, left, content) == (1, ["file"], b"old")
    assert "SaveError" in said
    assert "file cannot be written (Input/output error); what was saved before is intact" in said


# Changed afterwards


@pytest.fixture
def saved(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    end_of_epoch(run, 1)
    end_of_epoch(run, 2)
    return run


def damage_all(path: Path, places) -> None:
    whole = path.read_bytes()
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        assert loaded(path.parent) == 1, f"bit {place % 8} of byte {place}"
    path.write_bytes(whole)
    assert loaded(path.parent) == 2


def test_a_flipped_bit_is_found_and_the_checkpoint_before_is_taken(saved):
    path = saved / CHECKPOINT_FILE
    size = path.stat().st_size
    damage_all(path, [*range(0, size, size // 40), size - 1])


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_the_header_is_found(saved):
    path = saved / CHECKPOINT_FILE
    damage_all(path, range(8 + int.from_bytes(path.read_bytes()[:8], "little")))


@pytest.mark.parametrize("keep", [0, 7, 100, 5_000, -1])
def test_a_truncated_checkpoint_is_announced_and_the_one_before_is_taken(saved, keep):
    path, said = saved / CHECKPOINT_FILE, io.StringIO()
    path.write_bytes(path.read_bytes()[:keep])
    position = load_newest(Run(saved), make_trainer(0), Console(file=said, width=1000))
    assert position.step == 1
    assert str(path) in said.getvalue()
    assert PREVIOUS_FILE in said.getvalue()


def test_two_damaged_checkpoints_are_an_error(saved):
    for name in (CHECKPOINT_FILE, PREVIOUS_FILE):
        (saved / name).write_bytes(b"x" * 100)
    with pytest.raises(ModelFileError, match="no undamaged checkpoint") as caught:
        load_newest(Run(saved), make_trainer(0), QUIET)
    assert "train again" in str(caught.value)


def test_a_flipped_bit_in_a_model_is_found(saved):
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # the lowest bits of a weight: a number as good as any
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.safetensors is damaged"):
        load_model(path, CPU)


def test_resume_from_the_checkpoint_before(tinted, whole, tmp_path, monkeypatch):
    """The whole command: the newest checkpoint is damaged, the run ends with the weights it would have had."""
    stopped_at(5, tinted, tmp_path / "run", {}, monkeypatch)
    path = tmp_path / "run" / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    _, said = train(None, None, resume=tmp_path / "run")
    assert f"{path} is damaged" in said
    assert "epoch 2, batch 1" in said
    assert_same_weights(tmp_path / "run", whole)
