"""The worst of what is accepted, in a server that has no more memory than `deploy` writes into its manifest."""

import contextlib
import io
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseye.decoding.costs import most_bytes
from catseye.deploying.budget import memory_of
from catseye.deploying.rendering import read_model
from catseye.preprocess import decoding_cost
from catseye.serving.settings import ServerSettings
from tests.server import models
from tests.server.running import noise, refused

CPUS = 2
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def memory_group():
    """Makes a memory group of this many bytes; gives the words that start a command in it, () where none can be had."""
    made: list[Path] = []

    def make(num_bytes: int) -> tuple[str, ...]:
        first = GROUPS / "memory" if (GROUPS / "memory").is_dir() else GROUPS
        folder = first / f"catseye-test-{os.getpid()}"
        try:
            folder.mkdir()
            made.append(folder)
            name = "memory.limit_in_bytes" if first.name == "memory" else "memory.max"
            (folder / name).write_text(str(num_bytes))
        except OSError:
            return ()
        return "sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$@"', "sh"

    yield make
    for folder in made:
        for _ in range(50):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def worst_images(spec) -> dict[str, bytes]:
    """For each kind the largest square that is accepted, made of one colour, so a few bytes or kilobytes."""
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "WebP": ("WEBP", "RGB", {"lossless": True, "method": 0}),
        "WebP alpha": ("WEBP", "RGBA", {"lossless": True, "method": 0, "exif": turned}),
        "PNG": ("PNG", "RGBA", {"exif": turned}),
        "PNG palette": ("PNG", "P", {"transparency": 0}),
        "JPEG": ("JPEG", "CMYK", {"progressive": True}),
        "GIF": ("GIF", "P", {"transparency": 0}),
        "BMP": ("BMP", "1", {}),
    }
    found = {}
    for name, (kind, mode, options) in kinds.items():
        small = saved(Image.new(mode, (1024, 1024)), kind, **options)
        reserve = decoding_cost(saved(Image.new(mode, (8, 8)), kind, **options), spec)[1]
        per_pixel = (decoding_cost(small, spec)[1] - reserve) / 1024**2
        side = int(min(50e6, (most_bytes(50_000_000) - reserve) / per_pixel) ** 0.5 * 0.99)
        colour = (200, 9, 30, 99) if mode == "RGBA" else 0
        found[name] = saved(Image.new(mode, (side, side), colour), kind, **options)
    return found


def peak_mb(running) -> float:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_worst_accepted_images_fit_into_the_limit_that_deploy_writes(memory_group, start, tmp_path):
    path = models.write(tmp_path / "m.onnx", models.with_cam())
    model = read_model(path)
    limit = memory_of(model, ServerSettings(path), CPUS).most_mib * 2**20
    running = start(path, "--concurrency", CPUS, prefix=memory_group(limit))
    images = worst_images(model.manifest.preprocessing)
    for name, image in images.items():
        assert len(image) < 20_000_000
        answer = running.predict(image)
        assert answer.status == 200, f"{name}: {answer.body!r}"
    statuses: list[int] = []

    def flood(image: bytes) -> None:
        answer = running.predict(image)
        statuses.append(answer.status)
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) >= 1

    # Bodies that fill what is kept of uploads, and small ones of the dearest kind, all at once.
    heavy = saved(Image.fromarray(np.zeros((1500, 4000, 3), np.uint8)), "BMP")
    senders = [threading.Thread(target=flood, args=(image,)) for image in [heavy] * 16 + [*images.values()] * 4]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert set(statuses) <= {200, 503}
    assert running.process.poll() is None
    assert peak_mb(running) * 1e6 < limit
    print(f"limit {limit / 1e6:.0f} MB, peak {peak_mb(running):.0f} MB; {statuses.count(200)} of {len(statuses)} read")


def test_a_good_caller_is_answered_at_once_while_others_send_images_of_a_few_bytes(start, tmp_path):
    path = models.write(tmp_path / "m.onnx", models.with_cam())
    running = start(path, "--concurrency", CPUS)
    bomb = worst_images(read_model(path).manifest.preprocessing)["WebP"]
    assert len(bomb) < 100
    statuses: list[int] = []
    senders = [
        threading.Thread(target=lambda: statuses.append(running.predict(bomb).status), daemon=True) for _ in range(48)
    ]
    for sender in senders:
        sender.start()
    good, waits = noise(1), []
    while any(sender.is_alive() for sender in senders):
        begun = time.monotonic()
        assert running.predict(good).status == 200
        waits.append(time.monotonic() - begun)
    assert max(waits) < 3
    assert set(statuses) == {200, 503}, statuses
    assert 504 not in statuses


def test_sides_and_costs_are_refused_before_anything_is_decoded(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.with_cam()))
    before = peak_mb(running)
    webp = bytes.fromhex("524946461a000000574542505650384c0d0000002f9edbe6060010fd8ffe0700")  # 7,071 x 7,071
    assert decoding_cost(webp, read_model(tmp_path / "m.onnx").manifest.preprocessing)[0].width == 7071
    thin = saved(Image.new("1", (1, 70_000)), "PNG")
    for image, reason in ((webp, "MB to decode; at most 400"), (thin, "a side has at most 65,535")):
        said = refused(running.predict(image), 413)
        assert said["code"] == "image-too-large"
        assert reason in said["error"]
    assert peak_mb(running) - before < 20
