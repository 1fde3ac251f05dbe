"""A batch computed in parts where it does not fit into memory whole: same batch, same update, less memory.

Enters: the function that computes loss and gradient of a part. Leaves: gradients of the whole batch, or those
nobody has touched. Called by `step.py`.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from catseye.errors import TrainingError
from catseye.machine.devices import free_cached_memory, is_out_of_memory

SMALLEST_PART = 2  # batch normalisation has no variance over one image


class Backward(Protocol):
    """Adds a part's gradients to those that are there; `last` is true for the batch's last part."""

    def __call__(self, x: Tensor, targets: Tensor, *, last: bool) -> Tensor:
        """Shape: x (n, ...), targets (n, ...) -> (2,): what the part adds to the loss, and its right answers."""
        ...


class Buffers:
    """What a forward pass changes without an update (batch-norm statistics), so that a failed step can be undone."""

    def __init__(self, model: nn.Module) -> None:
        self._live = list(model.buffers())
        self._kept = [buffer.clone() for buffer in self._live]

    def restore(self) -> None:
        """Put the values of the moment of creation back."""
        for live, kept in zip(self._live, self._kept, strict=True):
            live.copy_(kept)


def in_parts(
    begin: Callable[[], None],
    backward: Backward,
    buffers: Buffers,
    x: Tensor,
    targets: Tensor,
    num_parts: int,
    smallest: int,
    *,
    alone: bool = True,
) -> tuple[Tensor, int]:
    """Sum `backward` over a batch's parts; where memory runs out, over twice as many.

    `begin` is called before each attempt; what a failed one did to the `buffers` is undone. Only batch normalisation
    notices the parts: its statistics are those of a part. `smallest` is the fewest images that any process has of
    this batch, so that all make the same number of parts. A process that is not `alone` cannot begin anew, because
    the others wait for its gradients.

    Shape: x (N, ...), targets (N, ...); returns (2,): loss and right answers, and the number of parts asked for.

    Raises:
        TrainingError: memory is short even for parts of two images, or for one of several processes.

    """
    most = max(1, smallest // SMALLEST_PART)
    while True:
        begin()
        used = min(num_parts, most)
        total = torch.zeros(2, device=x.device)
        try:
            for number, part in enumerate(zip(x.tensor_split(used), targets.tensor_split(used), strict=True)):
                total = total + backward(*part, last=number == used - 1)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "MemoryError"
        else:
            return total, num_parts
        # Here and not above, where the error still holds the tensors of the failed attempt.
        buffers.restore()
        free_cached_memory(x.device)
        if not alone:
            raise TrainingError(
                f"out of memory in one of several processes ({reason}); "
                f"say --set training.accumulate_steps={2 * used}, which halves what a process computes at a time"
            )
        if 2 * used > most:
            raise TrainingError(
                f"out of memory even with {-(-len(x) // used)} images at a time ({reason}); "
                "take a smaller network, data.input_px or training.batch_size"
            )
        num_parts = 2 * used
