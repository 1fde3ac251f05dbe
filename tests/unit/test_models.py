import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from catseye.errors import UnknownName, UsageError
from catseye.models import registry
from catseye.models.blocks import ResidualBlock
from catseye.models.lenet import ScaledTanh
from catseye.models.residual import ResidualNet

NAMES = ["lenet5", "simple", "residual", "speednet"]  # our own small ones; the larger networks have a file of their own
TOWERS = [("tower", {"depth": 10}), ("tower", {"depth": 6, "skip": False, "norm": False})]
NETWORKS = [(name, {}) for name in NAMES] + [("residual", {"skip": False}), *TOWERS]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def images(n: int = 16, channels: int = 3, side: int = 32) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_networks_of_this_version_are_there():
    assert set(NAMES) <= {entry.name for entry in registry.entries()}
    years = [entry.year for entry in registry.entries()]
    assert years == sorted(years)
    for entry in registry.entries():
        assert entry.innovation
        assert entry.source


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_overfits_one_batch(name, options):
    torch.manual_seed(0)
    model = registry.create(name, num_classes=4, **options)
    x, labels = images(), torch.arange(16) % 4
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = 60 if options.get("norm", True) else 400  # what normalisation is good for
    for _ in range(steps):
        logits = model(x)
        if (logits.argmax(1) == labels).all():
            return
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    pytest.fail(f"16 images were not learned in {steps} steps")


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize(("num_classes", "channels", "side"), [(2, 1, 32), (10, 3, 32), (7, 3, 48), (1000, 1, 64)])
def test_the_contract_of_features_and_head(name, options, num_classes, channels, side):
    model = registry.create(name, num_classes=num_classes, in_channels=channels, input_px=side, **options).eval()
    x = images(2, channels, side)
    with torch.inference_mode():
        features = model.features(x)
        assert features.ndim == 4
        logits = model.head(features)
        assert logits.shape == (2, num_classes)
        assert torch.equal(logits, model(x))


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_every_parameter_gets_a_gradient(name, options):
    model = registry.create(name, num_classes=4, **options)
    model(images(4)).square().sum().backward()
    assert [
        key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in registry.create(name, num_classes=3).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def conv(before: int, after: int, kernel: int, *, bias: bool = True) -> int:
    return before * after * kernel**2 + after * bias


def conv_bn(before: int, after: int, kernel: int = 3) -> int:
    return conv(before, after, kernel, bias=False) + 2 * after


def lenet5_count(channels: int, classes: int) -> int:
    dense = conv(16, 120, 5) + conv(120, 84, 1) + conv(84, classes, 1)
    return conv(channels, 6, 5) + conv(6, 16, 5) + dense


def simple_count(channels: int, classes: int, side: int) -> int:
    blocks = conv_bn(channels, 32) + conv_bn(32, 64) + conv_bn(64, 128)
    return blocks + conv(128 * (side // 8) ** 2, 256, 1) + conv(256, classes, 1)


def residual_count(channels: int, classes: int, *, skip: bool = True) -> int:
    total = conv_bn(channels, 32) + conv(256, classes, 1)
    for before, after in ((32, 64), (64, 128), (128, 256)):
        total += conv_bn(before, after) + 3 * conv_bn(after, after) + skip * conv_bn(before, after, 1)
    return total


def tower_count(depth: int, channels: int, classes: int, width: int = 16) -> int:
    return conv_bn(channels, width) + (depth - 2) * conv_bn(width, width) + conv(width, classes, 1)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "side", "options", "formula", "known"),
    [
        ("lenet5", 1, 10, 32, {}, lenet5_count(1, 10), 61_706),
        ("lenet5", 3, 10, 32, {}, lenet5_count(3, 10), 62_006),
        ("lenet5", 1, 10, 64, {}, lenet5_count(1, 10), 61_706),
        ("lenet5", 1, 26, 32, {}, lenet5_count(1, 26), 63_066),
        ("simple", 3, 10, 32, {}, simple_count(3, 10, 32), 620_586),
        ("simple", 1, 2, 64, {}, simple_count(1, 2, 64), None),
        ("residual", 3, 10, 32, {}, residual_count(3, 10), 2_760_490),
        ("residual", 3, 10, 96, {}, residual_count(3, 10), 2_760_490),
        ("residual", 1, 100, 32, {}, residual_count(1, 100), None),
        ("residual", 3, 10, 32, {"skip": False}, residual_count(3, 10, skip=False), None),
        ("tower", 3, 10, 32, {}, tower_count(50, 3, 10), None),
        ("tower", 1, 5, 8, {"depth": 20, "skip": False, "width": 0.5}, tower_count(20, 1, 5, 8), None),
    ],
)
def test_the_exact_number_of_parameters(name, channels, classes, side, options, formula, known):
    model = registry.create(name, num_classes=classes, in_channels=channels, input_px=side, **options)
    assert count(model) == formula
    assert known in (None, formula)


def test_the_dimension_flow_of_simple():
    model = registry.create("simple", num_classes=10).eval()
    x, shapes = images(2), []
    for layer in (*model.features, *model.head):
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[:3] == [(32, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert (2048,) in shapes[3:5]
    assert shapes[-2:] == [(256,), (10,)]


def test_the_dimension_flow_of_lenet5_and_residual():
    lenet = registry.create("lenet5", num_classes=10, in_channels=1)
    assert lenet.features(images(2, 1)).shape == (2, 16, 5, 5)
    residual = registry.create("residual", num_classes=10)
    x, shapes = images(2), []
    for stage in residual.features:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(32, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8)]


@pytest.mark.parametrize("name", ["simple", "residual"])
def test_dropout_is_the_one_asked_for(name):
    default = {"simple": 0.5, "residual": 0.3}[name]
    for options, wanted in (({}, default), ({"dropout": 0.1}, 0.1)):
        model = registry.create(name, num_classes=2, **options)
        assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [wanted]


@pytest.mark.parametrize(("before", "after", "stride"), [(16, 16, 1), (16, 32, 1), (16, 32, 2), (16, 16, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_a_residual_block_is_torchvisions_basic_block(before, after, stride, training):
    torch.manual_seed(0)
    ours = ResidualBlock(before, after, stride=stride)
    downsample = None
    if stride > 1 or before != after:
        downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    theirs = BasicBlock(before, after, stride, downsample)
    for layer in ours.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.weight, layer.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
            for value in (layer.bias, layer.running_mean):
                nn.init.normal_(value)
    theirs.conv1.load_state_dict(ours.conv1[0].state_dict())
    theirs.bn1.load_state_dict(ours.conv1[1].state_dict())
    theirs.conv2.load_state_dict(ours.conv2[0].state_dict())
    theirs.bn2.load_state_dict(ours.conv2[1].state_dict())
    if downsample is not None:
        downsample.load_state_dict(ours.shortcut.state_dict())
    x = torch.randn(4, before, 9, 9)
    torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))


def test_a_block_does_not_change_its_input():
    x = torch.randn(2, 8, 5, 5)
    before = x.clone()
    ResidualBlock(8, 8)(x)
    assert torch.equal(x, before)


def test_no_skip_means_no_shortcut():
    def shortcuts(skip: bool) -> list[bool]:
        blocks = [layer for layer in ResidualNet(skip=skip).modules() if isinstance(layer, ResidualBlock)]
        return [block.shortcut is not None for block in blocks]

    assert shortcuts(True) == [True] * 6
    assert shortcuts(False) == [False] * 6
    block = ResidualBlock(8, 8, skip=False).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert not block(torch.rand(1, 8, 4, 4)).any()


def test_a_block_with_zero_weights_passes_its_input_on():
    block = ResidualBlock(8, 8).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_scaled_tanh_goes_through_one():
    x = torch.tensor([-1.0, 0.0, 1.0, 100.0])
    torch.testing.assert_close(ScaledTanh()(x), torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4)


def test_an_unknown_network_suggests_the_nearest():
    with pytest.raises(UnknownName, match="did you mean lenet5"):
        registry.create("lenet", num_classes=2)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("lenet5", {"dropout": 0.1}, r"model\.dropout would do nothing: lenet5 .* no options"),
        ("simple", {"skip": False}, r"model\.skip would do nothing: simple .* it has: dropout"),
    ],
)
def test_an_option_that_a_network_does_not_have_is_refused(name, options, reason):
    with pytest.raises(UsageError, match=reason):
        registry.create(name, num_classes=2, **options)


@pytest.mark.parametrize(("name", "side"), [("lenet5", 31), ("lenet5", 8), ("simple", 7)])
def test_an_input_that_is_too_small_is_refused(name, side):
    with pytest.raises(UsageError, match=rf"got data\.input_px = {side}"):
        registry.create(name, num_classes=2, input_px=side)


@pytest.mark.parametrize(("name", "side"), [("lenet5", 32), ("simple", 8), ("residual", 8)])
def test_the_smallest_input_works(name, side):
    model = registry.create(name, num_classes=2, input_px=side)
    assert model(images(2, 3, side)).shape == (2, 2)
