"""Fault 24 in its parts: what is let in, what is told to come later, and what happens at the deadline."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from catseye.http.limits import Limits
from catseye.http.refusals import Refusal
from catseye.serving import server
from catseye.serving.app import Application
from catseye.serving.engine import Engine
from catseye.serving.front import Front
from catseye.serving.lanes import Lane, Lanes
from catseye.serving.served_model import Answers
from catseye.serving.tuning import ServingPlan
from tests.server.running import png
from tests.unit.onnx_files import manifest


class Locked:
    """A model that answers once its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def compute(self, rows, with_cam):
        self.gate.wait(20)
        return Answers(np.tile([0.25, 0.75], (len(rows), 1)), None)


def in_engine(act, limits: Limits, images_per_s: float = 0.0) -> None:
    """Run `act(engine, model)` in a loop, with an engine of one thread."""

    async def run() -> None:
        model = Locked()
        engine = Engine(model, ServingPlan(1, 1, {(1, 1): images_per_s}), limits, lambda batch: None)
        try:
            await act(engine, model)
        finally:
            model.gate.set()
            await asyncio.to_thread(engine.close)

    asyncio.run(run())


def put(engine: Engine, model: Locked):
    job = engine.start(model, row=np.zeros(2))
    engine.queue(job)
    return job


def test_so_many_images_wait_and_no_more():
    async def act(engine, model):
        jobs = []
        for _ in range(4):
            engine.require_room()
            jobs.append(put(engine, model))
        with pytest.raises(Refusal, match="at most 4 images wait") as caught:
            engine.require_room()
        assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "busy", 1)
        model.gate.set()
        for job in jobs:
            await engine.answer(job)
        await asyncio.sleep(0)  # who is answered leaves in the loop's next turn
        engine.require_room(4)
        with pytest.raises(Refusal, match="try again later"):
            engine.require_room(5)

    in_engine(act, Limits(max_queued=4, deadline_s=30))


def test_what_would_wait_beyond_the_deadline_is_told_at_once_when_to_come_back():
    """Ten images a second and a deadline of a second: the ninth would be late, whatever the queue holds."""

    async def act(engine, model):
        engine.require_room()
        jobs = [put(engine, model)]
        while 0.1 * (len(jobs) + 1) < 0.75:
            engine.require_room()
            jobs.append(put(engine, model))
        jobs += [put(engine, model) for _ in range(2)]
        with pytest.raises(Refusal) as caught:
            engine.require_room()
        assert caught.value.status == 503
        assert caught.value.retry_after_s >= 1
        engine.abandon(*jobs)

    in_engine(act, Limits(max_queued=512, deadline_s=1.0), images_per_s=10.0)


def test_one_slow_image_is_let_in_where_nobody_waits():
    """However long it takes: else a slow machine would answer nobody."""

    async def act(engine, model):
        engine.require_room()

    in_engine(act, Limits(deadline_s=1.0), images_per_s=0.1)


def test_at_the_deadline_the_caller_is_answered_and_the_image_forgotten():
    async def act(engine, model):
        first, second = put(engine, model), put(engine, model)
        begun = time.monotonic()
        for job in (first, second):
            with pytest.raises(Refusal) as caught:
                await asyncio.wait_for(engine.answer(job), 10)
            assert (caught.value.status, caught.value.code) == (504, "too-late")
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0)
        assert engine.num_in_flight == 0

    in_engine(act, Limits(deadline_s=0.3))


def test_a_caller_who_has_gone_leaves_the_queue():
    async def act(engine, model):
        running = put(engine, model)
        await asyncio.sleep(0.1)  # the only thread has it
        waiting = [put(engine, model) for _ in range(5)]
        engine.abandon(*waiting)
        await asyncio.sleep(0)
        assert engine.num_waiting == 0
        assert engine.num_in_flight == 1
        model.gate.set()
        await engine.answer(running)

    in_engine(act, Limits(deadline_s=30))


class Bytes:
    """A job that a decoder would take."""

    content = b"x"

    def __init__(self, deadline: float) -> None:
        self.entered, self.deadline = time.monotonic(), deadline
        self.future = asyncio.Future(loop=asyncio.new_event_loop())
        self.future.get_loop().close()


def test_a_decoder_takes_no_image_that_would_be_too_late():
    """Its queue is full for long enough: the next image is refused at once; and one whose time is over is not begun."""
    gate, decoded, refused = threading.Event(), [], []

    def decode(job):
        gate.wait(20)
        decoded.append(job)

    lane = Lane("test", 1, decode, lambda job, refusal: refused.append((job, refusal)))
    try:
        now = time.monotonic()
        first, late = Bytes(now + 60), Bytes(now + 0.2)
        assert lane.take(first, 0.1, 1.0) is None
        assert lane.take(late, 0.1, 1.0) is None
        assert lane.take(Bytes(now + 60), 5.0, 1.0) > 1.0
        time.sleep(0.3)
    finally:
        gate.set()
        lane.close()
    assert decoded == [first]
    ((job, refusal),) = refused
    assert job is late
    assert (refusal.status, refusal.code) == (503, "busy")
    assert refusal.retry_after_s >= 1


def test_large_images_are_decoded_one_at_a_time():
    """38 bytes of WebP can take 400 MB; of ordinary images as many are decoded as there are threads."""
    spec = SimpleNamespace(manifest=manifest())
    large = bytes.fromhex("524946461a000000574542505650384c0d0000002fb7cbed020010fd8ffe0700")  # 3,000 x 3,000
    gate, lock = threading.Event(), threading.Lock()
    inside: list[bytes] = []

    def decode(job):
        with lock:
            inside.append(job.content)
        gate.wait(20)

    lanes = Lanes(3, Limits(deadline_s=600), decode, lambda job, refusal: None)
    try:
        for content in (large, large, large, png(), png()):
            job = Bytes(time.monotonic() + 600)
            job.content, job.model = content, spec
            assert lanes.put(job) is None
        end = time.monotonic() + 10
        while len(inside) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        assert inside.count(large) == 1
        assert len(inside) == 3
    finally:
        gate.set()
        lanes.close()
    assert inside.count(large) == 3


def test_no_sign_of_life_without_progress_of_the_model(monkeypatch):
    """The event loop of a worker lives on while its model is locked up; the supervisor has to learn of that."""
    monkeypatch.setattr(server, "BEAT_S", 0.001)
    beats: list[int] = []

    async def run(*, is_stuck: bool) -> int:
        beats.clear()
        app = SimpleNamespace(progress=SimpleNamespace(is_stuck=is_stuck))
        task = asyncio.create_task(server._beats(app, lambda: beats.append(1)))
        await asyncio.sleep(0.1)
        task.cancel()
        return len(beats)

    assert asyncio.run(run(is_stuck=False)) > 1
    assert asyncio.run(run(is_stuck=True)) == 0


def test_a_fault_of_ours_shows_nothing_of_itself():
    """The log has the words of the exception, which may hold anything; the caller has an id to ask about."""
    lines, sent = [], []
    app = object.__new__(Application)
    app.log = lambda event, **facts: lines.append((event, facts))
    app.log.quiet = True
    app.metrics = SimpleNamespace(request=lambda *words: None)
    app.front, app.draining = Front(), False

    async def fail(request):
        raise RuntimeError("/home/me/secret.onnx: no such file")

    app._answer = fail

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "http", "headers": [], "path": "/", "method": "GET"}, None, send))
    assert sent[0]["status"] == 500
    said = json.loads(sent[1]["body"])
    assert said["code"] == "internal"
    assert "secret" not in sent[1]["body"].decode()
    (event, facts) = lines[0]
    assert event == "fault"
    assert "secret.onnx" in facts["error"]
    assert facts["id"] == said["request_id"]
