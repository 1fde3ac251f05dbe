import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as oracle
from PIL import Image
from torch import Tensor

from catseye.data import augment
from catseye.preprocess import fit_to_square, normalise
from catseye.settings.schema import AugmentSettings
from tests.conftest import random_pixels

UNIT = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.999])  # what the generator is made to draw, image by image


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floats(n: int = 5, channels: int = 3, height: int = 12, width: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, height, width, generator=seeded(seed))


def pixels(n: int = 5, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    return torch.randint(1, 256, (n, channels, height, width), dtype=torch.uint8, generator=seeded(1))


IMAGES = {channels: floats(channels=channels) for channels in (1, 3)}


@pytest.fixture
def draws(monkeypatch):
    """Makes torch.rand return UNIT, one value per image."""

    def rand(*shape: int, **options: object) -> Tensor:
        return UNIT.view(*shape)

    monkeypatch.setattr(torch, "rand", rand)


PER_BATCH = {
    "horizontal_flip": (lambda x, g, s: augment.horizontal_flip(x, s, g), 0.5),
    "random_crop": (lambda x, g, s: augment.random_crop(x, s, g), 4),
    "rotate": (lambda x, g, s: augment.rotate(x, s, g), 15.0),
    "brightness": (lambda x, g, s: augment.random_brightness(x, s, g), 0.4),
    "contrast": (lambda x, g, s: augment.contrast(x, s, g), 0.4),
    "saturation": (lambda x, g, s: augment.saturation(x, s, g), 0.4),
    "gaussian_noise": (lambda x, g, s: augment.gaussian_noise(x, s, g), 0.1),
    "random_erase": (lambda x, g, s: augment.random_erase(x, s, g), 0.5),
}


@pytest.mark.parametrize("name", PER_BATCH)
def test_shape_type_range_and_input_are_kept(name):
    apply, strength = PER_BATCH[name]
    x = floats()
    before = x.clone()
    result = apply(x, seeded(), strength)
    assert result.shape == x.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(x, before), "the input was changed in place"


@pytest.mark.parametrize("name", PER_BATCH)
def test_strength_zero_changes_nothing(name):
    apply, _ = PER_BATCH[name]
    x = floats()
    torch.testing.assert_close(apply(x, seeded(), 0), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PER_BATCH)
def test_the_generator_alone_decides(name):
    apply, strength = PER_BATCH[name]
    x = floats(8)
    torch.manual_seed(1)
    first = apply(x, seeded(3), strength)
    torch.manual_seed(2)
    assert torch.equal(first, apply(x, seeded(3), strength))
    assert not torch.equal(first, apply(x, seeded(4), strength))


@pytest.mark.parametrize("name", PER_BATCH)
def test_every_image_is_drawn_for_itself(name):
    apply, strength = PER_BATCH[name]
    equal = floats(1).expand(16, -1, -1, -1)
    assert len({result.numpy().tobytes() for result in apply(equal, seeded(), strength)}) > 1


def test_flip_is_torchvisions():
    x = floats()
    assert torch.equal(augment.horizontal_flip(x, 1.0, seeded()), oracle.horizontal_flip(x))
    flipped = augment.horizontal_flip(x.repeat(40, 1, 1, 1), 0.25, seeded())
    mirrored = (flipped == oracle.horizontal_flip(x).repeat(40, 1, 1, 1)).all(dim=(1, 2, 3))
    kept = (flipped == x.repeat(40, 1, 1, 1)).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 30 < mirrored.sum() < 70  # 50 of 200 expected


@pytest.mark.parametrize("padding", [1, 3])
def test_random_crop_is_a_shift_of_the_padded_image(padding):
    x = pixels(60)
    h, w = x.shape[2:]
    padded = F.pad(x, (padding,) * 4)
    result = augment.random_crop(x, padding, seeded())
    assert result.dtype == torch.uint8
    places = []
    for index in range(len(x)):
        matches = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if torch.equal(result[index], padded[index, :, top : top + h, left : left + w])
        ]
        assert len(matches) == 1
        places += matches
    rows, columns = zip(*places, strict=True)
    assert set(rows) == set(columns) == set(range(2 * padding + 1))
    assert rows != columns


def test_rotate_is_torchvisions(draws):
    x = IMAGES[3]
    result = augment.rotate(x, 40.0, seeded())
    for image, got, draw in zip(x, result, UNIT, strict=True):
        angle = float((draw * 2 - 1) * 40)
        wanted = oracle.rotate(image, angle, interpolation=oracle.InterpolationMode.BILINEAR)
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (augment.random_brightness, oracle.adjust_brightness),
        (augment.contrast, oracle.adjust_contrast),
        (augment.saturation, oracle.adjust_saturation),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_is_torchvisions(ours, theirs, channels, draws):
    x = IMAGES[channels]
    result = ours(x, 0.6, seeded())
    for image, got, draw in zip(x, result, UNIT, strict=True):
        wanted = theirs(image, float(1 + (draw * 2 - 1) * 0.6))
        torch.testing.assert_close(got, wanted, rtol=0, atol=5e-4)


def test_the_order_of_colours_is_red_green_blue():
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    grey = augment.saturation(red.expand(64, 3, 4, 4), 1.0, seeded()).mean(dim=(2, 3))
    torch.testing.assert_close(grey[:, 1], grey[:, 2])
    # At factor f a red pixel becomes 0.299 + 0.701 f, and its green 0.299 (1 - f).
    inside = grey[:, 0] < 1
    factor = (grey[inside, 0] - 0.299) / 0.701
    torch.testing.assert_close(grey[inside, 1], 0.299 * (1 - factor))
    assert inside.any()


def test_noise_has_the_stated_deviation():
    x = torch.full((4, 3, 64, 64), 0.5)
    noise = augment.gaussian_noise(x, 0.1, seeded()) - x
    assert abs(float(noise.mean())) < 0.002
    assert abs(float(noise.std()) - 0.1) < 0.002
    assert abs(np.corrcoef(noise[0].flatten(), noise[1].flatten())[0, 1]) < 0.05


def test_erase_blanks_one_rectangle_of_the_stated_size():
    x = torch.ones(300, 3, 32, 32)
    blank = augment.random_erase(x, 1.0, seeded()) == 0
    shares, ratios = [], []
    for channels in blank:
        assert torch.equal(channels[0], channels[1])
        rows, columns = channels[0].any(1).nonzero(), channels[0].any(0).nonzero()
        height, width = (int(side[-1] - side[0]) + 1 for side in (rows, columns))
        assert int(channels[0].sum()) == height * width, "no rectangle"
        shares.append(height * width / 1024)
        ratios.append(height / width)
    # Rounding moves each side by half a pixel at most, which counts most for the smallest rectangle (2.5 x 8).
    assert 0.011 < min(shares) < 0.05
    assert 0.28 < max(shares) < 0.36
    assert 0.2 < min(ratios) < 0.45
    assert 2.2 < max(ratios) < 5


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 40)])
def test_erase_reaches_every_corner(height, width):
    blank = augment.random_erase(torch.ones(800, 1, height, width), 1.0, seeded()) == 0
    reached = blank.any(0)[0]
    assert reached[0, 0]
    assert reached[0, -1]
    assert reached[-1, 0]
    assert reached[-1, -1]
    assert blank.float().mean(dim=(1, 2, 3)).max() < 0.4


def test_erase_leaves_the_rest_alone():
    x = floats(50) + 0.1
    result = augment.random_erase(x, 0.5, seeded())
    assert torch.equal(torch.where(result == 0, x, result), x)
    touched = (result == 0).any(dim=1).any(dim=1).any(dim=1)
    assert 12 < touched.sum() < 38


# --- random resized crop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("min_area", [0.08, 0.5])
def test_random_resized_crop_keeps_area_and_ratio(min_area, make_spec, monkeypatch):
    parts: list[Image.Image] = []
    monkeypatch.setattr(augment, "fit_to_square", lambda part, spec: parts.append(part) or part)
    image = Image.fromarray(random_pixels(0, 200, 300))
    for seed in range(300):
        augment.random_resized_crop(image, make_spec(), min_area, random.Random(seed))
    shares = np.array([part.width * part.height for part in parts]) / (200 * 300)
    ratios = np.array([part.width / part.height for part in parts])
    assert min_area * 0.95 < shares.min() < min_area + 0.05
    assert 0.85 < shares.max() <= 1
    # Where no cut of that ratio fits, the whole image is taken; it has the ratio 3 / 2.
    cut = shares < 1
    assert 0.73 < ratios[cut].min() < 0.8
    assert 1.25 < ratios[cut].max() < 1.36
    assert len(set(shares)) > 100


def test_random_resized_crop_reaches_every_corner_and_fills_the_input(make_spec):
    image = Image.new("RGB", (60, 60))
    corners = {(0, 0): (255, 0, 0), (59, 0): (0, 255, 0), (0, 59): (0, 0, 255), (59, 59): (255, 255, 255)}
    for place, colour in corners.items():
        image.putpixel(place, colour)
    seen = np.zeros((16, 16, 3))
    for seed in range(300):
        part = augment.random_resized_crop(image, make_spec(16, resize="pad", fill=9), 0.3, random.Random(seed))
        assert part.size == (16, 16)
        values = np.asarray(part)
        assert not (values == 9).all(axis=2).any(), "padding in a crop"
        seen = np.maximum(seen, values)
    assert seen[0, 0, 0] > 5
    assert seen[0, 15, 1] > 5
    assert seen[15, 0, 2] > 5
    assert seen[15, 15].min() > 5


def test_a_image_that_no_crop_fits_gets_the_evaluation_resize(make_spec):
    image = Image.fromarray(random_pixels(0, 2, 90))
    got = augment.random_resized_crop(image, make_spec(), 0.9, random.Random(0))
    assert got.tobytes() == fit_to_square(image, make_spec()).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3)])
def test_random_resized_crop_takes_the_smallest_images(size, make_spec):
    for seed in range(20):
        crop = augment.random_resized_crop(Image.new("L", size, 7), make_spec(), 0.08, random.Random(seed))
        assert crop.size == (8, 8)


# --- the whole of it ----------------------------------------------------------------------------------------------


def test_without_augmentation_training_sees_what_evaluation_sees(make_spec):
    x = pixels(4)
    spec = make_spec(12, 16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    got = augment.augment_batch(x, AugmentSettings(), spec, seeded())
    wanted = oracle.normalize(x.float() / 255, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(got, torch.from_numpy(normalise(x.permute(0, 2, 3, 1).numpy(), spec)))


EVERYTHING = {
    "hflip": 0.5,
    "rotate_deg": 15,
    "crop_padding_px": 2,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "noise_std": 0.05,
    "erase": 0.5,
}


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once(channels, make_spec):
    x = pixels(16, channels)
    before = x.clone()
    result = augment.augment_batch(x, AugmentSettings(**EVERYTHING), make_spec(12, 16, channels), seeded())
    assert result.shape == x.shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    # mean 0.5 and std 0.25: values of [0, 1] become [-2, 2].
    assert result.abs().max() <= 2
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_setting_does_something(name, make_spec):
    x, spec = pixels(16), make_spec(12, 16)
    plain = augment.augment_batch(x, AugmentSettings(), spec, seeded())
    assert not torch.equal(plain, augment.augment_batch(x, AugmentSettings(**{name: EVERYTHING[name]}), spec, seeded()))


def test_erased_places_are_the_mean_colour(make_spec):
    x = torch.full((8, 3, 12, 16), 255, dtype=torch.uint8)
    result = augment.augment_batch(x, AugmentSettings(erase=1), make_spec(12, 16), seeded())
    assert set(result.unique().tolist()) == {0.0, 2.0}


def test_alternating_flips_show_each_image_both_ways_in_two_epochs():
    x, indices = floats(64), torch.arange(64)
    first, second, third = (augment.alternating_flip(x, 0.5, indices, epoch) for epoch in range(3))
    mirrored = (first == x.flip(-1)).all(dim=(1, 2, 3))
    assert 24 <= mirrored.sum() <= 40
    assert torch.equal((second == x.flip(-1)).all(dim=(1, 2, 3)), ~mirrored)
    assert torch.equal(first, third)
    order = torch.randperm(64, generator=seeded())
    assert torch.equal(augment.alternating_flip(x[order], 0.5, indices[order], 0), first[order])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_alternating_flips_keep_their_share(share):
    x, indices = floats(40), torch.arange(40)
    flips = sum((augment.alternating_flip(x, share, indices, e) != x).any(dim=(1, 2, 3)).int() for e in range(8))
    assert (flips == round(8 * share)).all()


def test_reflected_padding_is_torchs():
    x = pixels()
    wanted = torch.nn.functional.pad(x.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
    got = augment.random_crop(x, 3, seeded(), fill="reflect")
    h, w = x.shape[2:]
    for image, source in zip(got, wanted, strict=True):
        places = [source[:, i : i + h, j : j + w] for i in range(7) for j in range(7)]
        assert any(torch.equal(image, place) for place in places)
    assert not torch.equal(got, augment.random_crop(x, 3, seeded()))


def test_a_smaller_batch_is_torchvisions_resize():
    x = floats(4, 3, 32, 32)
    wanted = oracle.resize(x, [24, 24], antialias=True)
    torch.testing.assert_close(augment.resize_batch(x, 24), wanted, atol=1e-5, rtol=0)
