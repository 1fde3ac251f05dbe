"""Knowledge distillation: a small network learns from a trained one.

It learns from the probabilities of the trained network as well as from the labels.

Enters: the student's logits and its input. Leaves: the blended loss. Called by `step.py`.

Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531, section 2: both distributions are softened by the
temperature T, and the teacher's part is multiplied by T² so that its gradients keep their size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.data.augment import channel_values, luma
from catseye.errors import UsageError
from catseye.preprocess import Preprocessing
from catseye.runs import load_model


@dataclass
class Teacher:
    """A trained network whose answers count for `weight` of the loss."""

    model: nn.Module
    spec: Preprocessing
    student_spec: Preprocessing
    temperature: float
    weight: float

    def blend(self, loss: Tensor, logits: Tensor, x: Tensor, share: Tensor | float = 1.0) -> Tensor:
        """(1 - weight) · loss + weight · T² · KL(teacher ‖ student), both softened by T.

        `share` is the part that these images are of the whole batch, over which the divergence is averaged.

        Shape: loss scalar, logits (N, K), x (N, C, H, W) normalised for the student -> scalar.
        """
        with torch.no_grad():
            target = (self.model(self._input(x)).float() / self.temperature).log_softmax(1)
        mine = (logits / self.temperature).log_softmax(1)
        divergence = F.kl_div(mine, target, log_target=True, reduction="batchmean")
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * share * divergence

    def _input(self, x: Tensor) -> Tensor:
        """The same augmented images, with the teacher's size, channels and statistics."""
        x = x * channel_values(self.student_spec.std, x) + channel_values(self.student_spec.mean, x)
        if self.spec.channels != x.shape[1]:
            x = x.expand(-1, 3, -1, -1) if self.spec.channels == 3 else luma(x)
        size = (self.spec.height_px, self.spec.width_px)
        if tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        return (x - channel_values(self.spec.mean, x)) / channel_values(self.spec.std, x)


def load_teacher(
    path: str, classes: tuple[str, ...], spec: Preprocessing, *, temperature: float, weight: float, device: torch.device
) -> Teacher:
    """Open a run folder or model file as a teacher.

    Raises:
        UsageError: its classes are not the student's. ModelFileError: it cannot be used.

    """
    model, manifest = load_model(path, device)
    if manifest.classes != classes:
        raise UsageError(
            f"distillation.teacher {path} was trained on other classes ({', '.join(manifest.classes[:5])} …); "
            "teacher and student need the same ones in the same order"
        )
    model.requires_grad_(False)
    return Teacher(model, manifest.preprocessing, spec, temperature, weight)
