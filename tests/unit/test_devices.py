"""Precision by device, and memory that is kept."""

import subprocess
import sys

import pytest
import torch

from catseye.machine.devices import choose_precision

CHURN = """
import resource, sys, torch
from catseye.machine.devices import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for number in range(16):
    torch.ones(16_000_000)
    if number == 7:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    """Pages the kernel had to provide for the last eight of sixteen 64-MB tensors; smaller ones glibc keeps anyway."""
    done = subprocess.run([sys.executable, "-c", CHURN, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_taken_again_without_new_pages():
    assert faults("keep") < 0.1 * faults("plain")


def test_a_cpu_computes_in_bf16_only_when_asked_or_native(monkeypatch):
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) is None
    assert choose_precision("fp32", cpu) is None
    assert choose_precision("bf16", cpu) is torch.bfloat16
    able = {"avx512_bf16": True}
    for answer, wanted in ((able, torch.bfloat16), ({"avx512_bf16": False}, None), ({}, None)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda answer=answer: answer, raising=False)
        choose_precision.__globals__["_native_bf16"].cache_clear()
        assert choose_precision("fastest", cpu) is wanted
    monkeypatch.undo()
    choose_precision.__globals__["_native_bf16"].cache_clear()


RELEASE = """
import torch
from pathlib import Path
from catseye.machine import devices
devices.keep_freed_memory()
if %s:
    devices._released_at -= 11
torch.ones(64_000_000)  # 256 MB, kept
devices.release_freed_memory()
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_kept_memory_is_released_between_passes_but_not_at_every_one():
    resident = []
    for late in (True, False):
        done = subprocess.run([sys.executable, "-c", RELEASE % late], capture_output=True, text=True, check=True)
        resident.append(int(done.stdout))
    assert resident[1] - resident[0] > 200_000_000
