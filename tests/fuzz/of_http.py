"""What a stranger sends over a connection: whole connections, forms, parameters, tensors, events of Lambda.

A connection is the real protocol in front of the real application and engine; only the model is a function of NumPy and
the socket an object. The first byte of an input says in which pieces the rest arrives.
"""

import asyncio
import contextlib
import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from uvicorn.server import ServerState

from catseye.http.fields import read_field
from catseye.http.images import images_of, one_image
from catseye.http.limits import Limits
from catseye.http.protocol import guarded
from catseye.http.refusals import Refusal
from catseye.http.rules import Rules
from catseye.manifest import Architecture, Manifest
from catseye.preprocess import Preprocessing
from catseye.runtimes.model_file import OpenedModel
from catseye.serving.app import Application
from catseye.serving.aws_events import read_event
from catseye.serving.engine import Engine
from catseye.serving.inference_v2 import read_request
from catseye.serving.metrics import ServerMetrics
from catseye.serving.queries import read_options
from catseye.serving.served_model import ServedModel
from catseye.serving.tuning import ServingPlan
from tests.fuzz.targets import MOST_S, Run

LIMITS = Limits(body_bytes=20_000, max_pixels=20_000, header_bytes=2048, max_headers=20, max_parts=4, max_chunks=64)
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n(?:[a-zA-Z0-9-]+: [^\r\n]*\r\n)*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def small_model(kind: str) -> ServedModel:
    """Three classes by the mean of the channels, computed by NumPy."""
    spec = Preprocessing(height_px=4, width_px=4, mean=(0.5,) * 3, std=(0.25,) * 3)
    said = Manifest(
        classes=("red", "green", "blue"), preprocessing=spec, architecture=Architecture(name="by-hand"), input_kind=kind
    )

    def ask(image: np.ndarray, names: Any) -> list[np.ndarray]:
        mean = image.mean(axis=(1, 2) if kind == "uint8" else (2, 3), dtype=np.float64)
        scaled = np.exp(mean - mean.max(1, keepdims=True))
        answers = {"probability": (scaled / scaled.sum(1, keepdims=True)).astype(np.float32)}
        answers["cam"] = np.zeros((len(image), 2, 2), np.float32)
        return [answers[name] for name in names]

    shape: list[int | str] = ["batch", 3]
    outputs = [("prediction", "float32", shape), ("probability", "float32", shape), ("cam", "float32", ["batch", 2, 2])]
    file = OpenedModel(Path("m.onnx"), "ONNX", "numpy", said, 1, "0" * 64, ask, [], outputs, {})
    return ServedModel("m", file, "numpy", ask)


# --- whole connections ------------------------------------------------------------------------------------------------


class Faults(list[str]):
    """In place of the server's log: keeps what is a fault of ours."""

    quiet, num_dropped = False, 0

    def __call__(self, event: str, **facts: Any) -> None:
        json.dumps(facts)
        if event == "fault":
            self.append(str(facts))


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.loop, self.said, self.closed, self.protocol = loop, bytearray(), False, None

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.said += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.call_soon(self._lost)

    abort = close

    def _lost(self) -> None:
        if self.protocol is not None:
            self.protocol.connection_lost(None)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class House:
    """One server, as long as the process; every input is a new connection to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.broken: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.broken.append(context))
        self.faults = Faults()
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        engine = Engine(small_model("uint8"), ServingPlan(1, 4, {}), LIMITS, lambda jobs: None)
        self.app = Application(engine, ServerMetrics(), self.faults, None)  # type: ignore[arg-type]
        health, reserved = self.app.reserved_paths()
        rules = Rules(LIMITS, frozenset({"localhost", "a"}), health, reserved, self.app.refused_connection)
        self.config = uvicorn.Config(
            self.app, http=guarded(rules), ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False,
        )  # fmt: skip
        self.config.load()
        self.state = ServerState()

    def answers(self, pieces: list[bytes]) -> bytes:
        """What one connection is answered."""
        said = self.loop.run_until_complete(asyncio.wait_for(self._connect(pieces), 4 * MOST_S))
        assert not self.broken, self.broken
        assert not self.faults, list(self.faults)
        assert not self.state.connections
        engine = self.app.engine
        assert (engine.num_in_flight, engine.buffered_bytes) == (0, 0), "memory or room that is never given back"
        return said

    async def _connect(self, pieces: list[bytes]) -> bytes:
        wire = Wire(self.loop)
        protocol = self.config.http_protocol_class(self.config, self.state, {}, self.loop)  # type: ignore[operator]
        wire.set_protocol(protocol)
        protocol.connection_made(wire)
        for piece in pieces:
            if wire.closed:
                break
            protocol.data_received(piece)
            await self._settle()
        await self._settle()
        protocol.sweep(self.loop.time())
        if not wire.closed:
            protocol.eof_received()
            wire.close()
        while self.state.connections or self.state.tasks or self.app.engine.num_in_flight:
            await asyncio.sleep(0.0005)
        return bytes(wire.said)

    async def _settle(self) -> None:
        """Until everybody waits for the client."""
        for _ in range(12):
            await asyncio.sleep(0)
        while self.app.engine.num_in_flight:
            await asyncio.sleep(0.0005)
        for _ in range(8):
            await asyncio.sleep(0)


def statuses(said: bytes, heads: bool) -> list[int]:
    """The answers, each of them well formed. After HEAD an answer has a length and no body."""
    found, at = [], 0
    while at < len(said):
        one = _ANSWER.match(said, at)
        assert one, f"no answer of HTTP at byte {at}: {said[at : at + 200]!r}"
        status, at = int(one[1]), one.end()
        found.append(status)
        if status == 100:
            continue
        length = _LENGTH.search(one[0])
        assert length, one[0]
        body = said[at : at + int(length[1])]
        if heads and body[:5] in (b"HTTP/", b""):
            continue
        assert len(body) == int(length[1]), "an answer that is shorter than it says"
        at += len(body)
    return found


def connection() -> Run:
    house = House()

    def run(data: bytes) -> None:
        rest = data[1:]
        step = max(1 + data[0], len(rest) // 64) if data else 1
        pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
        said = house.answers(pieces)
        found = statuses(said, b"HEAD" in rest)
        assert not any(status >= 500 for status in found), (found, said[-400:])
        assert len(found) <= rest.count(b"\n") + 1 + found.count(100), "more answers than requests"

    return run


# --- parts of a request -----------------------------------------------------------------------------------------------


def multipart() -> Run:
    """The first line is the Content-Type, the rest the body."""

    def run(data: bytes) -> None:
        kind, _, body = data.partition(b"\n")
        for read in (images_of, one_image):
            with contextlib.suppress(Refusal):
                images = read(kind, body, LIMITS)
                for image in images if isinstance(images, list) else [images]:
                    assert image in body, "bytes that nobody sent"

    return run


def parameters() -> Run:
    def run(data: bytes) -> None:
        found = read_field(data)
        assert found is None or all(name == name.lower() for name in found[1])
        with contextlib.suppress(Refusal):
            top, _ = read_options(data, has_cam=True)
            assert top is None or top > 0

    return run


def tensors() -> Run:
    """The first line is the header Inference-Header-Content-Length (`-`: none), the rest the body."""
    models = [small_model("uint8"), small_model("float")]

    def run(data: bytes) -> None:
        said, _, body = data.partition(b"\n")
        for model in models:
            with contextlib.suppress(Refusal):
                asked, rows, _ = read_request(body, None if said == b"-" else said, model)
                assert isinstance(asked, dict)
                assert rows.shape[1:] == model.row_shape
                assert rows.dtype == model.row_type
                assert np.isfinite(rows.astype(np.float64)).all()

    return run


def event() -> Run:
    read = functools.partial(read_event, max_body_bytes=2000)

    def run(data: bytes) -> None:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            return
        with contextlib.suppress(Refusal):
            call = read(said)
            assert len(call.body) <= 2000

    return run
