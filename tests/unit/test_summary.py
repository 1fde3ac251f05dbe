import json

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.summary import output_size, summarise, summary_table
from catseye.settings.typed import parse_shape

NETWORKS = [("lenet5", {}), ("simple", {}), ("residual", {}), ("residual", {"skip": False})]


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
def test_the_formula_is_torchs(size, kernel, stride, padding, dilation):
    assume(size + 2 * padding > dilation * (kernel - 1))
    x = torch.empty(1, 1, size, size, device="meta")
    layer = nn.Conv2d(1, 1, kernel, stride, padding, dilation, device="meta")
    wanted = layer(x).shape[-1]
    assert output_size(size, kernel, stride=stride, padding=padding, dilation=dilation) == wanted
    if 2 * padding <= kernel:
        pool = nn.MaxPool2d(kernel, stride, padding, dilation)
        assert pool(x).shape[-1] == wanted


def test_the_sizes_of_the_source_article():
    assert output_size(32, 3) == 30
    assert output_size(32, 3, padding=1) == 32
    assert output_size(32, 3, stride=2, padding=1) == 16


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 64, 64)])
def test_totals_are_torchs_own_counts(name, options, shape):
    model = registry.create(name, num_classes=10, in_channels=shape[0], input_px=shape[1], **options)
    summary = summarise(model, shape)
    assert summary.num_parameters == sum(row.num_parameters for row in summary.rows)
    assert summary.num_parameters == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    assert summary.num_macs == counter.get_total_flops() / 2
    assert summary.rows[-1].output_shape == (10,)


def test_multiply_adds_of_lenet5_by_hand():
    rows = summarise(registry.create("lenet5", num_classes=10, in_channels=1), (1, 32, 32)).rows
    macs = [row.num_macs for row in rows if row.num_macs]
    assert macs == [25 * 6 * 28 * 28, 150 * 16 * 10 * 10, 400 * 120, 120 * 84, 84 * 10]


def test_the_dimension_flow_of_simple():
    rows = summarise(registry.create("simple", num_classes=10), (3, 32, 32)).rows
    shapes = {row.output_shape for row in rows}
    assert {(32, 16, 16), (64, 8, 8), (128, 4, 4), (2048,), (256,), (10,)} <= shapes
    assert [row.kind for row in rows[:4]] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]


class Net(nn.Module):
    """Layers in a row, with a name for each."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def seen_by_the_centre(model: nn.Module, channels: int, side: int) -> int:
    """The side of the input region from which a gradient reaches the output's centre."""
    model = model.eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    y = model.double()(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    rows = (x.grad[0, 0] != 0).any(1).nonzero()
    return int(rows[-1] - rows[0]) + 1


def conv(kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(1, 1, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation)


@pytest.mark.parametrize(
    ("layers", "known"),
    [
        (lambda: [conv(3)], 3),
        (lambda: [conv(3), conv(3)], 5),
        (lambda: [conv(5)], 5),
        (lambda: [conv(3), conv(3), conv(3)], 7),
        (lambda: [conv(3), nn.AvgPool2d(2), conv(3)], 8),
        (lambda: [conv(3, stride=2), nn.ReLU(), conv(3)], 7),
        (lambda: [conv(3, dilation=2), nn.BatchNorm2d(1), conv(1)], 5),
        (lambda: [nn.MaxPool2d(2), conv(5)], 10),
        (lambda: [conv(3, stride=2), conv(3, stride=2), conv(3, stride=2)], 15),
    ],
)
def test_receptive_fields_are_where_gradients_come_from(layers, known):
    model = Net(*layers())
    assert summarise(model, (1, 64, 64)).rows[-1].receptive_px == known
    if not any(isinstance(layer, nn.MaxPool2d) for layer in model.modules()):
        # The gradient of a maximum goes to one place only.
        assert seen_by_the_centre(model, 1, 64) == known


@pytest.mark.parametrize("skip", [True, False])
def test_the_receptive_field_of_residual(skip):
    model = registry.create("residual", num_classes=2, input_px=96, skip=skip)
    rows = summarise(model, (3, 96, 96)).rows
    last = [row for row in rows if row.name.startswith("features")][-1]
    assert last.receptive_px == seen_by_the_centre(model.features, 3, 96) == 53
    assert rows[-1].receptive_px == 96


def test_a_receptive_field_ends_at_the_image():
    rows = summarise(registry.create("simple", num_classes=2), (3, 32, 32)).rows
    assert rows[-1].receptive_px == 32
    assert max(row.receptive_px for row in rows) == 32


@pytest.mark.parametrize("training", [True, False])
def test_summarise_leaves_the_model_as_it_was(training):
    model = registry.create("residual", num_classes=2).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summarise(model, (3, 32, 32))
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_layer_that_breaks_the_formula_is_noticed():
    layer = nn.Conv2d(3, 4, 3)
    layer.forward = lambda x: nn.Conv2d.forward(layer, x)[..., 1:]
    with pytest.raises(AssertionError, match="formula 30"):
        summarise(Net(layer), (3, 32, 32))


def test_summary_as_json_and_as_a_table():
    summary = summarise(registry.create("lenet5", num_classes=10, in_channels=1), (1, 32, 32))
    content = json.loads(json.dumps(summary.to_json()))
    assert content["num_parameters"] == 61_706
    assert content["rows"][0]["output_shape"] == [6, 28, 28]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(summary_table(summary))
    assert "6 x 28 x 28" in capture.get()
    assert "48,120" in capture.get()


@pytest.mark.parametrize("width", [80, 100])
def test_long_names_are_shortened_in_the_middle(width):
    summary = summarise(registry.create("timm:tf_efficientnet_lite0", num_classes=10, input_px=64), (3, 64, 64))
    console = Console(width=300)
    with console.capture() as capture:
        console.print(summary_table(summary, width))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith(" features") and "conv_dw" in line for line in lines)
    assert width > 80 or any("…" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        *("", "32", "3x32", "32x32", "3x32x32x3", "axbxc", "3x-1x-1", "3x0x0", "2x32x32"),
        *("3x2000x2000", "3 32 32", "3x3.5x3.5", "3x3²x3²", "3x" + "9" * 5000 + "x32"),
    ],
)
def test_a_shape_that_no_network_takes_is_refused(text):
    with pytest.raises(UsageError, match="--input"):
        parse_shape(text)


def test_a_shape_is_read():
    assert parse_shape("1X28X28") == (1, 28, 28)
