"""What people type by habit, in the wrong order or to a place that is shut: the right line, before torch loads."""

import ctypes
import shlex
import subprocess
import sys

import pytest

from tests.unit.onnx_files import manifest, tiny_model

RIGHT_LINES = [
    ("train pets --lr 0.05", "train pets --set training.lr=0.05"),
    ("train pets --batch-size 8 -e 2", "train pets --set training.batch_size=8 -e 2"),
    ("train pets epochs=3", "train pets --epochs 3"),
    ("train data=pets model=lenet5 imgsz=64", "train pets --model lenet5 --set data.input_px=64"),
    ("train --train_dir pets --num_train_epochs 3 --output_dir o", "train pets --epochs 3 --out o"),
    ("train pets --learning_rate=1 --optim sgd", "train pets --set training.lr=1 --set training.optimizer=sgd"),
    ("train pets lenet5", "train pets --model lenet5"),
    ("train lenet5 pets -e 3", "train pets -e 3 --model lenet5"),
    ("predict m.onnx --source pets", "predict m.onnx pets"),
    ("val m.onnx", "evaluate m.onnx"),
    ("export pets --to onnx openvino --int8", "export pets --to onnx,openvino --int8"),
    ("export pets --to onnx frist-run", "export pets --to onnx,frist-run"),
    ("bench m.onnx --batch 1 8 --threads 1 2", "bench m.onnx --batch 1,8 --threads 1,2"),
    ("predict pets/a.png m.onnx", "predict m.onnx pets/a.png"),
    ("evaluate pets m.onnx", "evaluate m.onnx pets"),
    ("predict --source pets --model m.onnx", "predict m.onnx pets"),
    ("classify train data=pets epochs=2", "train pets --epochs 2"),
    ("mode=val model=m.onnx data=pets", "evaluate m.onnx pets"),
    ("train pets --gpu 1 --amp", "train pets --device cuda:1 --set training.precision=fastest"),
    ("train pets --gpus 2 --verbose", "train pets --nproc 2"),
    ("train pets -b 8 -lr 0.1", "train pets --set training.batch_size=8 --set training.lr=0.1"),
    ("train pets --name exp1", "train pets --out exp1"),
    ("serve m.onnx -p 9000", "serve m.onnx --port 9000"),
    ("version", "--version"),
    ("explain 'pets/a b.png' m.onnx", "explain m.onnx 'pets/a b.png'"),
]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "pets").mkdir()
    for name in ("a.png", "a b.png"):
        (tmp_path / "pets" / name).write_bytes(b"")
    (tmp_path / "m.onnx").write_bytes(tiny_model(manifest()).SerializeToString())
    return tmp_path


@pytest.mark.parametrize(("typed", "meant"), RIGHT_LINES, ids=[typed for typed, _ in RIGHT_LINES])
def test_the_right_line_is_shown(typed, meant, command, place):
    code, told, said = command(*shlex.split(typed))
    assert code == 2
    assert said.rstrip().endswith(f"type: catseye {meant}"), said
    assert len(said.splitlines()) == 1
    assert not told


def test_a_model_named_by_a_keyword_comes_first(command, place):
    code, _, said = command("predict", "model=m.onnx", "source=pets")
    assert code == 1
    assert said.rstrip().endswith("type: catseye predict m.onnx pets")


def test_a_misspelt_run_is_no_format(command, place):
    code, _, said = command("export", "--to", "onnx", "frist-run")
    assert (code, "frist-run does not exist" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("train pets --zebra", "there is no option --zebra; see catseye train --help"),
        ("serve m.onnx --prot 3", "did you mean --port"),
        ("train pets --epochs three", "got 'three'"),
        ("bench m.onnx --batch 1;8", "--batch takes whole numbers with commas between them; got '1;8'"),
        ("train pets extra words here", "unexpected extra"),
    ],
)
def test_what_nobody_can_put_right_points_to_the_help(words, part, command, place):
    code, _, said = command(*words.split())
    assert (code, part in said) == (2, True), said
    assert "type:" not in said


def test_version(command):
    import catseye

    assert command("--version") == (0, f"catseye {catseye.__version__}\n", "")


NO_TORCH = """
import sys
sys.modules["torch"] = None
from catseye.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("train nowhere", 1), ("train pets --out pets/a.png", 2), ("evaluate nowhere", 1),
        ("evaluate m.onnx nowhere", 1),
        ("lr-find nowhere", 1), ("timeline nowhere", 1), ("predict pets m.onnx", 2), ("compare nowhere", 1),
        ("predict m.onnx pets --csv no/table.csv", 2), ("predict m.onnx pets --csv pets", 2), ("export nowhere", 1),
        ("bench m.onnx --out m.onnx/x", 2), ("explain m.onnx nowhere.png", 1), ("calibrate nowhere", 1),
        ("deploy docker m.onnx --out m.onnx", 2), ("check nowhere", 1), ("check pets --out m.onnx", 2),
    ],
)  # fmt: skip
def test_cheap_arguments_are_judged_without_torch(words, code, place):
    told = [sys.executable, "-c", NO_TORCH, *words.split()]
    done = subprocess.run(told, capture_output=True, text=True, cwd=place)
    assert done.returncode == code, done.stderr
    assert "torch" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def may_not_override_rights():
    """Root, as tests in a container often are, may write anywhere; without this right it may not."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.skipif(sys.platform != "linux", reason="drops a right of Linux")
@pytest.mark.parametrize(
    "words",
    [
        "predict m.onnx pets --csv shut/t.csv", "bench m.onnx --out shut/b", "check pets --out shut",
        "evaluate m.onnx pets --out shut/e",
        "deploy docker m.onnx --out shut/d", "deploy slurm /w/d /w/r --out shut/s", "train pets --out shut/r",
        "evaluate shut",
    ],
)  # fmt: skip
def test_a_place_that_is_shut_is_no_fault_of_ours(words, place):
    shut = place / "shut"
    shut.mkdir()
    (shut / "settings.toml").write_text("")
    shut.chmod(0o555)
    told = [sys.executable, "-m", "catseye", *words.split()]
    done = subprocess.run(told, capture_output=True, text=True, cwd=place, preexec_fn=may_not_override_rights)
    assert done.returncode == 2
    assert "shut" in done.stderr
    assert "cannot be written to (Permission denied)" in done.stderr
    assert "fault in catseye" not in done.stderr
    assert [path.name for path in shut.iterdir()] == ["settings.toml"]


def test_probing_leaves_nothing_behind(place):
    from catseye.cli.places import require_out_file, require_out_folder

    before = sorted(place.rglob("*"))
    (place / "there.csv").write_text("kept")
    require_out_folder(place / "new" / "deep")
    require_out_file(place / "new.csv", "--csv")
    require_out_file(place / "there.csv", "--csv")
    assert sorted(place.rglob("*")) == sorted([*before, place / "there.csv"])
    assert (place / "there.csv").read_text() == "kept"
