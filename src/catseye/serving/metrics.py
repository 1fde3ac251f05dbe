"""The metrics for Prometheus; no client can add a value to a label.

Enters: finished requests, jobs and batches. Leaves: the text of the exposition format; several workers are summed.
Called by `app.py`.
"""

import os
from typing import TYPE_CHECKING

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catseye.serving.batcher import Job
from catseye.serving.metrics_folder import SWITCH
from catseye.serving.served_model import ServedModel

if TYPE_CHECKING:
    from catseye.serving.engine import Engine

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._shared = SWITCH in os.environ
        self.requests = Counter(
            "catseye_requests", "Answered requests by route and status.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "catseye_request_seconds", "First byte to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        stages = Histogram(
            "catseye_stage_seconds", "Time of an image per stage.", ["stage"], buckets=SECONDS, registry=registry
        )
        self._decode, self._queue, self._model = (stages.labels(stage) for stage in ("decode", "queue", "model"))
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self._batch_size = Histogram("catseye_batch_size", "Images per call.", buckets=sizes, registry=registry)
        shares = tuple(number / 10 for number in range(1, 10))
        self._confidence = Histogram(
            "catseye_confidence", "Probability of the best class.", buckets=shares, registry=registry
        )
        self._predicted = Counter("catseye_predicted", "Answers by class.", ["class_name"], registry=registry)
        self._unknown = Counter("catseye_unknown", "Answers below a threshold of the model.", registry=registry)
        self._splits = Counter("catseye_batch_splits", "Batches that failed and were halved.", registry=registry)
        self._num_splits = 0
        self._dropped = Counter("catseye_log_lines_dropped", "Log lines dropped unread.", registry=registry)
        self._num_dropped = 0
        self._in_flight = Gauge(
            "catseye_images_in_flight", "Accepted, not yet answered.", registry=registry, multiprocess_mode="livesum"
        )
        self._waiting = Gauge(
            "catseye_queue_depth", "Decoded, not yet computed.", registry=registry, multiprocess_mode="livesum"
        )
        self.reloads = Counter("catseye_reloads", "New model files by result.", ["result"], registry=registry)
        self._info = Gauge(
            "catseye_model_loaded",
            "1 for the version in use.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}
        self._classes: list[Counter] = []
        self._loaded: Gauge | None = None

    def use(self, model: ServedModel) -> None:
        """Count the classes of this version from now on."""
        self._classes = [self._predicted.labels(name) for name in model.manifest.classes]
        if self._loaded is not None:
            self._loaded.set(0)
        self._loaded = self._info.labels(model.name, model.version)
        self._loaded.set(1)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Note one answered request; `route` is one of the application's own names."""
        key = (route, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self.requests.labels(route, str(status))
            self._timers[route] = self.request_seconds.labels(route)
        counter.inc()
        self._timers[route].observe(seconds)

    def batch(self, jobs: list[Job]) -> None:
        """Note one call of the model."""
        self._batch_size.observe(jobs[0].batch_size)
        self._model.observe(jobs[0].computed - jobs[0].computing)

    def answered(self, job: Job, best: int, confidence: float, *, unknown: bool = False) -> None:
        """Note one image's answer."""
        self._decode.observe(job.decoded - job.decoding)
        self._queue.observe(job.computing - job.decoded)
        self._confidence.observe(confidence)
        self._classes[best].inc()
        if unknown:
            self._unknown.inc()

    def refused_connection(self, status: int) -> None:
        """Count a request that was refused before it reached a route.

        It was broken, slow, too long, or one too many.
        """
        self.requests.labels("connection", str(status)).inc()

    def render(self, engine: "Engine", num_dropped: int) -> bytes:
        """The text that Prometheus reads; `num_dropped` log lines were dropped so far."""
        self._dropped.inc(num_dropped - self._num_dropped)
        self._num_dropped = num_dropped
        self._in_flight.set(engine.num_in_flight)
        self._waiting.set(engine.num_waiting)
        self._splits.inc(engine.num_splits - self._num_splits)
        self._num_splits = engine.num_splits
        registry = self.registry
        if self._shared:
            from prometheus_client import multiprocess

            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return prometheus.generate_latest(registry)
