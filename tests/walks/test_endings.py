"""How a call ends, whatever happens to it: the exit code a script relies on, one sentence instead of a traceback."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

from catseye import cli
from catseye.cli.endings import end_with
from catseye.errors import SaveError
from tests import forked
from tests.conftest import write_tinted
from tests.unit.onnx_files import manifest, tiny_model

COMMAND = [sys.executable, "-m", "catseye"]
ESCAPES = "dog\x1b]0;mine\x07"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model(manifest()).SerializeToString())
    return path


class _PressedInAClass:
    """Python 3.11 makes a RuntimeError of Ctrl-C that comes while a class is made, as in Pillow's `GifImageFile`."""

    def __set_name__(self, owner, name):
        raise KeyboardInterrupt


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("verb", ["evaluate", "export", "check", "predict"])
def test_ctrl_c_ends_with_130(verb, wrapped, command, model, monkeypatch):
    """The key is pressed inside the work: what the verb calls raises what Python raises then."""

    def pressed(*_, **__):
        if wrapped:
            type("Class", (), {"field": _PressedInAClass()})
        raise KeyboardInterrupt

    homes = {
        "evaluate": "catseye.evaluation.evaluate.evaluate",
        "export": "catseye.exporting.export.export",
        "check": "catseye.embedding.deep_check.check",
        "predict": "catseye.prediction.answers.load",
    }
    monkeypatch.setattr(homes[verb], pressed, raising=False)
    words = {"check": [model.parent], "export": [model.parent], "predict": [model, model]}.get(verb, [model])
    code, told, said = command(verb, *words)
    assert (code, told) == (130, "")
    assert said.endswith("error: stopped by Ctrl-C\n")


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_is_said_of_ctrl_c_outside_of_a_verb(wrapped, capsys):
    """Where modules still load: Python 3.11 wraps it there too, and it is no fault of catseye's."""
    error = KeyboardInterrupt()
    if wrapped:
        error = RuntimeError("Error calling __set_name__ on 'field' instance")
        error.__cause__ = KeyboardInterrupt()
    assert end_with(error) == 130
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "stopped before any work began; nothing was saved\n"


def test_a_reader_that_has_gone_is_told_nothing(capsys):
    """`catseye models | head -1`: the pipe is closed, which is no error of anybody's; the code says it to a script."""
    assert end_with(BrokenPipeError(32, "Broken pipe")) == 1
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_takes_nothing_more_is_let_go(monkeypatch, capsys):
    """Else the interpreter would try once more at its very end, complain of it and end with 120."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert end_with(SaveError("stdout cannot be written")) == 1
    assert sys.stdout is None
    assert sys.stderr is not None
    assert "stdout cannot be written" in capsys.readouterr().err


def heeding(words, folder):
    """A process that hears Ctrl-C; a shell that runs the tests in its background has it ignored."""
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True, preexec_fn=heed)


@pytest.mark.skipif(os.name != "posix", reason="a signal of the terminal")
def test_ctrl_c_of_a_real_process_ends_with_130(shapes, tmp_path):
    for started in (False, True):
        # Each module that has loaded is a line on stderr: before ours, the interpreter is not up yet.
        words = [COMMAND[0], "-X", "importtime", *COMMAND[1:], "train", shapes, "--device", "cpu"]
        process = heeding(words, tmp_path)
        awaited = "classes: " if started else "catseye.cli"
        while awaited not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 130, said
        assert "stopped" in said
        assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a signal of the terminal")
def test_ctrl_c_at_any_moment_ends_with_130(shapes, tmp_path):
    """Also amid the loading of torch: what is half there crashed the interpreter at its end, 8 times in 60."""
    moments = random.Random(0)
    for number in range(40):
        words = ["train", shapes, "--device", "cpu", "--model", "lenet5", "--epochs", "1", "--out", f"run-{number}"]
        process = heeding([COMMAND[0], "-X", "importtime", *COMMAND[1:], *words], tmp_path)
        while "catseye.cli" not in process.stderr.readline():
            assert process.poll() is None
        try:
            process.wait(moments.uniform(0, 3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 130 or "from the command to the result" in said, said


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_code_of_the_server_is_the_code_of_the_command(code, command, model, monkeypatch):
    """A supervisor whose workers died returns 1; typer only hands such a code back, it does not end with it."""
    monkeypatch.setattr("catseye.serving.command.run_serve", lambda *_: code)
    assert command("serve", model)[0] == code
    monkeypatch.setattr("catseye.lab.command.serve_lab", lambda *_, **__: code)
    assert command("lab", "--no-open")[0] == code


def test_a_closed_terminal_saves_as_sigterm_does(shapes, tmp_path):
    words = ["train", shapes, "--model", "lenet5", "--epochs", "500", "--device", "cpu", "--out", "run"]
    with forked.Forked(*words, cwd=tmp_path) as process:
        while "| loss" not in process.said():
            assert process.poll() is None, process.said()
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGHUP, said
    assert "continue with: catseye train --resume run" in said
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")  # noqa: PTH110
@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--version"], ["serve", "--help"]])
def test_a_full_stdout_is_no_fault_of_ours(words):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_the_working_directory_holds_no_modules(tmp_path):
    for name in ("queue", "signal", "json", "typer", "numpy"):
        (tmp_path / f"{name}.py").write_text("print('mine'); raise SystemExit(9)")
    done = subprocess.run([*COMMAND, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:8]) == (0, "catseye "), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252"])
def test_any_encoding_of_the_terminal(encoding, model, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "猫 é.png")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    words = ["predict", "m.onnx", "猫 é.png"]
    for more in ([], ["--json"]):
        done = subprocess.run([*COMMAND, *words, *more], cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        told = done.stdout.decode(encoding)
        assert json.loads(told)[0]["path"] == "猫 é.png" if more else told.startswith("\\u732b ")


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("out", ["run [v2]", "x[/z]"])
def test_brackets_and_escapes_in_every_name(out, command, tmp_path):
    data = write_tinted(tmp_path / "pets [v2]", 12)
    (data / "red").rename(data / "cat [red]")
    (data / "blue").rename(data / ESCAPES)
    code, told, said = command("train", data, "--model", "lenet5", "--epochs", 1, "--device", "cpu", "--out", out)
    assert code == 0, said
    assert f"run folder: {out}\n" in told
    assert f"next: catseye evaluate '{out}'\n" in told
    for words in (["evaluate", out], ["export", out], ["info", f"{out}/export/model.onnx"], ["predict", out, data]):
        code, told, said = command(*words)
        assert code == 0, said
        assert not set("\x1b\x07") & set(told + said), words
        assert words[0] == "export" or "cat [red]" in told
        assert "\\x1b]0;mine\\x07" in told or words[0] == "export"
    assert "it is finished" in command("train", "--resume", out)[2]


def test_a_byte_order_mark_is_no_letter(command, model, tmp_path):
    """Editors of Windows write one before the first character."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\n")
    assert command("predict", model, "--list", "list.txt")[0] == 0
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf[training]\nepochs = 0\n")
    code, _, said = command("train", "digits", "--config", "mine.toml")
    assert code == 2
    assert "training.epochs" in said


def test_two_trainers_never_share_a_folder_though_its_lock_file_is_deleted(tmp_path):
    from catseye.errors import UsageError
    from catseye.runs import Run, locked

    with locked(Run(tmp_path)):
        (tmp_path / ".lock").unlink()
        with pytest.raises(UsageError, match="another process is training"), locked(Run(tmp_path)):
            pass
    with locked(Run(tmp_path)):
        pass


def test_no_folder_for_temporary_files_is_named(command, model, monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("catseye.prediction.answers.load", none, raising=False)
    code, _, said = command("predict", model, model)
    assert code == 1
    assert "set TMPDIR" in said
    assert "fault in catseye" not in said


def test_a_fault_of_ours_is_still_called_one(command, monkeypatch):
    monkeypatch.setattr(cli.printing, "stdout", None)
    code, _, said = command("models")
    assert code == 1
    assert "this looks like a bug in catseye; --debug shows the traceback" in said
