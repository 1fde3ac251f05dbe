import pytest
import torch
import torch.nn.functional as F

import catseye
from catseye.errors import UsageError
from catseye.explanation.gradient_flow import (
    FACTOR,
    INITIALISATIONS,
    arithmetic,
    gradient_flow,
    layer_gradients,
)
from catseye.models import registry
from catseye.models.summary import summarise


def tower(**options):
    torch.manual_seed(0)
    return registry.create("tower", num_classes=4, in_channels=1, input_px=8, **options)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 1, 8, 8, generator=generator).double(), torch.arange(6) % 4


def test_the_textbooks_arithmetic():
    assert arithmetic(50) == pytest.approx(1.784e-5, rel=1e-3)  # the article rounds it to 0.00001
    assert gradient_flow(10, num_steps=0).arithmetic == 0.8**9


@pytest.mark.parametrize("skip", [False, True])
def test_the_norms_are_those_of_a_network_written_out_by_hand(skip, batch):
    """Depth 6, every layer as a function call, every intermediate result kept, and autograd asked for each."""
    x, labels = batch
    model = tower(depth=6, width=0.25, skip=skip, norm=False).double()
    kernels = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def conv(name, x):
        return F.conv2d(x, kernels[f"features.{name}.weight"], kernels[f"features.{name}.bias"], padding=1)

    outputs = [F.relu(conv("0.0.0", x))]
    for block in (1, 2):
        inside = F.relu(conv(f"{block}.conv1.0", outputs[-1]))
        after = conv(f"{block}.conv2.0", inside)
        outputs += [inside, F.relu(after + outputs[-1] if skip else after)]
    logits = F.linear(outputs[-1].mean((2, 3)), kernels["head.2.weight"], kernels["head.2.bias"])
    loss = F.cross_entropy(logits, labels)
    names = ["0.0.0", "1.conv1.0", "1.conv2.0", "2.conv1.0", "2.conv2.0"]
    wanted = torch.autograd.grad(loss, [*outputs, *(kernels[f"features.{name}.weight"] for name in names)])
    found = layer_gradients(model, x, labels)
    assert [*found.signal, *found.weights] == pytest.approx([float(one.norm()) for one in wanted], rel=1e-10)


@pytest.mark.parametrize(("skip", "block"), [(False, FACTOR**2), (True, 1 + FACTOR**2)])
def test_layers_that_multiply_by_point_eight_do_what_the_textbook_says(skip, block):
    """An image of one pixel and kernels of one number make a tower a chain of multiplications."""
    model = tower(depth=50, width=1 / 16, skip=skip, norm=False).double()
    with torch.no_grad():
        for layer in model.features.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.zero_()[:, :, 1, 1] = FACTOR
                layer.bias.zero_()
    flow = layer_gradients(model, torch.ones(1, 1, 1, 1).double(), torch.tensor([0]))
    assert len(flow.signal) == 49  # the 50th layer is the linear one
    assert flow.share == pytest.approx(block**24)
    if not skip:
        assert flow.per_layer == pytest.approx(FACTOR)
        assert flow.share * FACTOR == pytest.approx(arithmetic(50))


def test_measuring_changes_nothing(batch):
    model = tower(depth=6, width=0.25).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_gradients(model, *batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_skips_keep_the_gradient_and_plain_layers_lose_it():
    flow = gradient_flow(50, num_steps=0)
    assert flow.plain.after is None
    assert len(flow.plain.start.signal) == len(flow.plain.start.weights) == 49
    assert flow.plain.start.share < arithmetic(50)  # PyTorch's default loses more than 0.8 a layer
    assert 0.5 < flow.residual.start.share < 50


def test_the_residual_one_learns_faster():
    flow = gradient_flow(20, num_steps=30, norm=True)
    plain, residual = (sum(one.losses[-5:]) / 5 for one in (flow.plain, flow.residual))
    assert residual < plain - 0.15
    assert residual < 2.0  # log 10 = 2.30 is guessing
    assert flow.residual.after != flow.residual.start


def test_the_same_seed_gives_the_same():
    assert gradient_flow(10, num_steps=3) == gradient_flow(10, num_steps=3)
    assert gradient_flow(10, num_steps=0, seed=1) != gradient_flow(10, num_steps=0)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_the_initialisation_sets_the_factor(initialisation):
    """One ReLU layer passes half the variance on: fan · variance / 2, less the zeros at the edge."""
    expected = {"pytorch": (1 / 6) ** 0.5, "glorot": 0.5**0.5, "he": 1.0}[initialisation]
    found = gradient_flow(40, num_steps=0, initialisation=initialisation).plain.start.per_layer
    assert 0.75 * expected < found < 1.05 * expected


@pytest.mark.parametrize("depth", [8, 9, 51, 102])
def test_a_depth_that_cannot_be_built_is_refused(depth):
    with pytest.raises(UsageError, match="even number from 10 to 100"):
        gradient_flow(depth)
    with pytest.raises(UsageError, match="pytorch, glorot, he"):
        gradient_flow(10, initialisation="zero")


@pytest.mark.parametrize("depth", [4, 10, 50])
def test_depth_counts_the_layers_with_weights(depth):
    model = tower(depth=depth)
    rows = [row for row in summarise(model, (1, 8, 8)).rows if row.kind in ("Conv2d", "Linear")]
    assert len(rows) == depth
    with pytest.raises(UsageError, match="4, 6, 8"):
        tower(depth=depth + 1)


@pytest.mark.slow
def test_the_losses_that_explain_shows_are_of_networks_that_learn(tmp_path):
    """As chapter 5 of the lab: without normalisation neither learns in so few steps."""
    shown = catseye.explain_gradient_flow(depth=10, steps=15, out=tmp_path)
    losses = shown.facts["losses_with_norm"]
    assert losses["residual"][-1] < 0.8 * losses["residual"][0]
    assert losses["residual"] != shown.facts["residual"]["losses"]
    assert "normalised, with skips" in (tmp_path / "index.html").read_text()
