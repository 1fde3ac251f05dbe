"""Feature maps, filters and receptive fields: what hooks read, against the network taken apart and autograd."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from catseye.errors import UnknownName, UsageError
from catseye.explanation.feature_maps import (
    channels_first,
    feature_map_figure,
    feature_maps,
    find_layer,
    output_of,
    top_patches,
)
from catseye.explanation.kernels import filter_figure, filter_image, first_filters
from catseye.explanation.receptive_field import gradient_field, map_side, receptive_field, receptive_field_figure
from catseye.models import registry
from catseye.models.summary import summarise


def create(name: str, channels: int = 3, side: int = 32, **options) -> nn.Module:
    torch.manual_seed(0)
    return registry.create(name, num_classes=4, in_channels=channels, input_px=side, **options).eval()


def test_maps_are_what_the_layers_give():
    model, x = create("simple"), torch.randn(1, 3, 32, 32)
    found = feature_maps(model, x, "features.0.0.0")
    first = find_layer(model, "features.0.0.0")
    torch.testing.assert_close(found.maps, first(x)[0])  # the ReLU behind works in place
    strengths = found.strength[found.order]
    assert bool((strengths[:-1] >= strengths[1:]).all())
    assert not find_layer(model, "features.0.0.0")._forward_hooks
    dense = feature_maps(model, x, "head.1")
    assert dense.maps.shape == (256, 1, 1)


def test_unknown_and_unused_layers_are_refused():
    model, x = create("simple"), torch.randn(1, 3, 32, 32)
    with pytest.raises(UnknownName, match="did you mean"):
        feature_maps(model, x, "features.0.0.9")
    with pytest.raises(UnknownName):
        find_layer(model, "")
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(UsageError, match="do not pass through it"):
        output_of(model, x, "spare")
    assert not model.spare._forward_hooks


def test_channels_kept_last_are_put_first():
    assert channels_first(torch.zeros(1, 7, 7, 96)).shape == (1, 96, 7, 7)
    assert channels_first(torch.zeros(1, 96, 7, 7)).shape == (1, 96, 7, 7)
    assert channels_first(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 8, 8)


def test_top_patches_are_the_highest_of_all_images():
    model = create("simple")
    images = torch.randn(23, 3, 32, 32)
    found = top_patches(model, images.split(5), "features.1.0.0", 3, count=4)
    with torch.no_grad():
        values = output_of(model, images, "features.1.0.0")[:, 3]
    wanted = values.flatten(1).max(1).values.sort(descending=True)
    assert [one.image for one in found] == wanted.indices[:4].tolist()
    for one in found:
        assert one.value == pytest.approx(float(values[one.image, one.row, one.column]), abs=1e-5)
    with pytest.raises(UsageError, match="channels 0 to 63"):
        top_patches(model, [images], "features.1.0.0", 64)


def test_first_filters_lie_on_the_image():
    model = create("residual")
    filters = first_filters(model)
    assert filters.weights.shape == (32, 3, 3, 3)
    assert (filters.stride, filters.padding) == (1, 1)
    image = filter_image(filters.weights[0])
    assert image.shape == (3, 3, 3)
    assert image.min() >= 0
    assert image.max() <= 1
    np.testing.assert_allclose(filter_image(np.zeros((1, 5, 5), np.float32)), 0.5)
    with pytest.raises(UsageError, match="no convolution"):
        first_filters(nn.Linear(3, 3))


def positive(model: nn.Module) -> nn.Module:
    """Every weight above 0 and norms that change nothing: then every value on the way to an activation moves it."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
            layer.weight.data /= layer.weight[0].numel()
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    return model


def reached(model: nn.Module, layer: str, row: int, column: int, side: int, channels: int, tries: int) -> Tensor:
    """The pixels that autograd finds behind an activation, over several images: a maximum has one source in each."""
    seen = torch.zeros(side, side, dtype=torch.bool)
    for seed in range(tries):
        x = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(seed)).double() + 0.1
        seen |= gradient_field(model, x, layer, 0, row, column) > 0
    return seen


@pytest.mark.parametrize(
    ("name", "channels", "side", "tries"),
    [("lenet5", 1, 32, 1), ("residual", 3, 32, 1), ("simple", 3, 32, 25), ("speednet", 3, 32, 25)],
)
def test_the_box_is_what_autograd_finds(name, channels, side, tries):
    model = positive(create(name, channels, side)).double()
    summary = summarise_double(model, (channels, side, side))
    maps = [row for row in summary.rows if len(row.output_shape) == 3 and row.output_shape[1] > 1]
    for row in maps[:: max(1, len(maps) // 4)]:
        place = map_side(row) // 2
        box = receptive_field(summary, row.name, place, 0, side)
        seen = reached(model, row.name, place, 0, side, channels, tries)
        rows, columns = seen.any(1).nonzero().ravel(), seen.any(0).nonzero().ravel()
        found = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        assert found == (box.top, box.left, box.bottom, box.right), row.name


def summarise_double(model: nn.Module, shape: tuple[int, int, int]):
    """`summarise` sends single precision; the network goes there and back."""
    summary = summarise(model.float(), shape)
    model.double()
    return summary


@pytest.mark.parametrize("name", ["googlenet", "efficientnet_b0", "econvnext_tiny"])
def test_no_gradient_leaves_the_box(name):
    model, x = create(name, 3, 64), torch.randn(1, 3, 64, 64)
    summary = summarise(model, (3, 64, 64))
    maps = [row for row in summary.rows if len(row.output_shape) == 3 and map_side(row) > 1]
    for row in maps[:: max(1, len(maps) // 8)]:
        place = map_side(row) - 1
        box = receptive_field(summary, row.name, place, 0, 64)
        field = gradient_field(model, x, row.name, 0, place, 0)
        field[box.top : box.bottom, box.left : box.right] = 0
        assert float(field.sum()) == 0, row.name


def test_a_dense_layer_sees_everything_and_wrong_places_are_refused():
    model, x = create("simple"), torch.randn(1, 3, 32, 32)
    summary = summarise(model, (3, 32, 32))
    box = receptive_field(summary, "head.1", 0, 0, 32)
    assert (box.top, box.left, box.bottom, box.right) == (0, 0, 32, 32)
    assert gradient_field(model, x, "head.1", 3, 0, 0).shape == (32, 32)
    with pytest.raises(UsageError, match="rows 0 to 31 and columns 0 to 31"):
        receptive_field(summary, "features.0.0.0", 32, 0, 32)
    with pytest.raises(UsageError, match="got"):
        gradient_field(model, x, "features.0.0.0", 99, 0, 0)
    with pytest.raises(UnknownName):
        receptive_field(summary, "features", 0, 0, 32)


def test_figures_for_a_notebook():
    model, x = create("simple"), torch.randn(1, 3, 32, 32)
    pixels = np.zeros((32, 32, 3), np.uint8)
    figures = [
        feature_map_figure(feature_maps(model, x, "features.0.0.0"), count=5),
        filter_figure(first_filters(model), count=9),
        receptive_field_figure(model, x, pixels, "features.1.0.0", 2, 3, 4),
    ]
    assert all(isinstance(figure, Figure) for figure in figures)
    assert "channel" in figures[0].axes[0].get_title()
    assert figures[2].axes[0].patches
