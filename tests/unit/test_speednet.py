import pytest
import torch

from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.speednet import Whitening, _identity_conv


def correlated(n: int = 64) -> torch.Tensor:
    """Smooth images whose channels go together, as in photographs."""
    noise = torch.randn(n, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, size=(32, 32), mode="bilinear")
    return smooth + smooth.mean(1, keepdim=True) + 0.3 * torch.randn(n, 3, 32, 32)


def test_whitened_outputs_are_uncorrelated_with_variance_one():
    x = correlated()
    layer = Whitening(3)
    layer.initialise(x)
    with torch.no_grad():
        out = layer(x)[:, :12].permute(0, 2, 3, 1).reshape(-1, 12)
        both = layer(x)
    covariance = out.T @ out / len(out)
    before = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    assert (before.T @ before / len(before)).fill_diagonal_(0).abs().max() > 0.5
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    torch.testing.assert_close(both[:, 12:], -both[:, :12])
    assert not layer.weight.requires_grad


def test_the_first_outputs_of_a_convolution_start_as_its_inputs():
    x = torch.randn(2, 5, 8, 8)
    out = _identity_conv(5, 9)(x)
    torch.testing.assert_close(out[:, :5], x)
    assert out[:, 5:].std() > 0.1


@pytest.mark.parametrize(("width", "a", "b"), [(1.0, 64, 256), (0.5, 32, 128)])
def test_parameter_count(width, a, b):
    model = registry.create("speednet", num_classes=10, width=width)
    kernels = 24 * 3 * 4 + 9 * (24 * a + a * a + a * b + b * b + b * b + b * b)
    wanted = kernels + 24 + 2 * (2 * a + 4 * b) + 10 * b
    assert sum(p.numel() for p in model.parameters()) == wanted


def test_a_deep_block_adds_a_convolution_with_a_skip_around_the_last_two():
    shallow, deep = (registry.create("speednet", num_classes=10, width=0.125, depth=depth) for depth in (2, 3))
    widths = (8, 32, 32)
    more = sum(9 * width * width + 2 * width for width in widths)
    assert sum(p.numel() for p in deep.parameters()) - sum(p.numel() for p in shallow.parameters()) == more
    block, x = deep.features[4].eval(), torch.randn(2, 32, 8, 8)
    with torch.no_grad():
        first = torch.nn.functional.gelu(block.norm1(torch.nn.functional.max_pool2d(block.conv1(x), 2)))
        block.norm3.running_var.fill_(1e12)  # the branch is silenced: what is left is the skip
        torch.testing.assert_close(block(x), torch.nn.functional.gelu(first), atol=1e-4, rtol=0)


def test_a_depth_that_there_is_not():
    with pytest.raises(UsageError, match=r"2 or 3 .* got model.depth = 4"):
        registry.create("speednet", num_classes=2, depth=4)


def test_an_input_that_is_too_small_is_refused():
    with pytest.raises(UsageError, match="16 px"):
        registry.create("speednet", num_classes=2, input_px=15)
    assert registry.create("speednet", num_classes=2, input_px=16)(torch.randn(2, 3, 16, 16)).shape == (2, 2)
