"""For a batch that does not fit into memory: undo the step, use more parts.

Enters: the network before the step, and the error of a failed attempt. Leaves: the state as it was, and the number
of parts for the next attempt. Called by `step.py`.
"""

import torch
from torch import nn

from catseye.errors import TrainingError
from catseye.machine.devices import free_cached_memory, is_out_of_memory

SMALLEST_PART = 2  # batch normalisation has no variance over one image


class Buffers:
    """A copy of what a forward pass changes, to undo a failed step.

    These are batch-norm statistics.
    """

    def __init__(self, model: nn.Module) -> None:
        self._live = list(model.buffers())
        self._kept = [buffer.clone() for buffer in self._live]

    def restore(self) -> None:
        """Restore the values at creation."""
        for live, kept in zip(self._live, self._kept, strict=True):
            live.copy_(kept)


def why_out_of_memory(error: RuntimeError | MemoryError) -> str:
    """The first line of an out-of-memory error; any other error is raised again."""
    if not is_out_of_memory(error):
        raise error
    return str(error).splitlines()[0] if str(error) else "MemoryError"


def twice_the_parts(num_parts: int, num_images: int, most: int, reason: str, *, alone: bool) -> int:
    """The number of parts to try after `num_parts` did not fit; at most `most`.

    A process that is not `alone` cannot repeat the step, because the others wait for its gradients.

    Raises:
        TrainingError: memory is short even for parts of two images, or for one of several processes.

    """
    if not alone:
        raise TrainingError(
            f"out of memory in one of several processes ({reason}); "
            f"use --set training.accumulate_steps={2 * num_parts}, which halves the images computed at a time"
        )
    if 2 * num_parts > most:
        raise TrainingError(
            f"out of memory even with {-(-num_images // num_parts)} images at a time ({reason}); "
            "use a smaller network, data.input_px or training.batch_size"
        )
    return 2 * num_parts


def forget_attempt(buffers: Buffers, device: torch.device) -> None:
    """Undo a failed attempt's changes to the network, and free its memory."""
    buffers.restore()
    free_cached_memory(device)
