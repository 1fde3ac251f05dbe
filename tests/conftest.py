"""Fixtures that several test files share; everything is drawn from a seed and written below tmp_path."""

import io
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from catseye.preprocess import Preprocessing
from tests.long import mark_long

# Batches are tiny in tests: one thread is fastest, also when several processes share the machine. Read by torch
# when it is first imported, and by every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

# What tests decode is not kept in the home of whoever runs them; tests of the cache give it a folder of their own.
os.environ["CATSEYE_NO_CACHE"] = "1"

settings.register_profile(
    "house",
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")

WriteImages = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests are known by a list."""
    mark_long(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Say how a process that ran tests ended; xdist does not."""
    if error:
        code = node.gateway._io.popen.wait(10)
        print(f"\n{node.gateway.id} ended with code {code} (-15: signal 15), after {error}", file=sys.stderr)


def deliver(number: int) -> None:
    """Call what answers this signal now, as the interpreter would: a signal to the process itself may end all tests."""
    answer = signal.getsignal(number)
    assert callable(answer), "it would end the process"
    assert answer is not signal.default_int_handler
    answer(number, None)


def random_pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8, or (H, W) for one channel, as Pillow wants it."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """The pixels as the bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write_tinted(root: Path, count: int) -> Path:
    """Three classes of a tint each, `count` noisy images of 32 px: learnable in seconds."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 160, (32, 32, 3))
            pixels[..., number] += rng.integers(15, 60)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index:02d}.png")
    return root


@pytest.fixture
def images(tmp_path: Path) -> WriteImages:
    """`images({"cat": 3, "train/dog": 2})` writes that many different PNGs into each folder and returns the root."""

    def write(counts: Mapping[str, int], root: str = "data", **size: int) -> Path:
        seed = 0
        for folder, count in counts.items():
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                seed += 1
                content = encode(random_pixels(seed, **size))
                (tmp_path / root / folder / f"{index:03d}.png").write_bytes(content)
        return tmp_path / root

    return write


@pytest.fixture
def make_spec() -> Callable[..., Preprocessing]:
    """`make_spec(32)` or `make_spec(16, 24, channels=1, resize="crop")`."""

    def make(height: int = 8, width: int | None = None, channels: int = 3, **more: object) -> Preprocessing:
        values = {"mean": (0.5,) * channels, "std": (0.25,) * channels, **more}
        return Preprocessing(height_px=height, width_px=width or height, channels=channels, **values)

    return make
