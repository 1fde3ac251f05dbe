"""The scheduler: gives a free thread what is queued, and never waits for more.

Enters: `Job`s whose image is decoded. Leaves: the same jobs with `answer` or `failure` set, handed to `deliver` in
the thread that computed them. While requests come slowly, batches have one image and nothing is delayed; under load
the queue fills during a call, and the next batch is larger. Called by `engine.py`.

There is no timer: on CPUs a larger batch is hardly cheaper per image, so waiting for one would only delay every answer.
`tuning.py` measures how large a batch may get; `benchmarks/serve_load.py` compares with other servers.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from catseye.serving.served_model import Answers, ServedModel, stack

if TYPE_CHECKING:
    import asyncio

    from catseye.decoding.headers import Header


@dataclass(slots=True, eq=False)
class Job:
    """One image in the server; times are seconds of `time.monotonic`."""

    model: ServedModel
    future: "asyncio.Future[None]"
    deadline: float
    content: bytes | None = None
    row: NDArray[Any] | None = None
    known: tuple["Header | None", int] | None = None  # the result of `decoding_cost` for the content
    wants_cam: bool = False
    size_px: tuple[int, int] = (0, 0)
    answer: NDArray[Any] | None = None
    cam: NDArray[Any] | None = None
    familiarity: float | None = None
    failure: Exception | None = None
    batch_size: int = 0
    entered: float = field(default_factory=time.monotonic)
    decoding: float = 0.0
    decoded: float = 0.0
    computing: float = 0.0
    computed: float = 0.0


class Batcher:
    """`concurrency` threads, each calling the model with up to `batch_size` jobs."""

    def __init__(self, concurrency: int, batch_size: int, deliver: Callable[[list[Job]], None]) -> None:
        self.concurrency, self.batch_size = concurrency, batch_size
        self._deliver = deliver
        self._waiting: dict[Job, None] = {}  # in order of arrival; a dict, so that a job can be removed at once
        self._changed = threading.Condition(threading.Lock())
        self._idle = 0
        self.num_splits = 0  # calls that failed and were tried again in halves
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"model-{number}", daemon=True) for number in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Queue a decoded job; may be called from any thread."""
        with self._changed:
            self._waiting[job] = None
            if self._idle:
                self._changed.notify()

    def discard(self, job: Job) -> None:
        """Remove a job, unless a thread has taken it."""
        with self._changed:
            self._waiting.pop(job, None)

    @property
    def num_waiting(self) -> int:
        """How many jobs no thread has taken yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Compute what is queued, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            started = time.monotonic()
            self._compute(batch)
            finished = time.monotonic()
            for job in batch:
                job.computing, job.computed = started, finished
            self._deliver(batch)

    def _take(self) -> list[Job]:
        """The next batch: an equal share of the queue, for one version of the model.

        It is empty if the batcher has been closed.
        """
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            share = -(-len(self._waiting) // (1 + self._idle))
            first = next(iter(self._waiting))
            batch: list[Job] = []
            for job in self._waiting:
                if len(batch) == min(share, self.batch_size) or job.model is not first.model:
                    break
                batch.append(job)
            for job in batch:
                del self._waiting[job]
            if self._waiting and self._idle:
                self._changed.notify()
            return batch

    def _compute(self, batch: list[Job]) -> None:
        """Answer every job; a call that fails is tried again in halves.

        It may have run out of memory, or a single image may have caused the failure.
        """
        try:
            answers = batch[0].model.compute(
                stack(job.row for job in batch if job.row is not None), any(job.wants_cam for job in batch)
            )
        except Exception as error:  # noqa: BLE001 - the exceptions of the runtimes have no common base class
            if len(batch) == 1:
                batch[0].failure = error
                batch[0].batch_size = 1
                return
            self.num_splits += 1
            middle = len(batch) // 2
            self._compute(batch[:middle])
            self._compute(batch[middle:])
            return
        _hand_out(batch, answers)


def _hand_out(batch: list[Job], answers: Answers) -> None:
    finite = answers.finite_rows()
    for index, job in enumerate(batch):
        job.batch_size = len(batch)
        job.row = None
        if not finite[index]:
            job.failure = ArithmeticError("the model's answer for this image contains NaN or infinity")
            continue
        job.answer = answers.probabilities[index]
        if job.wants_cam and answers.cams is not None:
            job.cam = answers.cams[index]
        if answers.familiarity is not None:
            job.familiarity = float(answers.familiarity[index])
