"""The command as a user meets it: results on stdout, the rest on stderr, exit codes, no traceback.

A process of its own where the process is the point; `command` runs the same `main` where it is not.
"""

import csv
import json
import resource
import shutil
import subprocess
import sys

import pytest

import catseye
from tests import forked


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    return catseye.train(shapes, out=tmp_path_factory.mktemp("run") / "run", epochs=6, device="cpu").path


def test_train_json(catseye_command, shapes):
    done = catseye_command("train", shapes, "--epochs", 1, "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["run"].startswith("runs/")
    assert result["num_images"] == 24
    assert "epoch 1/1" in done.stderr


def test_evaluate_prints_a_table(command, run):
    code, told, said = command("evaluate", run)
    assert code == 0, said
    assert all(word in told for word in ("precision", "stripes", "macro mean", "95% interval"))
    assert json.loads(command("evaluate", run, "--json")[1])["num_images"] == 24


def test_predict_keeps_the_order_and_tells_the_bad_one(command, run, shapes, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    words = (shapes / "stripes/000.png", bad, shapes / "circle", shapes / "squ*" / "00[12].png")
    code, told, said = command("predict", run, *words, "--json", "--csv", "out.csv", "--top", 3)
    assert code == 1
    rows = json.loads(told)
    assert [row["path"] for row in rows[:3]] == [str(words[0]), str(bad), str(shapes / "circle/000.png")]
    assert len(rows) == 1 + 1 + 40 + 2
    assert "error" in rows[1]
    assert rows[0]["class"] == "stripes"
    assert len(rows[0]["top"]) == 3
    table = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(table) == len(rows)
    assert table[1]["error"]
    assert "1 of 44 images could not be read" in said
    code, told, _ = command("predict", run, shapes / "stripes/000.png")
    assert code == 0
    assert "stripes" in told


def test_models_and_summary(command):
    assert {"lenet5", "simple", "residual"} <= {row["name"] for row in json.loads(command("models", "--json")[1])}
    assert "2,760,490 parameters" in command("summary", "residual", "--input", "3x32x32")[1]
    without = json.loads(command("summary", "residual", "--no-skip", "--json")[1])
    assert without["num_parameters"] == 2_760_490 - (2048 + 128) - (8192 + 256) - (32768 + 512)


BAD = [
    (["train", "nowhere"], 1, "nowhere does not exist"),
    (["train"], 2, "DATA is missing"),
    (["train", "{empty}"], 1, "holds no images"),
    (["train", "{one}"], 1, "only one class"),
    (["train", "{twofold}"], 1, "use --layout splits"),
    (["check", "{twofold}"], 1, "use --layout splits"),
    (["train", "{one}", "--layout", "folders"], 2, "--layout is auto, splits, classes or names"),
    (["train", "{text}"], 1, "none of 1 image can be read"),
    (["train", "digits", "--model", "lenet"], 2, "did you mean lenet5"),
    (["train", "digits", "--budget", "5m"], 2, "--budget"),
    (["timeline", "digits", "--budget", "soon"], 2, "'soon'"),
    (["lr-find", "nowhere"], 1, "nowhere does not exist"),
    (["train", "digits", "--recipe", "clasic"], 2, "did you mean classic?"),
    (["train", "digits", "--recipe", "none.toml"], 2, "none.toml cannot be read"),
    (["train", "digits", "--set", "training.lr=nan"], 2, "training.lr"),
    (["train", "digits", "--set", "training.batch_size=0"], 2, "training.batch_size"),
    (["train", "digits", "--set", "training.batch_size=1000000000"], 2, "training.batch_size"),
    (["train", "digits", "--set", "training.epochs"], 2, "KEY=VALUE"),
    (["train", "digits", "--set", "trainning.epochs=3"], 2, "did you mean training.epochs"),
    (["train", "digits", "--set", "training.optimizer=adam", "--set", "training.momentum=0.5"], 2, "would do nothing"),
    (["train", "digits", "--set", "model.skip=false"], 2, "model.skip would do nothing"),
    (["train", "digits", "--set", "augment.saturation=0.2"], 2, "augment.saturation would do nothing"),
    (["train", "digits", "--set", "data.val_fraction=0", "--set", "training.patience=2"], 2, "no validation split"),
    (["train", "digits", "--set", "data.val_fraction=0", "--set", "data.test_fraction=0"], 2, "nothing is held out"),
    (["train", "digits", "--set", "data.input_px=5"], 2, "data.input_px"),
    (["train", "digits", "--device", "cuda:99"], 2, "cuda:99"),
    (["train", "digits", "--device", "toaster"], 2, "toaster"),
    (["train", "digits", "--out", "{empty}/file"], 2, "cannot be made"),
    (["train", "digits", "--out", "{one}"], 2, "not empty"),
    (["train", "digits", "--bogus"], 2, "--bogus"),
    (["evaluate", "nowhere"], 1, "nowhere does not exist"),
    (["evaluate", "{empty}"], 1, "not a run folder"),
    (["predict", "nowhere", "x.png"], 1, "nowhere"),
    (["summary", "lenet5", "--input", "3x32"], 2, "CxHxW"),
    (["summary", "lenet5", "--input", "3x16x16"], 2, "32 px or more"),
    (["summary", "lenet"], 2, "did you mean lenet5"),
    (["sumary"], 2, "summary"),
]


@pytest.fixture
def places(tmp_path, shapes):
    for name in ("empty", "one/a", "twofold", "text/a", "text/b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "empty" / "file").write_text("")
    (tmp_path / "text" / "a" / "letter.jpg").write_text("dear reader")
    (tmp_path / "text" / "b" / "image.txt").write_text("")
    (tmp_path / "text" / "b").joinpath("image.txt").unlink()
    (tmp_path / "text" / "b").rmdir()
    twofold = [(kind, f"twofold/{place}/{kind}") for place in ("north", "south") for kind in ("circle", "square")]
    for kind, target in (("circle", "one/a"), *twofold):
        (tmp_path / target).mkdir(exist_ok=True, parents=True)
        for number in range(3):
            shutil.copy(shapes / kind / f"00{number}.png", tmp_path / target)
    return {name: str(tmp_path / name) for name in ("empty", "one", "twofold", "text")}


@pytest.mark.parametrize(
    ("words", "code", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_answered_with_one_clear_sentence(words, code, said, places, monkeypatch, capfd):
    from catseye import cli

    monkeypatch.setattr("sys.argv", ["catseye", *(word.format(**places) for word in words)])
    monkeypatch.chdir(places["empty"])
    with pytest.raises(SystemExit) as exit_code:
        cli.main()
    told = capfd.readouterr()
    assert exit_code.value.code == code, told.err
    assert said in told.err.replace("\n", " ")
    assert "Traceback" not in told.err
    assert told.out == ""


def test_debug_shows_the_traceback(command):
    assert "Traceback" in command("train", "nowhere", "--debug")[2]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # the figures' font has no 猫; the page shows it
def test_unicode_and_spaces_in_paths(command, shapes, tmp_path):
    folder = tmp_path / "mes photos é 猫"
    shutil.copytree(shapes, folder)
    (folder / "circle").rename(folder / "cercle [rouge] 猫")
    code, _, said = command("train", folder, "--epochs", 1, "--out", "résultat [1]", "--device", "cpu")
    assert code == 0, said
    assert "cercle [rouge] 猫" in command("evaluate", "résultat [1]")[1]


def test_a_closed_stdout_leaves_no_traceback(run):
    command = [sys.executable, "-m", "catseye", "evaluate", str(run), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    # Nobody reads any more, so nothing is said of it, not even by the interpreter at its end; a script sees the code.
    assert process.returncode == 1
    for word in ("Traceback", "fault in catseye", "Broken pipe", "BrokenPipe", "Exception ignored", "error:"):
        assert word not in said


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))


def test_a_full_disk_keeps_what_was_saved(shapes, tmp_path):
    """A file-size limit stands in for the full disk where no small file system can be mounted: the same write fails."""
    words = ["train", shapes, "--out", tmp_path / "run", "--device", "cpu"]
    done = forked.run(*words, cwd=tmp_path, prepare=limit_file_size)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").glob(".*.new"))
