"""What one server needs: time to stop, memory, and the load it can answer.

Enters: the settings that `catseye serve` will run with, and the model. Leaves: numbers for the platform that runs it.
Called by the targets of this room.
"""

import io
import math
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from catseye.deploying.rendering import DeployedModel
from catseye.runtimes.loading import open_model
from catseye.serving.lanes import ORDINARY_BYTES, decoders_bytes
from catseye.serving.settings import ServerSettings

MIB = 2**20
IDLE_BYTES = 160 * MIB  # Python, ONNX Runtime and the server without a model: measured 98
BUSY = 0.7  # above this, waiting times grow faster than the load
MOST_REQUESTS = 500  # per process: the limit of one thread that handles HTTP, whatever the model
TRIAL_S = 0.2


@dataclass(frozen=True)
class Stop:
    """The phases of a shutdown, in seconds.

    First load balancers are updated, then readiness fails, and then accepted requests are answered.
    """

    prestop_s: int
    drain_s: float
    finish_s: int
    reserve_s: int = 3  # threads are joined, the interpreter ends

    @property
    def grace_s(self) -> int:
        """After this time a server that is still running is killed."""
        return math.ceil(self.prestop_s + self.drain_s + self.finish_s + self.reserve_s)


def stop_of(settings: ServerSettings, prestop_s: int = 0) -> Stop:
    """How long a server with these settings takes to stop cleanly."""
    return Stop(prestop_s, settings.drain_s, settings.finish_s)


@dataclass(frozen=True)
class MemoryBudget:
    """The memory of a server in MiB, usual and at most.

    The most is needed if all limits of its settings are reached at once.
    """

    usual_mib: int
    most_mib: int
    why: str


def memory_of(model: DeployedModel, settings: ServerSettings, cpus: int) -> MemoryBudget:
    """Memory of a server that decodes and computes with `cpus` threads each.

    `most_mib` is the limit of its container: `tests/server/test_memory_limit.py` sends the worst accepted requests
    to a server in a memory group of this size.
    """
    limits, spec = settings.limits, model.manifest.preprocessing
    row_bytes = spec.height_px * spec.width_px * spec.channels * (1 if model.manifest.input_kind == "uint8" else 4)
    loaded = IDLE_BYTES + 3 * model.num_bytes  # the file, the weights, and the weights rearranged for speed
    queued = limits.max_queued * row_bytes
    decoded = decoders_bytes(cpus, limits.max_pixels)
    most = _mib(loaded + queued + limits.buffered_bytes + decoded)
    why = (
        f"{_mib(loaded)} loaded, {_mib(limits.buffered_bytes)} of uploads, {_mib(decoded)} of "
        f"{cpus + 1} images being decoded, {limits.max_queued} waiting"
    )
    return MemoryBudget(_mib(loaded + queued + ORDINARY_BYTES * cpus), most, why)


def requests_per_s(model: DeployedModel, cpus: int) -> int:
    """Requests per second that `cpus` threads of this machine answer, times `BUSY`.

    Measured on 640 x 480 JPEGs.
    """
    classifier = open_model(model.path, threads=1).classifier()
    stream = io.BytesIO()
    smooth = np.linspace(0, 255, 640 * 480 * 3, dtype=np.uint8).reshape(480, 640, 3)
    Image.fromarray(smooth).save(stream, "JPEG", quality=85)
    image = stream.getvalue()
    classifier.predict(image)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < TRIAL_S:
        classifier.predict(image)
        count += 1
    rate = BUSY * cpus * count / (time.perf_counter() - start)
    return max(1, min(MOST_REQUESTS, int(rate)))


def _mib(num_bytes: int) -> int:
    return math.ceil(num_bytes / MIB / 32) * 32
