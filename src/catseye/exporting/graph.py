"""The network between what a caller has and what a caller wants: the same module behind every format.

Enters: a network and its manifest. Leaves: `Graph`, which the exporters trace. Called by the files of the formats.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.manifest import Manifest
from catseye.models.heads import last_linear


class Graph(nn.Module):
    """The network between what a caller has and what a caller wants.

    Shape: image (N, H, W, C) uint8, or (N, C, H, W) normalised float -> prediction (N, K) logits, probability (N, K);
    cam (N, h, w) where `last_linear` finds the weights for it, familiarity (N,) where the network has one.
    """

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self.features = model.get_submodule("features")
        self.head = model.get_submodule("head")
        self.manifest = manifest
        self.linear = last_linear(self.head)
        self.familiarity = getattr(model, "familiarity", None)

    @property
    def output_names(self) -> list[str]:
        """In the order in which `forward` returns them."""
        extra = {"cam": self.linear, "familiarity": self.familiarity}
        return ["prediction", "probability", *(name for name, part in extra.items() if part is not None)]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Shape: see the class."""
        x = image
        if self.manifest.input_kind == "uint8":
            # The same two functions as in training and evaluation, so that there is one normalisation.
            # Float before the turn: TensorRT turns no bytes.
            x = normalise_batch(to_unit(image.float().permute(0, 3, 1, 2)), self.manifest.preprocessing)
        features = self.features(x)
        logits = self.head(features)
        outputs = [logits, torch.softmax(logits / self.manifest.temperature, dim=1)]
        if self.linear is not None:
            outputs.append(class_activation_map(features, logits, self.linear.weight))
        if self.familiarity is not None:
            outputs.append(self.familiarity(features))
        return tuple(outputs)

    def example(self) -> Tensor:
        """What tracing needs. Two images: with one, torch.export would take the batch size for a constant."""
        spec = self.manifest.preprocessing
        if self.manifest.input_kind == "uint8":
            return torch.zeros(2, spec.height_px, spec.width_px, spec.channels, dtype=torch.uint8)
        return torch.zeros(2, spec.channels, spec.height_px, spec.width_px)


def class_activation_map(features: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """Where the most probable class was seen. Its mean plus the class's bias is that class's logit.

    Shape: features (N, F, h, w), logits (N, K), weight (K, F) -> (N, h, w).
    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, eq. 2.
    """
    chosen = F.embedding(logits.argmax(1), weight)  # (N, F)
    return (chosen[:, :, None, None] * features).sum(1)
