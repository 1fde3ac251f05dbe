"""A hundred thousand mixed requests: memory does not grow with them."""

import asyncio
import random
import re

import pytest

from tests.server import models
from tests.server.running import form, noise, png, post_bytes

CLIENTS = 8


def mixed() -> list[bytes]:
    """Good ones of several formats and sizes, bad ones of several kinds, forms, tensors, pages."""
    body, kind = form(noise(1), noise(2))
    tensor = b'{"inputs":[{"name":"image","shape":[1,4,4,3],"datatype":"UINT8","data":[' + b"7," * 47 + b"7]}]}"
    return [
        *[post_bytes(noise(seed, side=8 + 9 * seed)) for seed in range(12)],
        post_bytes(png("red", kind="WEBP")),
        post_bytes(noise(3, side=300), "/predict?explain=cam&top=2"),
        post_bytes(noise(4)[:300]),
        post_bytes(b""),
        post_bytes(body, "/predict/batch", kind),
        post_bytes(b"--x--", "/predict", "multipart/form-data; boundary=x"),
        post_bytes(tensor, "/v2/models/m/infer", "application/json"),
        post_bytes(b"[" * 5000, "/v2/models/m/infer", "application/json"),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]


async def send(port: int, count: int, seed: int) -> int:
    requests, chance, answered = mixed(), random.Random(seed), 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(chance.choice(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        answered += 1
        if b"connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return answered


def run(port: int, count: int, seed: int) -> None:
    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(send(port, count // CLIENTS, seed * CLIENTS + n) for n in range(CLIENTS)))

    assert sum(asyncio.run(all_of_them())) == count // CLIENTS * CLIENTS


def test_2_000_mixed_requests(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.with_cam()), "--quiet")
    run(running.port, 2_000, 0)
    assert running.metric("catseye_images_in_flight") == 0
    assert running.metric("catseye_requests_total", status="500") == 0


@pytest.mark.slow
def test_100_000_mixed_requests_leave_memory_alone(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.with_cam()), "--quiet")
    run(running.port, 50_000, 0)
    half = running.memory_mb()
    run(running.port, 50_000, 1)
    assert abs(running.memory_mb() - half) < 5
    assert running.metric("catseye_requests_total", status="500") == 0
