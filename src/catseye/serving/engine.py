"""From image bytes to probabilities: decoding threads, then the batcher.

Enters: bytes or a row, in the event loop. Leaves: a finished `Job`, awaited there. The queue is bounded, and every job
has a deadline. Owns the current version of the model and swaps it between two jobs. Called by app and inference_v2.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, WebPImagePlugin  # noqa: F401 - imported, it reads WebP; see below

from catseye.http.limits import Limits
from catseye.http.refusals import Refusal, of_failure
from catseye.machine.allocator import return_large_blocks
from catseye.preprocess import UPLOAD_FORMATS, preprocess_sized
from catseye.serving.batcher import Batcher, Job
from catseye.serving.lanes import Lanes, busy_decoders
from catseye.serving.served_model import ServedModel
from catseye.serving.tuning import ServingPlan

# Import the formats now: else Pillow would import every format it knows inside the first decoding thread.
Image.preinit()
# Pillow would keep up to 64 MB of the text inside a PNG, which is never used.
PngImagePlugin.MAX_TEXT_MEMORY = 4_000_000


class Engine:
    """Computes the answers of one process.

    All methods run in the event loop, except those of its threads.
    """

    def __init__(
        self, model: ServedModel, plan: ServingPlan, limits: Limits, on_batch: Callable[[list[Job]], None]
    ) -> None:
        self.model, self.plan, self.limits = model, plan, limits
        self.num_in_flight = 0  # images accepted and not yet answered
        self.buffered_bytes = 0
        self._on_batch = on_batch
        self._seconds_per_image = 1 / plan.images_per_s if plan.images_per_s else 0.0
        self._loop = asyncio.get_running_loop()
        return_large_blocks()
        self._batcher = Batcher(plan.concurrency, plan.batch_size, self._deliver)
        self._lanes = Lanes(max(1, plan.concurrency), limits, self._decode, self._refuse)

    @property
    def num_waiting(self) -> int:
        """Images that wait for a thread of the model."""
        return self._batcher.num_waiting

    @property
    def num_splits(self) -> int:
        """Calls of the model that failed and were tried again in halves."""
        return self._batcher.num_splits

    def require_room(self, num_images: int = 1) -> None:
        """Refuse before the body is read what the queue would refuse later.

        Raises:
            Refusal: 503, when the queue is full or its wait is longer than the deadline.

        """
        wait_s = (self.num_in_flight + num_images) * self._seconds_per_image
        too_many = self.num_in_flight + num_images > self.limits.max_queued
        if too_many or (self.num_in_flight and wait_s > 0.8 * self.limits.deadline_s):
            raise Refusal(
                503,
                "busy",
                f"at most {self.limits.max_queued} images wait at a time and none longer than "
                f"{self.limits.deadline_s:g} s; {self.num_in_flight} are waiting; try again later",
                retry_after_s=max(1, math.ceil(wait_s / 2)),
            )

    def start(self, model: ServedModel, *, content: bytes | None = None, row: NDArray[Any] | None = None) -> Job:
        """Accept one image, as bytes or as a row of the model's input.

        `answer` waits for it. Call it right after `require_room`, awaiting nothing in between: a request is accepted
        whole or not at all.
        """
        self.num_in_flight += 1
        job = Job(model, self._loop.create_future(), time.monotonic() + self.limits.deadline_s, content, row)
        job.future.add_done_callback(self._left)
        return job

    def queue(self, job: Job) -> None:
        """Queue an accepted job; if its decoder is busy for too long, `answer` raises."""
        if job.row is None:
            if job.content is not None and not job.future.done() and (refusal := self._lanes.put(job)):
                job.content, job.failure = None, refusal
                job.future.set_result(None)
        else:
            job.decoding = job.decoded = job.entered
            self._batcher.put(job)

    async def answer(self, job: Job) -> Job:
        """Wait for a queued job.

        Raises:
            Refusal: the image is bad (4xx), its decoder busy (503), the model failed (500, 503) or the deadline has
                passed (504).
            CancelledError: the caller has gone.

        """
        timer = self._loop.call_later(max(0.0, job.deadline - time.monotonic()), self._too_late, job)
        try:
            await job.future
        finally:
            timer.cancel()
            self.abandon(job)
        if isinstance(job.failure, Refusal):
            raise job.failure
        if job.failure is not None:
            raise of_failure(job.failure, self.limits.deadline_s)
        return job

    def abandon(self, *jobs: Job) -> None:
        """Drop jobs whose caller has disconnected; finished results are discarded."""
        for job in jobs:
            if not job.future.done():
                job.content = None
                self._batcher.discard(job)
                job.future.cancel()

    def swap(self, model: ServedModel) -> None:
        """Answer every later request with this version."""
        self.model = model

    def close(self) -> None:
        """Compute what was accepted, then end all threads."""
        self._lanes.close()
        self._batcher.close()

    def _left(self, _: "asyncio.Future[None]") -> None:
        self.num_in_flight -= 1

    def _too_late(self, job: Job) -> None:
        if not job.future.done():
            # A job that is still not decoded was accepted because of too low an estimate: the server is busy.
            undecoded = job.content is not None and job.row is None
            job.failure = busy_decoders(self.limits.deadline_s) if undecoded else TimeoutError()
            job.content = None
            job.future.set_result(None)

    def _decode(self, job: Job) -> None:
        """Called by the decoding threads. A bad image ends here and joins no batch."""
        content, job.content = job.content, None
        if content is None:
            return
        job.decoding = time.monotonic()
        try:
            spec, max_pixels = job.model.manifest.preprocessing, self.limits.max_pixels
            pixels, job.size_px = preprocess_sized(
                content, spec, formats=UPLOAD_FORMATS, max_pixels=max_pixels, known=job.known
            )
            job.row = job.model.row_of(pixels)
        except Exception as error:  # noqa: BLE001 - a thread that dies would leave its caller waiting
            job.failure = error
            self._deliver([job])
            return
        finally:
            job.decoded = time.monotonic()
            del content
        if not job.future.done():
            self._batcher.put(job)

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        """Called by the decoding threads for a job that they cannot decode in time."""
        job.content, job.failure = None, refusal
        self._deliver([job])

    def _deliver(self, batch: list[Job]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._resolve, batch)

    def _resolve(self, batch: list[Job]) -> None:
        for job in batch:
            if not job.future.done():
                job.future.set_result(None)
        if batch[0].batch_size:
            seconds = (batch[0].computed - batch[0].computing) / len(batch) / self.plan.concurrency
            self._seconds_per_image += 0.05 * (seconds - self._seconds_per_image)
            self._on_batch(batch)
