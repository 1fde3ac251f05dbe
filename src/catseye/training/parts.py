"""A batch computed in parts where it does not fit into memory whole: same batch, same update, less memory.

Enters: the function that computes loss and gradient of a part. Leaves: gradients of the whole batch, or those
nobody has touched. Called by `step.py`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from catseye.devices import free_cached_memory, is_out_of_memory
from catseye.errors import TrainingError

Backward = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
SMALLEST_PART = 2  # batch normalisation has no variance over one picture


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
    begin: Callable[[], None], backward: Backward, buffers: Buffers, x: Tensor, targets: Tensor, num_parts: int
) -> tuple[Tensor, Tensor, int]:
    """Sum `backward(part, its targets, its share)` over a batch's parts; where memory runs out, over twice as many.

    `begin` is called before each attempt; what a failed one did to the `buffers` is undone. The sum of the
    shares is 1, so losses that are means over pictures add up to the batch's, and so do their gradients.
    Only batch normalisation notices: its statistics are those of a part.

    Shape: x (N, ...), targets (N, ...); returns loss (), number of right answers () and the number of parts used.

    Raises:
        TrainingError: memory is short even for parts of two pictures.

    """
    while True:
        begin()
        used = max(1, min(num_parts, len(x) // SMALLEST_PART))
        try:
            pieces = zip(x.tensor_split(used), targets.tensor_split(used), strict=True)
            results = [backward(part, wanted, len(part) / len(x)) for part, wanted in pieces]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "MemoryError"
        else:
            return torch.stack([r[0] for r in results]).sum(), torch.stack([r[1] for r in results]).sum(), num_parts
        # Here and not above, where the error still holds the tensors of the failed attempt.
        buffers.restore()
        free_cached_memory(x.device)
        if 2 * used > len(x) // SMALLEST_PART:
            raise TrainingError(
                f"out of memory even with {-(-len(x) // used)} pictures at a time ({reason}); "
                "take a smaller network, data.input_px or training.batch_size"
            )
        num_parts = 2 * used
