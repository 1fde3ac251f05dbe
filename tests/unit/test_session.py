"""The session that every verb of training begins with: its request, its images or a part of them, its decision."""

import ast
import io
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import catseye
from catseye.data.sources import NOT_SPLIT
from catseye.errors import UnknownName, UsageError
from catseye.settings.merge import load_settings
from catseye.training import request as requests
from catseye.training.request import RunRequest, TrainOptions, make_request, requested_settings
from catseye.training.session import Decision, Workplace, decide, find_workplace, open_session
from tests.conftest import write_tinted

CPU = torch.device("cpu")
SOURCE = Path(__file__).parents[2] / "src" / "catseye"


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 20)


def session_of(data, *overrides, console=None, recipe="quick"):
    place = Workplace(CPU, console or Console(file=io.StringIO()))
    return open_session(RunRequest(data), load_settings(recipe, overrides=overrides), place)


# The request


def test_what_train_takes_is_what_a_request_holds():
    # Options that stand for settings, and code of the user's own, become others of its fields.
    assert {each.name for each in fields(RunRequest)} - {"data", "overrides", "own"} <= TrainOptions.__optional_keys__
    for kind in (requests.LrFindOptions, requests.TimelineOptions):
        assert kind.__optional_keys__ <= TrainOptions.__optional_keys__


def test_an_option_that_does_not_exist_is_told_with_the_nearest_one(tinted):
    with pytest.raises(UnknownName, match="unknown option 'epoch'; did you mean epochs"):
        catseye.train(tinted, epoch=3)
    with pytest.raises(UnknownName, match="unknown option 'resume'"):
        make_request(tinted, {"resume": "runs/one"}, requests.TimelineOptions)


def test_the_verbs_own_choice_stands_above_the_recipe_and_below_what_was_said():
    chosen = requested_settings(
        RunRequest("digits", model="lenet5", epochs=3, seed=7), {"training.schedule": "constant"}
    )
    assert (chosen.model.name, chosen.training.epochs, chosen.seed) == ("lenet5", 3, 7)
    assert (chosen.recipe, chosen.training.schedule) == ("auto", "constant")
    assert requested_settings(RunRequest("digits", pretrained=True, model="resnet18")).transfer.strategy == "auto"


def test_without_data_nothing_begins():
    with pytest.raises(UsageError, match="DATA is missing"):
        session_of(None)


def test_one_process_is_alone_and_has_a_voice():
    said = io.StringIO()
    place = find_workplace(RunRequest("digits", device="cpu", console=Console(file=said)))
    place.say("[bold] stays [0:3]")
    assert said.getvalue() == "[bold] stays [0:3]\n"
    assert (place.device, place.processes.world_size) == (CPU, 1)


# The decision


def test_a_decision_says_what_it_changed():
    said = io.StringIO()
    undecided = session_of("digits", console=Console(file=said))
    assert "- images are not mirrored: a mirrored digit is a different symbol" in said.getvalue()
    assert undecided.settings.augment.hflip == 0
    asked = load_settings("quick")
    assert asked.augment.hflip > 0
    decision = decide(replace(undecided, settings=asked))
    assert decision.settings == undecided.settings
    assert len(decision.sentences) == 1


def test_a_decision_that_changes_nothing_is_silent(tinted):
    session = session_of(tinted)
    assert decide(session) == Decision(session.settings, ())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.channels=1", "augment.saturation=0.2"], "saturation"),
        (["data.val_fraction=0", "training.patience=3"], "training.patience would do nothing"),
        (["data.val_fraction=0", "data.test_fraction=0"], "nothing is held out"),
    ],
)
def test_a_decision_refuses_what_would_do_nothing(tinted, overrides, said):
    with pytest.raises(UsageError, match=said):
        session_of(tinted, *overrides)


# A part of the images


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_a_part_leaves_the_other_images_out_everywhere(tinted, storage):
    whole = session_of(tinted, f"data.storage={storage}")
    before = whole.describe_data()
    assert "parts" not in before
    part = whole.with_parts({"test": 5}).with_parts({"train": 10, "val": 1_000})
    described = part.describe_data()
    assert described["parts"] == {"test": 5, "train": 10}
    assert part.prepared.counts == {"train": 10, "val": whole.prepared.counts["val"], "test": 5}
    assert part.prepared.class_counts.sum() == 10
    for side in ("train", "val", "test"):
        assert described["splits"][side].items() <= before["splits"][side].items()
        numbers = np.sort(np.concatenate([batch.indices.numpy() for batch in part.loaders[side].epoch(0)]))
        assert {part.prepared.images.names[number] for number in numbers} == described["splits"][side].keys()
    assert (part.prepared.splits == NOT_SPLIT).sum() == len(whole.prepared.images) - sum(part.prepared.counts.values())
    assert whole.describe_data() == before, "the session it was drawn from was changed"
    # From what was written down the same part is drawn again, in whatever order.
    assert whole.with_parts({"train": 10, "test": 5}).describe_data()["splits"] == described["splits"]


# The shape of the room


def test_few_parameters_and_few_imports():
    for path in [*sorted((SOURCE / "training").glob("*.py")), SOURCE / "data" / "loaders.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                assert len([name for name in names if name != "self"]) <= 8, f"{path.name}: {node.name}"
    for name in ("fit", "assemble"):
        used = set()
        for node in ast.walk(ast.parse((SOURCE / "training" / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("catseye"):
                room = node.module == "catseye.training"
                used |= {f"{node.module}.{each.name}" for each in node.names} if room else {node.module}
        assert len(used) <= 11, f"{name}.py imports {len(used)} modules of catseye: {sorted(used)}"
