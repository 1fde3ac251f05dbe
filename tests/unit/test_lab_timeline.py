import json
from pathlib import Path

import pytest

from catseye.errors import UsageError
from catseye.lab.bench import Workbench
from catseye.lab.chapters.timeline import answers
from catseye.lab.chapters.timeline import maths as timeline
from catseye.models.milestones import MILESTONES

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "benchmarks" / "results" / "cifar10-timeline.json"


@pytest.mark.parametrize("one", MILESTONES, ids=lambda one: one.name)
def test_counted_and_published_sizes_agree(one):
    found = timeline.anatomy(one)
    assert found.summary.num_parameters == pytest.approx(one.parameters, rel=0.04)
    if one.name != "lenet5":
        assert found.summary.num_macs / 1e9 == pytest.approx(one.gflops, rel=0.11)


@pytest.mark.parametrize(
    ("name", "convolutions", "linear"),
    [("lenet5", 3, 2), ("alexnet", 5, 3), ("vgg16", 13, 3), ("resnet50", 53, 1), ("convnext_tiny", 58, 1)],
)
def test_layers_are_those_that_gave_the_names(name, convolutions, linear):
    """VGG-16 has 13 + 3; ResNet-50 49 + 1, and four more 1x1 on the shortcuts; ConvNeXt-T 18 blocks of 3, and 4."""
    found = timeline.anatomy(timeline.of_the_timeline(name))
    assert (found.num_convolutions, found.num_linear) == (convolutions, linear)


def test_two_small_ones_see_what_a_large_one_sees():
    found = timeline.two_for_one(32)
    assert found["two 3x3"] == {"sees_px": 5, "num_weights": 2 * 9 * 32 * 32}
    assert found["one 5x5"] == {"sees_px": 5, "num_weights": 25 * 32 * 32}


def test_the_measured_table_is_read_from_a_folder_or_a_file(tmp_path):
    from_file = timeline.read_measured(MEASURED)
    (tmp_path / "timeline.json").write_text(MEASURED.read_text())
    assert timeline.read_measured(tmp_path) == from_file
    assert from_file["data"] == "cifar10"
    assert from_file["budget_s"] == json.loads(MEASURED.read_text())["budget_s"]
    assert [row["name"] for row in from_file["rows"]][:2] == ["lenet5", "alexnet"]


@pytest.mark.parametrize("content", ["", "[]", '{"results": 3}', '{"results": [{"name": "a"}], "budget_s": 1}'])
def test_what_is_no_timeline_is_refused(tmp_path, content):
    (tmp_path / "timeline.json").write_text(content)
    with pytest.raises(UsageError, match="catseye timeline"):
        timeline.read_measured(tmp_path)
    with pytest.raises(UsageError, match="catseye timeline"):
        timeline.read_measured(tmp_path / "nothing")


def test_the_answers():
    without = answers.milestones(Workbench(), answers.Nothing())
    assert without["measured"] == {**timeline.read_measured(MEASURED), "yours": False}  # that of the documents
    assert next(one["year"] for one in without["milestones"]) == 1998
    bench = Workbench(timeline=MEASURED)
    assert answers.milestones(bench, answers.Nothing())["measured"]["rows"]
    vgg = answers.answer_milestone(bench, answers.Choose(name="vgg16"))
    assert vgg["num_parameters"] == 138_357_544
    assert "two_for_one" in vgg
    kinds = [layer["kind"] for layer in vgg["layers"]]
    assert (kinds.count("convolution"), kinds.count("linear")) == (13, 3)
    assert json.dumps(vgg)
    with pytest.raises(UsageError, match="lenet5, alexnet"):
        answers.answer_milestone(bench, answers.Choose(name="resnet9"))
