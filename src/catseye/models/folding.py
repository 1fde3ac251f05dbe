"""Batch norm folded into the convolution before it, for a faster frozen backbone.

Enters: feature layers in evaluation mode. Leaves: a copy of them. Called by the trials of training. Nothing is assumed
about the network's code: one pass shows which norm reads which convolution, a second one checks the copy.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-3  # share of the largest feature


@torch.no_grad()
def fold_norms(features: nn.Module, x: Tensor) -> nn.Module:
    """A faster copy with the same features for `x`; else `features` itself.

    Source: Jacob et al. 2018, arXiv 1712.05877, section 3.2.
    """
    folded = copy.deepcopy(features).eval()
    made_by: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    alive: list[Tensor] = []  # so that no two tensors of the pass share an address
    handles = []
    for layer in folded.modules():
        if isinstance(layer, nn.Conv2d):

            def note(conv: nn.Module, _: object, result: Tensor) -> None:
                assert isinstance(conv, nn.Conv2d)
                alive.append(result)
                made_by[id(result)] = conv

            handles.append(layer.register_forward_hook(note))
        elif isinstance(layer, nn.BatchNorm2d):

            def pair(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
                assert isinstance(norm, nn.BatchNorm2d)
                if (conv := made_by.pop(id(args[0]), None)) is not None:
                    pairs.append((conv, norm))

            handles.append(layer.register_forward_pre_hook(pair))
    expected = folded(x)
    for handle in handles:
        handle.remove()
    if len({id(conv) for conv, _ in pairs}) < len(pairs) or len({id(norm) for _, norm in pairs}) < len(pairs):
        return features  # a layer is used twice
    replaced = {id(norm): _fold(conv, norm) for conv, norm in pairs}
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in replaced:
                setattr(parent, name, replaced[id(child)])
    try:
        result = folded(x)
    except (RuntimeError, AttributeError, TypeError):  # the network's code uses more of its norms than their output
        return features
    equal = (result - expected).abs().max() <= TOLERANCE * expected.abs().max().clamp_min(1e-6)
    return folded if bool(equal) else features


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
    """Put the norm's scale and shift into the convolution; return its activation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    activation = getattr(norm, "act", None)  # timm's norms end in one
    return activation if isinstance(activation, nn.Module) else nn.Identity()
