"""The best that this machine can do, in arithmetic and in memory traffic.

Prints one line of JSON.

    python benchmarks/floors.py

Rates in fp32 and bf16: the fastest of a large matrix product and several 3x3 convolutions, because either can be
faster. Memory bandwidth: bytes read plus bytes written while a large array is copied. FLOPs per image are
counted by torch, forward and backward, a multiply-add as two. Called by train_speed.py.
"""

import json
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

MATRIX = 3072
# (N, C, side): the stages of the small residual network, and a larger one.
CONVOLUTIONS = ((128, 64, 32), (128, 128, 16), (128, 256, 8), (64, 512, 14))
COPY_BYTES = 512_000_000


def best_s(work: Callable[[], object], seconds: float = 1.0) -> float:
    """The fastest of the calls that fit into `seconds`, at least three."""
    work()
    begun, fastest, calls = time.perf_counter(), float("inf"), 0
    while time.perf_counter() - begun < seconds or calls < 3:
        start = time.perf_counter()
        work()
        fastest, calls = min(fastest, time.perf_counter() - start), calls + 1
    return fastest


def matrix_rate(dtype: torch.dtype, seconds: float) -> float:
    a, b = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
    return 2 * MATRIX**3 / best_s(lambda: a @ b, seconds)


def convolution_rate(dtype: torch.dtype, shape: tuple[int, int, int], seconds: float) -> float:
    n, channels, side = shape
    x = torch.randn(n, channels, side, side).to(dtype).to(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        return 2 * n * side**2 * channels**2 * 9 / best_s(lambda: F.conv2d(x, w, padding=1), seconds)


def bandwidth(seconds: float) -> float:
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / best_s(lambda: target.copy_(source), seconds)


def flops_per_image(model: nn.Module, channels: int, side: int) -> int:
    """Multiplications and additions of one training step per image.

    Forward and backward.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(2, channels, side, side)).sum().backward()
    return counter.get_total_flops() // 2


def measure(seconds: float = 1.0) -> dict[str, dict[str, float] | float]:
    """Rates in operations per second, bandwidth in bytes per second."""
    floors: dict[str, dict[str, float] | float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = {"matmul": matrix_rate(dtype, seconds)}
        for shape in CONVOLUTIONS:
            rates["conv {}x{}x{}x{}".format(*shape, shape[-1])] = convolution_rate(dtype, shape, seconds)
        floors[name] = rates
    floors["bandwidth"] = bandwidth(seconds)
    return floors


if __name__ == "__main__":
    print(json.dumps({"threads": torch.get_num_threads(), **measure()}))
