"""Transfer learning: published weights, and a strategy chosen from the data.

Enters: settings and prepared images. Leaves: a network with a new head, partly frozen, and the optimizer's
groups. Called by network.py. Computing frozen features once is in cached_features.py.

The guide (as in Stanford's CS231n notes, "Transfer Learning"):

                     similar to ImageNet                    different from ImageNet
    little (< 1,000) freeze all, train the head             the same, with more augmentation
    between          fine-tune the last stage, low rate     fine-tune the last stages
    much (> 5,000)   fine-tune the last stages, low rate    fine-tune everything
"""

import math
from dataclasses import dataclass
from types import MethodType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.counting import count
from catseye.data.augment import normalise_batch, to_unit
from catseye.data.prepare import Prepared
from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.heads import HeadKind, replace_head
from catseye.models.pretrained import Published
from catseye.models.zoo import count_published_classes, load_published
from catseye.preprocess import Preprocessing
from catseye.settings.schema import Settings
from catseye.training.optimizers import ParameterGroup

Strategy = Literal["feature-extraction", "fine-tune", "full", "scratch"]

LITTLE, MUCH = 1_000, 5_000  # training images
SIMILAR = 0.82  # a divergence of 0.2: sets of photos lie above, digits, drawings and noise below
CONFIDENT = 0.25  # the same limit as mean confidence, for networks without batch norm
SIMILARITY_SAMPLE = 128


@dataclass(frozen=True)
class TransferPlan:
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
    """Strategy, number of stages and the reason, by the guide above.

    `similarity` is 0 to 1.
    """
    similar = similarity >= SIMILAR
    likeness = f"{'similar to' if similar else 'different from'} ImageNet ({similarity:.2f}, limit {SIMILAR})"
    if num_training < LITTLE:
        amount = f"little data ({num_training:,} < {LITTLE:,} images)"
        extra = "" if similar else "; more augmentation helps (--set transfer.variants=8)"
        return "feature-extraction", 0, f"{amount}, {likeness}: the backbone stays frozen{extra}"
    if num_training <= MUCH:
        amount = f"{count(num_training, 'image')}, between {LITTLE:,} and {MUCH:,}"
        return "fine-tune", 1 if similar else 2, f"{amount}, {likeness}: the last stages are tuned at a low rate"
    amount = f"much data ({num_training:,} > {MUCH:,} images)"
    if similar:
        return "fine-tune", 2, f"{amount}, {likeness}: the last stages are tuned at a low rate"
    return "full", 0, f"{amount}, {likeness}: everything is tuned"


@torch.inference_mode()
def measure_similarity(model: nn.Module, prepared: Prepared, trained_px: int) -> float:
    """How similar these images are to ImageNet's for the backbone, 0 to 1.

    Measured on a sample of the training images.

    exp(-d), where d is the median over channels of KL(these images ‖ ImageNet) between two normal
    distributions: the inputs of the last batch norm, and its running statistics from ImageNet.
    The images have the size at which the weights were trained, since statistics depend on the size.
    A network without batch norm gives its mean largest softmax probability instead, scaled to the same limit.

    Source: Li et al. 2016, arXiv 1603.04779, section 3.1: batch-norm statistics distinguish domains,
    measured by this divergence (symmetric there). The fallback: Hendrycks and Gimpel 2016, arXiv 1610.02136, section 2.
    """
    training = model.training
    model.eval()
    norms = [layer for layer in model.get_submodule("features").modules() if isinstance(layer, nn.BatchNorm2d)]
    inputs: list[Tensor] = []
    hook = norms[-1].register_forward_pre_hook(lambda _, args: inputs.append(args[0])) if norms else None
    sure: list[Tensor] = []
    for batch in prepared.loaders["train"].epoch(0):
        x = normalise_batch(to_unit(batch.pixels[: SIMILARITY_SAMPLE // 4]), prepared.spec)
        if x.shape[-1] != trained_px:
            x = F.interpolate(x, (trained_px, trained_px), mode="bilinear", antialias=True)
        sure.append(model(x).float().softmax(1).amax(1))
        if sum(len(part) for part in sure) >= SIMILARITY_SAMPLE:
            break
    model.train(training)
    if hook is None:
        return min(1.0, float(torch.cat(sure).mean()) * SIMILAR / CONFIDENT)
    hook.remove()
    return math.exp(-_divergence(torch.cat(inputs).float(), norms[-1]))


def _divergence(x: Tensor, norm: nn.BatchNorm2d) -> float:
    """Median over channels of KL between the normals of the batch and of the norm.

    Shape: x (N, C, h, w).
    """
    assert norm.running_mean is not None  # published batch norms have statistics
    assert norm.running_var is not None
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    theirs = norm.running_var + norm.eps
    variance = variance + norm.eps
    divergence = ((theirs / variance).log() + (variance + (mean - norm.running_mean) ** 2) / theirs - 1) / 2
    return float(divergence.median())


def load_backbone(settings: Settings, spec: Preprocessing, published: Published, device: torch.device) -> nn.Module:
    """The network with published weights, and their head."""
    options = pretrained_options(settings)
    if settings.transfer.strategy == "scratch":
        num_published = 1_000  # nothing is loaded; the head is replaced anyway
    else:
        with torch.device("meta"):
            empty = registry.create(
                settings.model.name,
                num_classes=2,
                in_channels=spec.channels,
                input_px=(spec.height_px, spec.width_px),
                **options,
            )
        num_published = count_published_classes(empty, published.state)
    model: nn.Module = registry.create(
        settings.model.name,
        num_classes=num_published,
        in_channels=spec.channels,
        input_px=(spec.height_px, spec.width_px),
        **options,
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.transfer.strategy != "scratch":
        load_published(model, published.state)
    return model


def build_pretrained(
    settings: Settings, prepared: Prepared, published: Published, device: torch.device, *, head: HeadKind = "linear"
) -> tuple[nn.Module, TransferPlan]:
    """The network with published weights and a fresh head, frozen as planned.

    Raises:
        ModelFileError: the weights belong to another network.

    """
    spec, wanted = prepared.spec, settings.transfer.strategy
    model = load_backbone(settings, spec, published, device)
    if wanted == "trials":
        plan = TransferPlan("feature-extraction", 0, "a head first, trials after it", None, published.source)
    elif wanted == "auto":
        likeness = measure_similarity(model, prepared, published.expected.px)
        strategy, stages, reason = choose_strategy(prepared.counts["train"], likeness)
        plan = TransferPlan(strategy, stages, reason, round(likeness, 4), published.source)
    else:
        assert wanted != "none"  # without transfer this is not called
        plan = TransferPlan(wanted, settings.transfer.stages, "as set", None, published.source)
    replace_head(model, len(prepared.images.classes), spec.channels, min(spec.height_px, spec.width_px), head)
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


def pretrained_options(settings: Settings) -> dict[str, Any]:
    """The network's options, with the published stem unless the user sets one."""
    options = settings.model.model_dump(exclude_none=True, exclude={"name"})
    if "stem" in registry.entry(settings.model.name).options:
        options.setdefault("stem", "standard")
    return options


def freeze(module: nn.Module) -> None:
    """Disable gradients, and keep the module in evaluation mode.

    With changing batch-norm statistics, frozen weights would still compute a different function after every step.
    """
    module.requires_grad_(False)
    for part in module.modules():
        part.train = MethodType(stay_in_evaluation_mode, part)  # type: ignore[method-assign]
    module.train()


def stay_in_evaluation_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    """What `freeze` puts in place of a module's `train`."""
    module.training = False
    for child in module.children():
        child.train(False)
    return module


def backbone_units(model: nn.Module) -> list[list[nn.Module]]:
    """The backbone's stages in order, each with the norm that follows it.

    Containers are opened down to single convolutions or blocks of several layers; parts without weights
    are left out.
    """
    units: list[list[nn.Module]] = []
    for layer in _opened_containers(model.get_submodule("features")):
        if not _has_weights(layer):
            continue
        has_kernels = any(p.ndim > 1 for p in layer.parameters())
        if has_kernels or not units:
            units.append([layer])
        else:
            units[-1].append(layer)
    return units


def backbone_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that `backbone_units` groups, and those without weights."""
    return _opened_containers(model.get_submodule("features"))


def _opened_containers(module: nn.Module) -> list[nn.Module]:
    """The blocks or stages of a backbone.

    Opens containers of one part, and the only row of stages after a stem.
    """
    children = list(module.children())
    if not children:
        return [module]
    weighted = [child for child in children if _has_weights(child)]
    if len(weighted) == 1:
        return _opened_containers(weighted[0])
    rows = [child for child in weighted[1:] if isinstance(child, nn.Sequential) and _is_row(child)]  # first: the stem
    opened: list[nn.Module] = []
    for child in children:
        opened += list(child.children()) if rows == [child] else [child]
    return opened


def _is_row(module: nn.Module) -> bool:
    parts = [part for part in module.children() if _has_weights(part)]
    return len(parts) > 1 and all(list(part.children()) for part in parts)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def transfer_groups(model: nn.Module, settings: Settings, steps_per_epoch: int) -> list[ParameterGroup]:
    """The optimizer's groups: each stage learns more slowly than the next.

    The head learns at `training.lr`, the last stage at the rate of the backbone.

    With `transfer.gradual_epochs` each stage waits longer than the one above it.

    Raises:
        UsageError: the optimizer is muon.

    Source: Howard and Ruder 2018, arXiv 1801.06146, sections 3.2 and 3.3: discriminative rates, gradual unfreezing.

    """
    if settings.training.optimizer == "muon":
        raise UsageError("training.optimizer = muon trains from fresh weights; with --pretrained use adamw or sgd")
    transfer = settings.transfer
    groups = _with_and_without_decay(model.get_submodule("head"), settings.training.weight_decay, 1.0, 0)
    base = transfer.backbone_lr / settings.training.lr
    for depth, unit in enumerate(reversed(backbone_units(model))):
        scale = base * transfer.layer_decay**depth
        first_step = depth * transfer.gradual_epochs * steps_per_epoch
        for layer in unit:
            groups += _with_and_without_decay(layer, settings.training.weight_decay, scale, first_step)
    return groups


def _with_and_without_decay(module: nn.Module, decay: float, factor: float, first_step: int) -> list[ParameterGroup]:
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [
        ParameterGroup(parameters, weight_decay, factor, first_step)
        for parameters, weight_decay in ((matrices, decay), (vectors, 0.0))
        if parameters
    ]
