"""`catseye check` as a user meets it, and what `catseye train` does with leaks and groups."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import catseye
from catseye.data.check.check import check
from catseye.errors import DataError
from tests.house.test_torch_free import REFUSE

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def leaked(shapes, tmp_path):
    """A given split with three test images that are also in train."""
    root = tmp_path / "leaked"
    for number, path in enumerate(sorted(shapes.rglob("*.png"))):
        side = "test" if number % 4 == 0 else "train"
        (root / side / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / side / path.parent.name / path.name)
    for name in ("001", "002", "003"):
        shutil.copy(root / "train" / "circle" / f"{name}.png", root / "test" / "circle" / f"copy{name}.png")
    return root


def test_a_table_a_page_and_exit_codes(forked_command, leaked, tmp_path):
    done = forked_command("check", leaked, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 classes: circle, ")
    assert "3 of 33 test images are also in train" in done.stdout
    assert "1 error" in done.stdout
    assert "test/circle/copy001.png" in (tmp_path / "report" / "check.html").read_text()
    failed = forked_command("check", leaked, "--json", "--fail-on", "error")
    assert failed.returncode == 1
    result = json.loads(failed.stdout)
    assert result == json.loads((tmp_path / "report" / "check.json").read_text()) | {"seconds": result["seconds"]}
    assert result["findings"][0]["rule"] == "leak-test-train"
    assert "--fail-on error" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_it_runs_without_torch(shapes):
    code = f"import sys; sys.argv = ['catseye', 'check', {str(shapes)!r}]\nfrom catseye.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", REFUSE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "nowhere does not exist"),
        (["digits", "--fail-on", "note"], 2, "error or warning"),
        (["digits", "--group-by", "("], 2, "regular expression"),
        (["digits", "--group-by", "left"], 1, "matches none"),
    ],
)
def test_what_is_wrong_is_said(command, words, code, message):
    ended, _, said = command("check", *words)
    assert ended == code
    assert message in said


def test_train_refuses_to_score_leaked_images(leaked, tmp_path):
    with pytest.raises(DataError) as refusal:
        catseye.train(leaked, out=tmp_path / "run", epochs=1, device="cpu")
    for part in ("3 of 33", "also in train", "test/circle/copy001.png = train/circle/001.png", "data.allow_leaks=true"):
        assert part in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_train_scores_them_when_told_to(leaked, tmp_path, capsys):
    console = Console(file=sys.stdout, width=200)
    settings = {"data.allow_leaks": True}
    trained = catseye.train(leaked, out=tmp_path / "run", epochs=1, device="cpu", settings=settings, console=console)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 classes: circle, ")
    lines = [line for line in said if line.startswith("check: ")]
    assert lines[0].startswith("check: 1 error")
    assert "3 of 33 test images are also in train" in lines[1]
    assert sum("also in train" in line for line in said) == 1
    assert sum(line.startswith("check: next: ") for line in lines) == 1
    assert {"rule": "leak-test-train", "severity": "error", "count": 3} in trained.run.data["check"]


def test_train_keeps_groups_on_one_side(shapes, tmp_path):
    settings = {"data.group_by": r"^(\d\d)"}
    run = catseye.train(shapes, out=tmp_path / "run", epochs=1, device="cpu", settings=settings).run
    sides = {}
    for side, names in run.data["splits"].items():
        for name in names:
            sides.setdefault(name.split("/")[-1][:2], set()).add(side)
    assert all(len(each) == 1 for each in sides.values())
    assert len({each for found in sides.values() for each in found}) == 3


def test_train_refuses_groups_that_a_given_split_tears_apart(shapes, tmp_path):
    root = tmp_path / "data"
    for number, path in enumerate(sorted(shapes.rglob("*.png"))):
        folder = root / ("test" if number % 4 == 0 else "train") / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.name)
    with pytest.raises(DataError, match=r"belongs? to a group that is also in train"):
        catseye.train(root, out=tmp_path / "run", epochs=1, device="cpu", settings={"data.group_by": r"^(\d\d)"})


@pytest.mark.skipif(not (SHARED / "hymenoptera.zip").exists(), reason="../shared/data is not here")
def test_the_image_among_ants_and_bees_that_is_no_photo():
    verdict = check(SHARED / "hymenoptera.zip")
    (found,) = [one for one in verdict.findings if one.severity != "note"]
    assert found.rule == "few-colours"
    assert [verdict.names[index] for case in found.examples for index in case.images] == [
        "train/ants/imageNotFound.gif"
    ]
