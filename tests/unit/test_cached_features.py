"""Features computed once give what the plain loop gives, image by image and weight by weight."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.prepare import prepare
from catseye.evaluation.predict import collect_logits
from catseye.models import registry
from catseye.models.pretrained import Published, expected_input
from catseye.settings.merge import load_settings
from catseye.settings.schema import AugmentSettings, DataSettings
from catseye.training.assemble import assemble
from catseye.training.cached_features import FeatureLoader, cache_features
from catseye.training.losses import make_criterion
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.session import RunSession, Workplace
from catseye.training.step import TrainState, train_step
from catseye.training.transfer import build_pretrained, transfer_groups

CPU = torch.device("cpu")
TINY = "timm:test_resnet"
PLAIN = AugmentSettings()


def published(classes=10):
    torch.manual_seed(1)
    model = registry.create(TINY, num_classes=classes, in_channels=3, input_px=64)
    # Statistics of a network that has seen something, so that evaluation and training mode differ.
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.8, 1.2)
    state = {model.published_names[ours]: tensor for ours, tensor in model.state_dict().items()}
    return Published(state, expected_input(TINY), "made up")


@pytest.fixture
def data(images):
    return images({"a": 12, "b": 12, "c": 12}, height=40, width=40)


def prepared_of(data, *, batch_size=8, px=64, min_area=1.0, **more):
    found = DataSettings(input_px=px, **{"val_fraction": 0.1, "test_fraction": 0.2, "workers": 0, **more})
    return prepare(
        data, found, batch_size=batch_size, seed=0, device=CPU, min_area=min_area, expected=expected_input(TINY)
    )


def backbone():
    torch.manual_seed(3)
    return registry.create(TINY, num_classes=3, in_channels=3, input_px=64).features.eval()


def direct(features, loader, spec, epoch=0):
    """number -> (pooled feature, label), straight from the images."""
    found = {}
    with torch.no_grad():
        for batch in loader.epoch(epoch):
            pooled = features(normalise_batch(to_unit(batch.pixels), spec)).mean((2, 3))
            for index, row, label in zip(batch.indices.tolist(), pooled, batch.labels.tolist(), strict=True):
                found[index] = (row, label)
    return found


def cached_of(prepared, features, *, augment=PLAIN, variants=1, batch_size=8):
    return cache_features(
        features, prepared.loaders, prepared.spec, augment, variants=variants, seed=0, batch_size=batch_size
    )


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_numbers_labels_and_order_are_the_image_loaders(data, storage):
    prepared, features = prepared_of(data, storage=storage), backbone()
    cached = cached_of(prepared, features)
    for side in ("train", "val"):
        mine, theirs = cached.loaders[side], prepared.loaders[side]
        assert isinstance(mine, FeatureLoader)
        np.testing.assert_array_equal(mine.indices, theirs.indices)
        assert mine.num_batches == theirs.num_batches
        for epoch in (0, 1, 5):
            ours, images = list(mine.epoch(epoch)), list(theirs.epoch(epoch))
            assert len(ours) == len(images) == mine.num_batches
            for one, other in zip(ours, images, strict=True):
                assert torch.equal(one.indices, other.indices)
                assert torch.equal(one.labels, other.labels)
                assert one.pixels.shape == (len(other.labels), 96, 1, 1)
                assert one.pixels.dtype == torch.float32
                assert not one.pixels.is_inference()
    # Resuming in the middle of an epoch.
    late, whole = list(cached.loaders["train"].epoch(2, start=1)), list(cached.loaders["train"].epoch(2))
    assert len(late) == len(whole) - 1
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(late, whole[1:], strict=True))
    # The test images are left to the evaluation of the whole network.
    assert cached.loaders["test"] is prepared.loaders["test"]


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_the_plain_variant_is_the_mean_of_the_feature_map(data, storage):
    prepared, features = prepared_of(data, storage=storage), backbone()
    cached = cached_of(prepared, features, augment=AugmentSettings(hflip=0.5, brightness=0.4), variants=3)
    for side in ("train", "val"):
        wanted = direct(features, prepared.loaders[side], prepared.spec)
        loader = cached.loaders[side]
        assert len(loader.features) == (3 if side == "train" else 1)
        for index, (row, label) in wanted.items():
            torch.testing.assert_close(loader.features[0, loader.row[index]], row, atol=1e-5, rtol=1e-4)
            assert int(loader.labels[loader.row[index]]) == label
    # The others are augmented: other features of the same images, different ones each.
    first, second, third = cached.loaders["train"].features
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_unreadable_images_are_left_out_of_both(data):
    (data / "a" / "003.png").write_bytes(b"no image at all")
    prepared, features = prepared_of(data, storage="stream"), backbone()
    cached = cached_of(prepared, features, variants=2)
    wanted = direct(features, prepared.loaders["train"], prepared.spec)
    loader = cached.loaders["train"]
    assert set(loader.indices.tolist()) <= set(wanted)
    seen = [index for batch in loader.epoch(1) for index in batch.indices.tolist()]
    assert sorted(seen) == sorted(wanted)
    assert (loader.row[loader.indices] >= 0).all()


def test_every_training_image_is_seen_at_some_time(data):
    """With 25 images in batches of 8 a plain epoch leaves one out, another one each time."""
    prepared, features = prepared_of(data, val_fraction=0.1, test_fraction=0.2), backbone()
    number = len(prepared.loaders["train"].indices)
    batch_size = number - 1
    prepared = prepared_of(data, batch_size=batch_size)
    assert prepared.loaders["train"].num_batches == 1
    cached = cached_of(prepared, features, batch_size=batch_size)
    seen = {i for epoch in range(12) for batch in cached.loaders["train"].epoch(epoch) for i in batch.indices.tolist()}
    plain = {
        i for epoch in range(12) for batch in prepared.loaders["train"].epoch(epoch) for i in batch.indices.tolist()
    }
    assert plain == set(prepared.loaders["train"].indices.tolist())
    assert seen == plain


def test_without_validation_images_the_test_images_are_cached(data):
    """Then `fit` shows the test side per epoch, and gives it the head alone."""
    prepared, features = prepared_of(data, val_fraction=0.0), backbone()
    assert prepared.counts["val"] == 0
    cached = cached_of(prepared, features)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 3)).eval()
    mine = collect_logits(head, cached.loaders["test"], prepared.spec)
    theirs = collect_logits(nn.Sequential(features, head), prepared.loaders["test"], prepared.spec)
    np.testing.assert_array_equal(mine.indices, theirs.indices)
    np.testing.assert_allclose(mine.logits, theirs.logits, atol=1e-5)


def test_random_crops_vary_and_the_plain_variant_has_none(data):
    """augment.crop_scale below 1 lives in the loader; variants of it have to differ too."""
    whole = prepared_of(data, storage="stream")
    cropped = prepared_of(data, storage="stream", min_area=0.3)
    features = backbone()
    loader = cached_of(cropped, features, variants=3).loaders["train"]
    assert not torch.equal(loader.features[1], loader.features[2])
    for index, (row, _) in direct(features, whole.loaders["train"], whole.spec).items():
        torch.testing.assert_close(loader.features[0, loader.row[index]], row, atol=1e-5, rtol=1e-4)


# Variants


def hand_made(variants=4, count=40):
    features = torch.arange(variants).float()[:, None, None] * 100 + torch.arange(count).float()[None, :, None]
    row = np.arange(count, dtype=np.int64)
    return FeatureLoader(features, torch.arange(count), row, row.copy(), 8, shuffle=True, seed=7)


def drawn(loader, epoch):
    """number -> the variant it got."""
    pairs = ((i, int(value) // 100) for b in loader.epoch(epoch) for i, value in zip(b.indices, b.pixels, strict=True))
    return {int(index): variant for index, variant in pairs}


def test_variants_are_drawn_per_image_and_epoch_and_repeatably():
    loader = hand_made()
    epochs = [drawn(loader, epoch) for epoch in range(6)]
    assert all(len(epoch) == 40 for epoch in epochs)
    assert all(set(epoch.values()) == {0, 1, 2, 3} for epoch in epochs)  # per image
    assert all(len({epoch[index] for epoch in epochs}) > 1 for index in range(40))  # and per epoch
    assert epochs == [drawn(hand_made(), epoch) for epoch in range(6)]
    counts = np.bincount([variant for epoch in epochs for variant in epoch.values()])
    assert counts.min() > 35  # 240 draws of 4
    other = hand_made()
    other.seed = 8
    assert drawn(other, 0) != epochs[0]
    # Not on the place in the batch: from the middle on, the same image has the same variant.
    late = {int(i): int(v) // 100 for b in loader.epoch(1, start=3) for i, v in zip(b.indices, b.pixels, strict=True)}
    assert late == {index: epochs[1][index] for index in late}


def test_evaluation_takes_the_plain_variant():
    loader = hand_made()
    loader.shuffle = False
    assert set(drawn(loader, 0).values()) == {0}


# The same training


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_head_learns_the_same_as_in_the_plain_loop(data, optimizer):
    prepared = prepared_of(data)
    momentum = {"training.momentum": 0.9} if optimizer == "sgd" else {}
    chosen = load_settings(
        "transfer",
        values={
            "model.name": TINY, "transfer.strategy": "feature-extraction", "transfer.variants": 1,
            "augment.hflip": 0.0, "training.epochs": 4, "training.batch_size": 8, "training.lr": 0.01,
            "training.optimizer": optimizer, **momentum,
        },
    )  # fmt: skip
    cached = assemble(RunSession(chosen, prepared, Workplace(CPU, Console(file=io.StringIO())), published()))
    assert isinstance(cached.loaders["train"], FeatureLoader)
    assert "features.net.conv1.weight" in cached.state.whole_state(cached.state.model) or any(
        key.startswith("features.") for key in cached.state.frozen_state
    )

    weights = published()
    torch.manual_seed(chosen.seed)
    model, _ = build_pretrained(chosen, prepared, weights, CPU)
    steps = prepared.loaders["train"].num_batches
    groups = transfer_groups(model, chosen, steps)
    plain = TrainState(
        model=model,
        optimizer=make_optimizer(groups, chosen.training),
        groups=groups,
        schedule=make_schedule(chosen.training, steps),
        criterion=make_criterion(chosen.training, prepared.class_counts, CPU),
        augment=chosen.augment,
        spec=prepared.spec,
        num_classes=3,
        seed=chosen.seed,
    )
    begun = {name: value.clone() for name, value in model.head.state_dict().items()}
    for name, value in cached.state.model.state_dict().items():
        assert torch.equal(value, begun[name]), "not the same start"
    model.train()
    cached.state.model.train()
    for epoch in range(chosen.training.epochs):
        both = zip(cached.loaders["train"].epoch(epoch), prepared.loaders["train"].epoch(epoch), strict=True)
        for features, pixels in both:
            mine, theirs = train_step(cached.state, features), train_step(plain, pixels)
            assert float(mine.loss) == pytest.approx(float(theirs.loss), abs=1e-5)
    whole = cached.state.whole_state(cached.state.model)
    assert set(whole) == set(model.state_dict())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(whole[name], value, atol=1e-5, rtol=0, msg=name)
    assert not torch.equal(whole["head.3.weight"], begun["3.weight"]), "nothing was learned"


def test_what_is_printed_is_measured(data):
    """Seconds for one pass of the backbone over the training images, whatever the number of variants."""
    prepared, features = prepared_of(data), backbone()
    calls = []

    class Counting(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return features(x)

    for variants in (1, 4):
        calls.clear()
        cached = cached_of(prepared, Counting(), variants=variants)
        train, val = (len(prepared.loaders[side].indices) for side in ("train", "val"))
        assert sum(calls) == variants * train + val, "an image more than once per variant"
        assert 0 < cached.plain_epoch_s * variants <= cached.seconds_s
