"""How much memory a network needs per image, in training and to classify.

Enters: a network and its input's shape. Leaves: `Footprint`. Called by rooms that choose how many images to compute at
a time. Nothing is computed: the network runs on torch's meta device, where tensors have a size and no content.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from catseye.models.registry import training_outputs

# The weight, its gradient, the two moments of Adam (4); while a checkpoint is saved, three of them in three copies (9).
STATES_PER_WEIGHT = 13
SAMPLE = 2  # images of the trial pass


@dataclass(frozen=True)
class Footprint:
    """Bytes per image in training and to classify; bytes of weights and optimizer."""

    training_bytes: int
    answer_bytes: int
    state_bytes: int


class _OutputsOf(nn.Module):
    """A module that returns all outputs of a network, with auxiliary heads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        logits, auxiliary = training_outputs(self.model, x)
        return [logits, *auxiliary]


def measure_footprint(model: nn.Module, channels: int, height_px: int, width_px: int) -> Footprint:
    """The memory of one image, from a pass on the meta device.

    Training needs every tensor that the backward pass reads again, and during that pass the two largest gradients.
    Classifying needs the largest pair of a layer's input and output, twice, because a skip keeps one.
    """
    kept: dict[int, int] = {}
    largest = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # neither a weight nor a view of one, which a dense layer keeps
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # so that no other storage gets the same address
        return tensor

    def note(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        tensors = [each for each in (*inputs, output) if isinstance(each, Tensor)]
        largest[0] = max(largest[0], sum(each.nbytes for each in tensors))

    alive: list[Tensor] = []
    ghost = _OutputsOf(_without_content(model)).train()
    own = {tensor.untyped_storage()._cdata for tensor in (*ghost.parameters(), *ghost.buffers())}
    hooks = [layer.register_forward_hook(note) for layer in ghost.modules() if not list(layer.children())]
    x = torch.empty(SAMPLE, channels, height_px, width_px, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ghost(x.to(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    learned = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    fixed = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    pair = largest[0] // SAMPLE
    return Footprint(sum(kept.values()) // SAMPLE + 2 * pair, 2 * pair, STATES_PER_WEIGHT * learned + fixed)


def _without_content(model: nn.Module) -> nn.Module:
    """A copy whose tensors have a shape but no content; the weights are never copied."""
    memo: dict[int, object] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)
