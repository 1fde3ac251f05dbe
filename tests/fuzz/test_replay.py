"""Every seed and every input that once fell goes through its target. Needs no atheris."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.entries import as_entries, as_zip
from tests.fuzz.in_child import in_child
from tests.fuzz.mutators import mutated
from tests.fuzz.one_target import checked
from tests.fuzz.targets import SEEDS, TARGETS, committed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_committed_inputs_lead_to_answers_or_refusals(name):
    paths = committed(name)
    assert paths
    if TARGETS[name].forks:  # from a process without threads, which this one may not be any more
        command = [sys.executable, "-m", "tests.fuzz.one_target", "--replay", name, *map(str, paths)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr[-2000:]
        return
    run = TARGETS[name].make()
    for path in paths:
        try:
            checked(run, path.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {path}")
            raise


def test_an_honest_seed_is_opened_and_not_refused():
    """Else the mutations would start from files that nobody reads to the end."""
    code = """
import sys
from tests.fuzz import of_models
opened = []
def here(work):
    opened.append(work().manifest.classes)
of_models.in_child = here
for name in ("onnx", "openvino"):
    getattr(of_models, name)()(open(f"{sys.argv[1]}/{name}/cam", "rb").read())
assert len(opened) == 2, opened
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(SEEDS)], cwd=ROOT, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("work", "said"),
    [("raise KeyError('x')", "KeyError"), ("a = bytearray(1_100_000_000)", "1024 MB"), ("while True: pass", "5 s")],
    ids=["error", "memory", "time"],
)
def test_what_a_fork_must_not_do(work, said):
    """In a fresh process: what this one has freed and kept, a fork could take without growing."""
    left = "children.LEFT_S = 0.3" if "while" in work else ""
    code = f"from tests.fuzz import in_child as children\n{left}\nchildren.in_child(lambda: exec({work!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 1
    (last,) = done.stderr.splitlines()[-1:]
    assert last.startswith("tests.fuzz.in_child.FindingError")
    assert said in last


def test_a_fork_that_dies_is_a_refusal():
    """`catseye` opens such a file in a child and says so; nothing else ends."""
    in_child(lambda: os.kill(os.getpid(), 11))


def test_a_zip_written_down_as_entries_is_the_same_zip():
    text = (SEEDS / "torch" / "torchscript").read_bytes()
    assert as_entries(as_zip(text)) == text


@pytest.mark.parametrize("name", ["event", "v2", "safetensors", "engine", "onnx", "torch"])
def test_mutations_keep_the_frame(name):
    """Many of them pass what only looks at the frame, and none is what it was made of."""
    seed = committed(name)[0].read_bytes()
    chance = random.Random(0)
    made = {mutated(name, seed, chance, lambda piece: piece[:-1] + b"!") for _ in range(200)}
    assert len(made) > 20
