"""Two decoding queues: for ordinary images, and for large ones one at a time.

Enters: jobs with the bytes of an image. Leaves: calls of `decode` in threads. A file of any size can hold 50 million
pixels (38 bytes of WebP can), so the memory needed is estimated from the header first. That bounds the memory of all
decoders together, and large images never delay ordinary ones. Each lane estimates how long its queue will take and
refuses what would be too late. Called by `engine.py`; `decoders_bytes` by deploying.
"""

import math
import queue
import threading
import time
from collections.abc import Callable

from catseye.decoding.costs import most_bytes, require_affordable
from catseye.errors import ImageTooLarge
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal
from catseye.preprocess import decoding_cost
from catseye.serving.batcher import Job

ORDINARY_BYTES = 64_000_000  # a 12-megapixel photograph as JPEG takes a seventh of it
SECONDS_PER_IMAGE, SECONDS_PER_PIXEL = 0.5e-3, 30e-9  # a first estimate, for a busy core; corrected while serving
LONGEST_SHARE = 0.5  # of the deadline that an image may wait for its decoder
_MOST_OFF = 30.0  # the estimate is never corrected by more than this factor


def decoders_bytes(num_threads: int, max_pixels: int) -> int:
    """The most memory that all decoders of one process take together."""
    return num_threads * ORDINARY_BYTES + most_bytes(max_pixels)


def busy_decoders(wait_s: float) -> Refusal:
    """The refusal of an image that would wait, or has waited, `wait_s` seconds."""
    return Refusal(
        503,
        "busy",
        f"the queue for decoding is {wait_s:.1f} s long, which is too long; try again later",
        retry_after_s=max(1, math.ceil(wait_s / 2)),
    )


class Lanes:
    """Everything that decodes in one process."""

    def __init__(
        self, num_threads: int, limits: Limits, decode: Callable[[Job], None], refuse: Callable[[Job, Refusal], None]
    ) -> None:
        self._limits = limits
        self._ordinary = Lane("decode", num_threads, decode, refuse)
        self._large = Lane("decode-large", 1, decode, refuse)

    def put(self, job: Job) -> Refusal | None:
        """Queue a job that has its bytes, or return why not."""
        assert job.content is not None
        header, num_bytes = job.known = decoding_cost(job.content, job.model.manifest.preprocessing)
        lane, seconds = self._ordinary, SECONDS_PER_IMAGE
        if header is not None:
            try:
                require_affordable(header, num_bytes, self._limits.max_pixels)
            except ImageTooLarge:  # the decoder refuses it, before it decodes anything
                pass
            else:
                seconds += SECONDS_PER_PIXEL * header.width * header.height
                if num_bytes > ORDINARY_BYTES or not header.width:
                    lane = self._large
        wait_s = lane.take(job, seconds, LONGEST_SHARE * self._limits.deadline_s)
        if wait_s is None:
            return None
        return busy_decoders(wait_s)

    def close(self) -> None:
        """End all threads; what was accepted is decoded first."""
        for lane in (self._ordinary, self._large):
            lane.close()


class Lane:
    """One queue and its threads. `take` and `close` run in the event loop."""

    def __init__(
        self, name: str, num_threads: int, decode: Callable[[Job], None], refuse: Callable[[Job, Refusal], None]
    ) -> None:
        self._decode, self._refuse = decode, refuse
        self._waiting: queue.SimpleQueue[tuple[Job, float, float] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending_s = 0.0  # expected seconds of one thread for everything queued or being decoded
        self._num_pending = 0
        self._factor = 1.0
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def take(self, job: Job, seconds: float, longest_s: float) -> float | None:
        """Queue a job that takes about `seconds`, and return None.

        If the wait would be longer than `longest_s`, return that wait instead, in seconds.
        """
        with self._lock:
            expected_s = seconds * self._factor
            wait_s = (self._pending_s + expected_s) / len(self._threads)
            if self._num_pending and wait_s > longest_s:
                return wait_s
            self._pending_s += expected_s
            self._num_pending += 1
        self._waiting.put((job, seconds, expected_s))
        return None

    def close(self) -> None:
        """End the threads; what was taken is decoded first."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while entry := self._waiting.get():
            job, seconds, expected_s = entry
            del entry
            started = time.monotonic()
            skipped = job.content is None or job.future.done()
            if not skipped and started + seconds * self._factor > job.deadline:
                self._refuse(job, busy_decoders(started - job.entered))
                skipped = True
            elif not skipped:
                self._decode(job)
            took_s = time.monotonic() - started
            with self._lock:
                self._num_pending -= 1
                self._pending_s = self._pending_s - expected_s if self._num_pending else 0.0
                if not skipped:
                    off = min(_MOST_OFF, max(1 / _MOST_OFF, took_s / seconds))
                    self._factor += 0.2 * (off - self._factor)
            del job
