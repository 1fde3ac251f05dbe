"""E-ConvNeXt-Tiny: the authors' size and cost, and the pieces of the paper."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.econvnext import ChannelAttention, CrossStagePartialStage, EConvNeXt, EConvNeXtBlock
from catseye.models.summary import summarise


def test_size_and_cost_are_the_authors():
    with torch.device("meta"):
        model = registry.create("econvnext_tiny", num_classes=1000, input_px=224)
    summary = summarise(model, (3, 224, 224))
    # The authors' table: 13.2 M parameters and 2.0 GFLOPs.
    assert summary.num_parameters == 13_248_520
    assert round(summary.num_macs / 1e9, 3) == 2.025


def test_the_transition_has_half_of_both_widths():
    stage = CrossStagePartialStage(64, 128, depth=3)
    assert stage.transition[0].out_channels == (64 + 128) // 2
    assert stage.past[0].out_channels == stage.through[0][0].out_channels == 48
    assert sum(isinstance(layer, EConvNeXtBlock) for layer in stage.through) == 3
    assert stage.eval()(torch.zeros(1, 64, 8, 8)).shape == (1, 128, 4, 4)


def test_one_half_goes_round_the_blocks():
    stage = CrossStagePartialStage(8, 8, depth=1, stride=1).eval()
    x = torch.randn(1, 8, 5, 5)
    inside = {}
    stage.merge.register_forward_pre_hook(lambda _, inputs: inside.setdefault("both", inputs[0]))
    with torch.no_grad():
        stage(x)
        past = stage.past(stage.transition(x))
        through = stage.through(stage.transition(x))
        assert torch.allclose(inside["both"], stage.attention(torch.cat((past, through), 1)))


def test_channel_attention_by_hand():
    attention = ChannelAttention(2)
    with torch.no_grad():
        attention.fc.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -6.0]])[:, :, None, None])
        attention.fc.bias.zero_()
        x = torch.tensor([[[[1.0, 3.0]], [[1.0, 1.0]]]])  # means 2 and 1
        # hardsigmoid(2) = 2/6 + 1/2 = 5/6; hardsigmoid(-6) = 0
        assert torch.allclose(attention(x), torch.tensor([[[[5 / 6, 15 / 6]], [[0.0, 0.0]]]]))


def test_no_layer_scale_and_no_layer_norm():
    model = EConvNeXt(10)
    assert not any(isinstance(layer, torch.nn.LayerNorm) for layer in model.modules())
    assert not any("scale" in name or "gamma" in name for name, _ in model.named_parameters())


def test_stems():
    small = registry.create("econvnext_tiny", num_classes=3, input_px=32)
    standard = registry.create("econvnext_tiny", num_classes=3, input_px=32, stem="standard")
    assert small.eval().features(torch.zeros(1, 3, 32, 32)).shape == (1, 1024, 4, 4)
    assert standard.eval().features(torch.zeros(1, 3, 32, 32)).shape == (1, 1024, 1, 1)
    assert "small-image stem" in small.notes[0]
    with pytest.raises(UsageError, match=r"32 px or more; got .* 31; model.stem=small takes smaller"):
        registry.create("econvnext_tiny", num_classes=3, input_px=31, stem="standard")


def test_learns_one_image_at_a_time():
    # Norms behind the average could not: they would see one value a channel.
    torch.manual_seed(0)
    model = registry.create("econvnext_tiny", num_classes=3, input_px=32).train()
    cross_entropy(model(torch.randn(1, 3, 32, 32)), torch.tensor([1])).backward()
    assert all(p.grad is not None for p in model.parameters())
