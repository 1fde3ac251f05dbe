import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as TF

from catseye.data import augment, mixing
from catseye.data.loaders import Batch
from catseye.errors import UsageError
from catseye.lab.bench import Workbench
from catseye.lab.chapters.augmentation import answers
from catseye.lab.chapters.augmentation import maths as augmentations
from catseye.lab.images import built_in
from catseye.models import registry
from catseye.seeds import derive
from catseye.settings.schema import AugmentSettings
from catseye.training import step as step_module
from catseye.training.losses import Criterion
from catseye.training.step import TrainState, train_step

STRENGTHS = {one.key: one.shown for one in augmentations.TRANSFORMS}
SIDE = 48


@pytest.fixture(scope="module")
def image():
    return built_in()["street"]


@pytest.fixture(scope="module")
def spec(image):
    return augmentations.spec_of(image.pixels, SIDE)


def draws(image, spec, strengths, **more):
    drawn = {"num": 6, "seed": 3, "step": 11, **more}
    return augmentations.batch_of(image.pil, augmentations.augment_settings(strengths), spec, **drawn)


def test_every_transform_of_the_settings_is_there():
    switches = {"hflip_alternate", "crop_padding"}  # how a mirror image or a shift is made, not how strong it is
    mixed = {"mixup_alpha", "cutmix_alpha"}
    assert set(STRENGTHS) == set(AugmentSettings.model_fields) - switches - mixed
    for one in augmentations.TRANSFORMS:
        assert hasattr(augment, one.function)
        assert min(one.low, one.high) <= one.shown <= max(one.low, one.high)
        assert "{x}" in one.meaning


@pytest.mark.parametrize("one", augmentations.TRANSFORMS, ids=lambda one: one.key)
def test_off_changes_nothing_and_more_changes_more(one, image, spec):
    plain = draws(image, spec, {})
    assert torch.equal(draws(image, spec, {one.key: one.low}), plain)
    if one.key == "hflip":  # a probability of 1 mirrors all
        assert torch.equal(draws(image, spec, {"hflip": 1.0}), plain.flip(-1))
        return
    weak, strong = (one.low + (one.high - one.low) * share for share in (0.2, 1.0))
    if one.key == "crop_padding_px":
        weak, strong = 2, 24
    distances = [float((draws(image, spec, {one.key: x}) - plain).abs().mean()) for x in (weak, strong)]
    assert 0 < distances[0] < distances[1]


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation"])
def test_the_largest_factor_is_torchvisions(key, image, spec):
    """Of many draws the extreme ones come near 1 - x and 1 + x, and each is torchvision's image for some factor."""
    name = {"brightness": "adjust_brightness", "contrast": "adjust_contrast", "saturation": "adjust_saturation"}[key]
    strength, num = 0.4, 200
    plain = draws(image, spec, {}, num=1)
    unit = plain * torch.tensor(spec.std).view(1, -1, 1, 1) + torch.tensor(spec.mean).view(1, -1, 1, 1)
    batch = draws(image, spec, {key: strength}, num=num)
    generator = torch.Generator().manual_seed(derive(3, "augment", 11))
    factors = 1 + (torch.rand((num, 1, 1, 1), generator=generator) * 2 - 1) * strength
    assert factors.min() < 0.62
    assert factors.max() > 1.38
    for index in (int(factors.argmin()), int(factors.argmax()), 7):
        wanted = getattr(TF, name)(unit[0].clamp(0, 1), float(factors[index]))
        wanted = augment.normalise_batch(wanted[None], spec)[0]
        assert torch.allclose(batch[index], wanted, atol=0.01)


def test_noise_has_its_standard_deviation(spec):
    grey = Image.fromarray(np.full((SIDE, SIDE, 3), 128, np.uint8))
    batch = augmentations.batch_of(
        grey, augmentations.augment_settings({"noise_std": 0.1}), spec, num=8, seed=0, step=0
    )
    unit = batch * torch.tensor(spec.std).view(1, -1, 1, 1)
    assert unit.std((0, 2, 3)).tolist() == pytest.approx([0.1] * 3, rel=0.02)


def test_the_batch_is_the_one_that_the_training_step_makes(image, spec, monkeypatch):
    """Step 5 of a run with seed 9 augments these very values."""
    strengths = {key: value for key, value in STRENGTHS.items() if key != "crop_scale"}
    settings = augmentations.augment_settings(strengths)
    shown = augmentations.batch_of(image.pil, settings, spec, num=4, seed=9, step=5)
    stored = augmentations._stored(image.pil, settings, spec, 9, 0, 0)
    pixels = torch.from_numpy(np.stack([stored] * 4)).permute(0, 3, 1, 2)
    seen = []
    original = step_module.mix_batch
    monkeypatch.setattr(step_module, "mix_batch", lambda x, *rest: seen.append(x) or original(x, *rest))
    model = registry.create("residual", num_classes=2, input_px=SIDE)
    trainer = TrainState(
        model, torch.optim.SGD(model.parameters(), lr=0.1), lambda step: (0.1, 0.9),
        Criterion(None, 0.0), settings, spec, 2, seed=9, step=5,
    )  # fmt: skip
    train_step(trainer, Batch(pixels, torch.tensor([0, 1, 0, 1]), torch.arange(4), 0, 0, 0, None))
    assert torch.equal(seen[0], shown)


def test_a_seed_and_a_step_name_the_draw(image, spec):
    once = draws(image, spec, STRENGTHS)
    assert torch.equal(once, draws(image, spec, STRENGTHS))
    assert not torch.equal(once, draws(image, spec, STRENGTHS, step=12))
    assert not torch.equal(once, draws(image, spec, STRENGTHS, seed=4))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_labels_sum_to_one_and_are_mixings_own(kind):
    images = [np.full((20, 20, 3), level, np.uint8) for level in (0, 80, 160, 255)]
    settings = augmentations.augment_settings({f"{kind}_alpha": 1.0})
    x, targets = augmentations.mixed_batch(images, range(4), settings, seed=1, step=2)
    assert torch.allclose(targets.sum(1), torch.ones(4))
    assert (targets > 0).sum(1).max() == 2
    generator = torch.Generator().manual_seed(derive(1, "augment", 2))
    plain = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    wanted, truth = getattr(mixing, kind)(plain, torch.eye(4), 1.0, generator)
    assert torch.equal(x, wanted)
    assert torch.equal(targets, truth)
    # Of plain images the mean says which shares were mixed.
    levels = torch.tensor([0, 80, 160, 255]) / 255
    assert torch.allclose(x.mean((1, 2, 3)), targets @ levels, atol=1e-5)


def test_alpha_zero_mixes_nothing():
    images = [np.full((8, 8, 1), level, np.uint8) for level in (10, 200)]
    x, targets = augmentations.mixed_batch(images, [0, 1], augmentations.augment_settings({}), seed=0, step=0)
    assert torch.equal(targets, torch.eye(2))
    assert x[1].mean() == pytest.approx(200 / 255)


def test_unknown_names_and_wrong_strengths_are_refused():
    with pytest.raises(UsageError, match="rotate_deg"):
        augmentations.augment_settings({"rotate_dge": 3})
    with pytest.raises(UsageError, match="rotate_deg"):
        augmentations.augment_settings({"rotate_deg": 300})


def test_the_answers(image):
    bench = Workbench()
    found = answers.draw(bench, answers.Draw(image="street", strengths={"hflip": 1.0}))
    shown = np.array(Image.open(io.BytesIO(_decoded(found["images"][0]))))
    original = np.array(Image.open(io.BytesIO(_decoded(found["original"]))))
    assert np.array_equal(shown, original[:, ::-1])
    mirrored = TF.horizontal_flip(torch.from_numpy(original).permute(2, 0, 1)).permute(1, 2, 0)
    assert np.array_equal(shown, mirrored.numpy())
    assert found["shape"] == [8, 3, 96, 96]
    assert found["mean"] == pytest.approx([0, 0, 0], abs=0.03)
    assert found["std"] == pytest.approx([1, 1, 1], abs=0.05)
    grey = answers.draw(bench, answers.Draw(image="digit-4", strengths={"saturation": 0.5, "rotate_deg": 15}))
    assert grey["shape"] == [8, 1, 32, 32]
    assert "saturation" not in grey["command"]
    mixed = answers.mix(bench, answers.Mix(kind="cutmix", image="street"))
    assert len(mixed["classes"]) == len(mixed["images"]) == len(mixed["targets"])


def _decoded(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])
