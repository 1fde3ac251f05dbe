"""The measured timeline: durations, a budget that is kept, and files that say what was found."""

import io
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import catseye
from catseye.data.loaders import MemoryLoader, StreamLoader, draw_part
from catseye.errors import UnknownName, UsageError
from catseye.models.milestones import MILESTONES
from catseye.settings.typed import parse_duration
from catseye.training.timeline import run_timeline, timeline_markdown
from tests.conftest import write_tinted

QUIET = Console(file=io.StringIO())
SEVEN = [milestone.name for milestone in MILESTONES if not milestone.extra]


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 40)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), ("45", 45), (" 2 M ", 120), ("0.5s", 0.5), ("2H", 7200)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0m", "0.0s", "-5m", "ten", "5d", "1h30m", "1e3", "nan", "inf", "1,5m", ".5h", "9999999", "5 m s"],
)
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="--budget is a time above 0 such as 90s, 10m or 1h"):
        parse_duration(text)


# A part of the images


def loader_of(count, classes=2):
    labels = torch.arange(count) % classes
    indices = np.arange(count, dtype=np.int64)
    return MemoryLoader(torch.zeros(count, 2, 2, 3, dtype=torch.uint8), labels, indices, indices, 16, shuffle=True)


def test_a_part_is_seeded_and_sorted():
    whole = loader_of(500)
    part, same, other = draw_part(whole, 100, 1), draw_part(whole, 100, 1), draw_part(whole, 100, 2)
    assert len(np.unique(part.indices)) == 100
    assert (np.diff(part.indices) > 0).all()
    np.testing.assert_array_equal(part.indices, same.indices)
    assert not np.array_equal(part.indices, other.indices)
    assert len(whole.indices) == 500, "the whole loader was changed"
    assert (part.batch_size, part.shuffle, part.num_batches) == (16, True, 7)
    seen = torch.cat([batch.indices for batch in part.epoch(0)])
    np.testing.assert_array_equal(np.sort(seen.numpy()), part.indices)
    # Not the first hundred: a folder is sorted by class.
    assert part.indices.max() > 400


@pytest.mark.parametrize("wanted", [500, 501, 10**9])
def test_a_part_as_large_as_the_whole_is_the_whole(wanted):
    whole = loader_of(500)
    np.testing.assert_array_equal(draw_part(whole, wanted, 0).indices, whole.indices)


def test_a_part_of_a_large_set_holds_every_class_about_equally():
    part = draw_part(loader_of(5_000, classes=10), 1_000, 0)
    counts = np.bincount(part.labels[torch.from_numpy(part.indices)].numpy(), minlength=10)
    assert counts.min() >= 70
    assert counts.max() <= 130


def test_a_part_of_a_streaming_loader(make_spec):
    whole = StreamLoader(
        None, make_spec(), np.arange(50, dtype=np.int64), 8, workers=0, device=torch.device("cpu"), shuffle=True
    )
    part = draw_part(whole, 10, 0)
    assert isinstance(part, StreamLoader)
    assert len(part.indices) == 10


# The whole command


def timed(data, out, budget_s, **more):
    begun = time.monotonic()
    quick = {"names": ("lenet5",), "device": "cpu", "console": QUIET, "seed": 0}
    folder, results = run_timeline(data, budget_s=budget_s, out=out, **{**quick, **more})
    return folder, results, time.monotonic() - begun


def test_a_timeline_of_one_network(tinted, tmp_path):
    for number in range(3):  # a machine that others slow down may break the promise once
        out = tmp_path / f"line-{number}"
        folder, (result,), _ = timed(tinted, out, 1.0, overrides=("training.batch_size=16",))
        if result.training_s <= 2.5:
            break
    assert folder == out
    assert {"timeline.json", "timeline.md", "timeline.png", "lenet5"} == {file.name for file in folder.iterdir()}
    assert (result.name, result.year, result.published_top1) == ("lenet5", 1998, None)
    assert 0.25 <= result.training_s <= 2.5, "the budget was a second"
    assert result.epochs > 1
    sides = json.loads((folder / "lenet5" / "data.json").read_text())["splits"]
    assert result.num_test == len(sides["test"]) == 24
    assert 0 <= result.accuracy_low < result.accuracy_high <= 1
    assert result.accuracy_low <= result.accuracy <= result.accuracy_high
    assert result.accuracy > 0.5
    assert result.num_seen == result.epochs * len(sides["train"])
    assert result.train_images_per_s == pytest.approx(result.num_seen / result.training_s, rel=0.2)
    assert result.inference_images_per_s > 0
    assert result.num_parameters == 61_411  # 61,706 + 300 for three colours - 7 * 85 for three classes
    stored = json.loads((folder / "timeline.json").read_text())
    assert stored["budget_s"] == 1.0
    assert stored["seed"] == 0
    assert torch.__version__.startswith(stored["environment"]["packages"]["torch"])
    assert stored["results"] == [json.loads(json.dumps(vars(result)))]
    assert (folder / "timeline.md").read_text() == timeline_markdown([result])
    with Image.open(folder / "timeline.png") as image:
        assert image.width > 500
    # The network's own folder is a finished run.
    assert not (folder / "lenet5" / "checkpoint.safetensors").exists()
    answer = catseye.load(folder / "lenet5", device="cpu").predict(tinted / "red" / "00.png")
    assert answer.classes == ("blue", "green", "red")


def test_the_budget_is_kept_where_all_images_fit_into_one_batch(tinted, tmp_path):
    """Some 90 images and batches of 128: one step is an epoch, and there is time for many."""
    _, (result,), seconds = timed(tinted, tmp_path / "line", 1.5, overrides=("training.batch_size=128",))
    assert result.epochs > 5, "one step was taken for the whole budget"
    assert 0.4 <= result.training_s <= 3.5
    assert seconds < 8


def test_a_budget_too_small_for_one_epoch_uses_a_part(images, tmp_path):
    data = images({"a": 200, "b": 200}, height=32, width=32)
    _, (result,), _ = timed(data, tmp_path / "line", 0.01, overrides=("training.batch_size=4",))
    assert result.epochs == 1
    assert 8 <= result.num_seen < 250


@pytest.mark.parametrize("name", ["resnt50", "simple", "lenet"])
def test_a_name_that_is_no_milestone_is_refused(tinted, tmp_path, name):
    with pytest.raises(UnknownName, match="lenet5"):
        timed(tinted, tmp_path / "line", 1.0, names=("lenet5", name))
    assert not (tmp_path / "line").exists()


def test_the_table_has_a_line_per_network(tinted, tmp_path):
    _, results, _ = timed(tinted, tmp_path / "line", 0.3, overrides=("training.batch_size=16",))
    lines = timeline_markdown(results * 2).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "1998 | lenet5" in lines[2]
    assert f"{results[0].accuracy:.1%}" in lines[2]


@pytest.mark.slow
def test_all_seven(tinted, tmp_path):
    folder, results, _ = timed(
        tinted, tmp_path / "line", 2.0, names=(), overrides=("training.batch_size=16", "data.input_px=32")
    )
    assert [result.name for result in results] == SEVEN
    assert [result.year for result in results] == sorted(result.year for result in results)
    for result in results:
        assert 0 <= result.accuracy_low <= result.accuracy <= result.accuracy_high <= 1
        assert result.training_s <= 10  # alexnet and vgg16 take more than a second for a step
        assert catseye.load(folder / result.name, device="cpu").classes == ("blue", "green", "red")
    assert len(json.loads((folder / "timeline.json").read_text())["results"]) == 7
    assert len((folder / "timeline.md").read_text().splitlines()) == 9
