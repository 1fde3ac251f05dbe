"""The network from image bytes to probabilities, shared by all formats.

Enters: a network and its manifest. Leaves: `Graph`, which the exporters trace. Called by the files of the formats.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.exporting.head_gradient import HeadGradient, head_gradient
from catseye.manifest import Manifest
from catseye.models.heads import last_linear
from catseye.models.summary import count_macs

# Of the multiply-adds. The map repeats the work of the head for every image, so a larger head would slow every answer.
MAX_HEAD_SHARE = 0.02


class Graph(nn.Module):
    """The network with normalisation and all outputs.

    Shape: image (N, H, W, C) uint8, or (N, C, H, W) normalised float -> prediction (N, K) logits, probability (N, K);
    cam (N, h, w) if the head is one linear layer after average pooling, or if `head_gradient` has rules for all of its
    layers and the head is a small part of the work; familiarity (N,) if the network has it.
    """

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self.features = model.get_submodule("features")
        self.head = model.get_submodule("head")
        self.manifest = manifest
        self.linear = last_linear(self.head)
        self.gradient = None if self.linear is not None else self._gradient()
        self.familiarity = getattr(model, "familiarity", None)

    @property
    def output_names(self) -> list[str]:
        """In the order in which `forward` returns them."""
        extra = {"cam": self.has_map, "familiarity": self.familiarity is not None}
        return ["prediction", "probability", *(name for name, there in extra.items() if there)]

    @property
    def has_map(self) -> bool:
        """Whether it has a class-activation map as an output."""
        return self.linear is not None or self.gradient is not None

    def _gradient(self) -> HeadGradient | None:
        """The gradient through the head, if it is cheap.

        Runtimes compute every output, requested or not.
        """
        macs = dict.fromkeys((self.features, self.head), 0)
        hooks = [
            layer.register_forward_hook(partial(_count, macs, part))
            for part in macs
            for layer in part.modules()
            if next(layer.children(), None) is None
        ]
        self.eval()  # else batch norm would update its statistics
        with torch.no_grad():
            maps = self.features(self._normalised(self.example()[:1]))
            self.head(maps.clone())
        for hook in hooks:
            hook.remove()
        if maps.dim() != 4 or macs[self.head] > MAX_HEAD_SHARE * sum(macs.values()):
            return None
        return head_gradient(self.head, tuple(maps.shape[1:]))

    def _normalised(self, image: Tensor) -> Tensor:
        if self.manifest.input_kind != "uint8":
            return image
        # The same two functions as in training and evaluation, so that there is one normalisation.
        # Float before the permutation: TensorRT cannot permute bytes.
        return normalise_batch(to_unit(image.float().permute(0, 3, 1, 2)), self.manifest.preprocessing)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Shape: see the class."""
        features = self.features(self._normalised(image))
        logits, seen = self._answer(features)
        outputs = [logits, torch.softmax(logits / self.manifest.temperature, dim=1)]
        if seen is not None:
            outputs.append(seen)
        if self.familiarity is not None:
            outputs.append(self.familiarity(features))
        return tuple(outputs)

    def _answer(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, K), and where the most probable class was seen (N, h, w)."""
        if self.gradient is not None:
            both: tuple[Tensor, Tensor] = self.gradient(features)
            return both
        logits = self.head(features)
        seen = None if self.linear is None else class_activation_map(features, logits, self.linear.weight)
        return logits, seen

    def example(self) -> Tensor:
        """An example input for tracing, with two images.

        With one, torch.export would take the batch size for a constant.
        """
        spec = self.manifest.preprocessing
        if self.manifest.input_kind == "uint8":
            return torch.zeros(2, spec.height_px, spec.width_px, spec.channels, dtype=torch.uint8)
        return torch.zeros(2, spec.channels, spec.height_px, spec.width_px)


def _count(macs: dict[nn.Module, int], part: nn.Module, layer: nn.Module, _: object, output: object) -> None:
    if isinstance(output, Tensor):
        macs[part] += count_macs(layer, output)


def class_activation_map(features: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """The map of the most probable class, before the ReLU.

    Its mean plus the class's bias is that class's logit.

    Shape: features (N, F, h, w), logits (N, K), weight (K, F) -> (N, h, w).
    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, eq. 2.
    """
    weights = F.embedding(logits.argmax(1), weight)  # (N, F)
    return (weights[:, :, None, None] * features).sum(1)
