"""Transfer learning: published weights, a strategy chosen from the data with its reason, and what follows from it.

Enters: settings and prepared pictures. Leaves: a network with a new head, partly frozen, and the optimizer's
groups. Called by assemble.py. Computing frozen features once is in cached_features.py.

The guide (as in Stanford's CS231n notes, "Transfer Learning"):

                     similar to ImageNet                    different from ImageNet
    little (< 1,000) freeze all, train the head             the same, with more augmentation
    between          fine-tune the last stage, low rate     fine-tune the last stages
    much (> 5,000)   fine-tune the last stages, low rate    fine-tune everything
"""

from dataclasses import dataclass
from types import MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from catseye.config import Settings
from catseye.data.augment import normalise, to_unit
from catseye.data.prepare import Prepared
from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.heads import replace_head
from catseye.models.pretrained import Published
from catseye.models.zoo import load_published

Strategy = Literal["feature-extraction", "fine-tune", "full", "scratch"]

LITTLE, MUCH = 1_000, 5_000  # training pictures
SIMILAR = 0.35  # mean confidence of the ImageNet head; between the sets of both sorts that the tests hold against it
SIMILARITY_SAMPLE = 128


@dataclass(frozen=True)
class Plan:
    """What will be trained, and why; stored in the run's transfer.json."""

    strategy: Strategy
    stages: int  # fine-tune: how many of the last stages
    reason: str
    similarity: float | None
    weights: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dict(vars(self))


def choose_strategy(num_training: int, similarity: float) -> tuple[Strategy, int, str]:
    """Strategy, number of stages and the reason, by the guide above. `similarity` is 0 to 1."""
    similar = similarity >= SIMILAR
    likeness = f"{'similar to' if similar else 'different from'} ImageNet ({similarity:.2f}, limit {SIMILAR})"
    if num_training < LITTLE:
        amount = f"little data ({num_training:,} < {LITTLE:,} pictures)"
        extra = "" if similar else "; more augmentation helps (--set transfer.variants=8)"
        return "feature-extraction", 0, f"{amount}, {likeness}: the backbone stays frozen{extra}"
    if num_training <= MUCH:
        amount = f"{num_training:,} pictures, between {LITTLE:,} and {MUCH:,}"
        return "fine-tune", 1 if similar else 2, f"{amount}, {likeness}: the last stages are tuned at a low rate"
    amount = f"much data ({num_training:,} > {MUCH:,} pictures)"
    if similar:
        return "fine-tune", 2, f"{amount}, {likeness}: the last stages are tuned at a low rate"
    return "full", 0, f"{amount}, {likeness}: everything is tuned"


@torch.inference_mode()
def measure_similarity(model: nn.Module, prepared: Prepared) -> float:
    """How sure the ImageNet classifier is of these pictures: mean largest softmax probability on a sample, 0 to 1.

    Pictures of ImageNet's kind put most of the probability on a few of its thousand classes, others spread it.

    Source: Hendrycks and Gimpel 2016, arXiv 1610.02136, section 2: the largest softmax probability tells
    in-distribution from out-of-distribution pictures; taken over a whole set instead of one picture.
    """
    training = model.training
    model.eval()
    sure: list[Tensor] = []
    for batch in prepared.loaders["train"].epoch(0):
        x = normalise(to_unit(batch.pixels[: SIMILARITY_SAMPLE // 4]), prepared.spec)
        sure.append(model(x).float().softmax(1).amax(1))
        if sum(len(part) for part in sure) >= SIMILARITY_SAMPLE:
            break
    model.train(training)
    return float(torch.cat(sure).mean())


def build_pretrained(
    chosen: Settings, prepared: Prepared, published: Published, where: torch.device
) -> tuple[nn.Module, Plan]:
    """The network with published weights, a fresh head, and frozen as the plan says.

    Raises:
        ModelFileError: the weights are another network's.

    """
    spec, wanted = prepared.spec, chosen.transfer.strategy
    options = chosen.model.model_dump(exclude_none=True, exclude={"name"})
    num_published = _count_classes(published.state)
    model = registry.create(
        chosen.model.name, num_classes=num_published, in_channels=spec.channels, input_px=spec.height_px, **options
    ).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if wanted != "scratch":
        load_published(model, published.state)
    if wanted == "auto":
        likeness = measure_similarity(model, prepared)
        strategy, stages, reason = choose_strategy(prepared.counts["train"], likeness)
        plan = Plan(strategy, stages, reason, round(likeness, 4), published.source)
    else:
        assert wanted != "none"  # whoever asks for no transfer does not come here
        plan = Plan(wanted, chosen.transfer.stages, "as set", None, published.source)
    replace_head(model, len(prepared.pictures.classes), spec.channels, spec.height_px)
    if plan.strategy == "feature-extraction":
        freeze(model.get_submodule("features"))
    elif plan.strategy == "fine-tune":
        units = backbone_units(model)
        if plan.stages >= len(units):
            raise UsageError(f"transfer.stages: this backbone has {len(units)} stages; got {plan.stages}")
        for unit in units[: -plan.stages]:
            for layer in unit:
                freeze(layer)
    return model, plan


def freeze(module: nn.Module) -> None:
    """No gradients, and the module stays in evaluation mode whatever its parents are set to.

    Frozen weights with moving batch-norm statistics would still be another function after every step.
    """
    module.requires_grad_(False)
    for part in module.modules():
        part.train = MethodType(_stay_in_evaluation_mode, part)  # type: ignore[method-assign]
    module.train()


def _stay_in_evaluation_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False
    for child in module.children():
        child.train(False)
    return module


def backbone_units(model: nn.Module) -> list[list[nn.Module]]:
    """The backbone's stages in order: blocks side by side, each with the norm that follows it.

    Containers are opened until single convolutions or blocks of several layers show; parts without weights
    are left out.
    """
    units: list[list[nn.Module]] = []
    for layer in _open(model.get_submodule("features")):
        if not any(True for _ in layer.parameters()):
            continue
        has_kernels = any(p.ndim > 1 for p in layer.parameters())
        if has_kernels or not units:
            units.append([layer])
        else:
            units[-1].append(layer)
    return units


def _open(module: nn.Module) -> list[nn.Module]:
    """The modules one level below the outermost containers; a container of containers is opened as well."""
    children = list(module.children())
    weighted = [child for child in children if any(True for _ in child.parameters())]
    if len(weighted) == 1 and children:
        return _open(weighted[0])
    opened: list[nn.Module] = []
    for child in children:
        blocks = [part for part in child.children() if any(True for _ in part.parameters())]
        is_row_of_stages = isinstance(child, nn.Sequential) and len(blocks) > 1 and len(weighted) <= 5
        if is_row_of_stages and all(isinstance(part, nn.Sequential) for part in blocks):
            opened += blocks
        else:
            opened.append(child)
    return opened


def transfer_groups(model: nn.Module, plan: Plan, chosen: Settings) -> list[dict[str, Any]]:
    """The optimizer's groups: the head at `training.lr`, the backbone lower, and lower still with each stage down.

    `lr_scale` multiplies the scheduled rate; `from_epoch` holds a group back (gradual unfreezing).
    Source: Howard and Ruder 2018, arXiv 1801.06146, sections 3.2 and 3.3: discriminative rates, gradual unfreezing.
    """
    settings = chosen.transfer
    groups = _with_and_without_decay(model.get_submodule("head"), chosen.training.weight_decay, 1.0, 0)
    base = settings.backbone_lr / chosen.training.lr
    for depth, unit in enumerate(reversed(backbone_units(model))):
        scale = base * settings.layer_decay**depth
        from_epoch = depth * settings.gradual_epochs
        for layer in unit:
            groups += _with_and_without_decay(layer, chosen.training.weight_decay, scale, from_epoch)
    return groups


def _with_and_without_decay(module: nn.Module, decay: float, scale: float, from_epoch: int) -> list[dict[str, Any]]:
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [
        {"params": params, "weight_decay": weight_decay, "lr_scale": scale, "from_epoch": from_epoch}
        for params, weight_decay in ((matrices, decay), (vectors, 0.0))
        if params
    ]


def _count_classes(state: Any) -> int:
    """Rows of the last matrix with a bias beside it: the published classifier's number of classes."""
    matrices = [value for value in state.values() if value.ndim in (2, 4)]
    return int(matrices[-1].shape[0])
