"""Model files that end the process which opens them, or keep it busy: each becomes one sentence."""

import io
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from catseye.errors import ModelFileError
from catseye.runtimes import trial
from catseye.runtimes.loading import open_model
from catseye.runtimes.onnx_structure import read_structure
from catseye.runtimes.torch_archive import read_archive
from tests.unit.onnx_files import manifest, tiny_model

ENDS = r"ended the trial process \(SIGSEGV\)"


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    pytest.importorskip("openvino")
    from catseye.exporting.openvino_ir import convert, write_ir

    path = tmp_path_factory.mktemp("ir") / "m.xml"
    write_ir(convert(tiny_model().SerializeToString()), path, manifest())
    return path


@pytest.fixture
def crashing(ir, tmp_path):
    """One changed word, by which OpenVINO 2026.4 ends the process that reads it."""
    path = tmp_path / "m.xml"
    path.write_bytes(crash(ir.read_bytes()))
    path.with_suffix(".bin").write_bytes(ir.with_suffix(".bin").read_bytes())
    opened = python(f"from catseye.runtimes.loading import open_model; open_model({str(path)!r}, trust=True)")
    if opened.returncode >= 0:
        pytest.skip("this OpenVINO reads the file without a crash")
    return path


def crash(xml):
    return xml.replace(b'type="Const"', b'type="Broadcast"', 1)


def python(code, *words):
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def catseye_command(*words):
    return python("import sys; from catseye.__main__ import run_cli; sys.exit(run_cli())", *words)


def test_a_crash_in_the_child_is_a_sentence():
    with pytest.raises(ModelFileError, match=rf"^opening m\.xml {ENDS}"):
        trial.call_in_child("ctypes:string_at", {"ptr": 0}, "m.xml")


def test_a_child_that_does_not_end_is_ended():
    seen, said = [], []

    def call():
        try:
            trial.call_in_child("signal:sigwait", {"sigset": [10]}, "m.xml", patience_s=1, started=seen.append)
        except ModelFileError as error:
            said.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()
    caller.join(20)
    in_time = not caller.is_alive()
    seen[0].kill()
    caller.join()
    assert in_time
    assert said[0].startswith("a trial process had not opened m.xml after 1 s")


def test_a_refusal_keeps_its_words(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.onnx cannot be read"):
        trial.call_in_child(
            "catseye.runtimes.trial:open_trial", {"path": str(tmp_path / "none.onnx"), "runtime": ""}, "x"
        )


def test_a_file_that_crashes_its_reader_is_refused(crashing):
    with pytest.raises(ModelFileError, match=ENDS):
        open_model(crashing)


@pytest.mark.parametrize("words", [("info",), ("predict",)], ids=["info", "predict"])
def test_the_command_says_so_and_lives(crashing, words, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = catseye_command(*words, crashing, *([tmp_path / "a.png"] if words == ("predict",) else []))
    assert done.returncode == 1
    assert "ended the trial process (SIGSEGV)" in " ".join(done.stderr.split())


def test_a_content_is_tried_once_and_only_that_content(ir, monkeypatch):
    open_model(ir)
    monkeypatch.setattr(trial, "call_in_child", lambda *_, **__: pytest.fail("a second child"))
    open_model(ir)
    monkeypatch.setattr(trial, "call_in_child", lambda *_, **__: {"sha256": "another"})
    with pytest.raises(ModelFileError, match="changed while it was opened"):
        trial.require_survival("one", str(ir), "openvino")
    with pytest.raises(ModelFileError, match="changed while it was opened"):
        trial.require_survival("one", str(ir), "openvino")


# --- files that keep a reader busy ----------------------------------------------------------------------------------


def message(number, content):
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def peak_bytes(act):
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_empty_messages_take_no_memory():
    content = b"\x08\x0a" + message(7, message(1, b"") * 20_000)
    assert peak_bytes(lambda: read_structure(content, "m")) < 200_000  # 4 MB with a list of them
    many = b"\x08\x0a" + message(7, message(1, b"") * 4_900_000)
    with pytest.raises(ModelFileError, match="more than 500,000 fields"):
        read_structure(many, "m")


def test_messages_are_not_nested_without_end():
    content = b""
    for _ in range(60):  # attribute of a node of a graph of an attribute …
        content = message(1, message(5, message(6, content)))
    with pytest.raises(ModelFileError, match="nested more than 100 deep"):
        read_structure(b"\x08\x0a" + message(7, content), "m")


def torchscript(code=b"a", pickled=b"\x80\x02).", **more):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        entries = {"constants.pkl": pickled, "code/__torch__.py": code, "data.pkl": b"\x80\x02).", **more}
        for name, content in entries.items():
            archive.writestr(f"m/{name}", content)
    return stream.getvalue()


def torch_export(program):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/models/model.json", program)
    return stream.getvalue()


PACKED = {
    "code": (lambda: torchscript(b"a," * 13_000_000), "more than 1,000,000 bytes of code"),
    "code in parts": (
        lambda: torchscript(**{f"code/{part}.py": b"#" * 600_000 for part in "ab"}),
        "more than 1,000,000 bytes of code",
    ),
    "pickles": (lambda: torchscript(pickled=b"N0" * 3_000_000 + b"."), "more than 4,000,000 bytes of pickles"),
    "a manifest": (lambda: torchscript(**{"extra/catseye": b" " * 9_000_000}), "more than 8,000,000 bytes of manifest"),
    "JSON": (lambda: torch_export(b"[" + b"[]," * 4_000_000 + b"0]"), "more than 10,000,000 bytes of JSON"),
    "a name": (lambda: torchscript(b"a" + b".a" * 5_000), "a name of more than 2,000 characters"),
}


@pytest.mark.parametrize(("make", "message"), PACKED.values(), ids=PACKED)
def test_what_is_packed_a_thousandfold_is_not_unpacked(make, message):
    content = make()
    assert len(content) < 60_000
    with pytest.raises(ModelFileError, match=message):
        read_archive(content, "m")


def test_code_is_read_without_a_tree():
    """20 kB of code: a syntax tree of it takes 8 MB."""
    content = torchscript(b"a," * 10_000)
    assert peak_bytes(lambda: read_archive(content, "m")) < 1_000_000


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        (b"x = torch.relu(y)", None),
        (b"x = (torch . # a comment\n relu)(y)", None),
        (b"x = f(y).relu(z)", None),
        (b"x = 'torch.save'", None),
        (b"x = (torch . # a comment\n save)(y)", "torch.save"),
        (b"x = (torch).save(y)", "torch"),
        (b"x = f(y).torch.classes.a.B(z)", ".torch.classes.a.B"),
        (b"x = y if ops.image.read_file(z) else z", "ops.image.read_file"),
    ],
)
def test_names_are_found_whatever_stands_between_their_parts(code, refused):
    if refused is None:
        read_archive(torchscript(code), "m")
        return
    with pytest.raises(ModelFileError, match=f"uses the operator '{refused}', which is not opened"):
        read_archive(torchscript(code), "m")


@pytest.mark.parametrize(("name", "count"), [(b"image", -1), (b"batch", -1), (b"image", 1)])
def test_names_that_are_no_text_are_one_sentence(name, count, tmp_path, capfd):
    """Of an input, of a side that is free, and of a value that nothing makes: ONNX Runtime quotes it in its error."""
    path = tmp_path / "m.onnx"
    length = bytes([len(name)])
    changed = tiny_model().SerializeToString().replace(length + name, length + b"\xff" + name[1:], count)
    path.write_bytes(changed)
    with pytest.raises(ModelFileError):
        open_model(path)
    assert capfd.readouterr().out == "", "ONNX Runtime's fallback talks on stdout"


def test_an_ir_of_many_elements_or_nested_ones_is_refused(ir, tmp_path):
    xml, weights = ir.read_bytes(), ir.with_suffix(".bin").read_bytes()
    path = tmp_path / "m.xml"
    path.with_suffix(".bin").write_bytes(weights)
    for filling in (b"<a/>" * 1_000_001, b"<a>" * 40 + b"</a>" * 40):
        path.write_bytes(xml.replace(b"<layers>", b"<layers>" + filling, 1))
        with pytest.raises(ModelFileError, match="more than 1,000,000 elements, or nests them more than 32 deep"):
            open_model(path)


def test_constants_that_share_a_bin_many_times_are_refused(ir, tmp_path):
    xml, weights = ir.read_bytes(), ir.with_suffix(".bin").read_bytes()
    more = b"".join(
        b'<layer type="Const" version="opset1"><data offset="%d" size="%d"/></layer>' % (start, len(weights) - start)
        for start in range(40)
    )
    path = tmp_path / "m.xml"
    path.with_suffix(".bin").write_bytes(weights)
    path.write_bytes(xml.replace(b"<layers>", b"<layers>" + more, 1))
    with pytest.raises(ModelFileError, match="overlap each other"):
        open_model(path)


def test_an_output_without_a_name_is_one_sentence(ir, tmp_path):
    path = tmp_path / "m.xml"
    path.write_bytes(ir.read_bytes().replace(b'names="probability"', b"").replace(b"output_", b""))
    path.with_suffix(".bin").write_bytes(ir.with_suffix(".bin").read_bytes())
    with pytest.raises(ModelFileError):
        open_model(path, trust=True)


def test_the_honest_files_still_answer(ir):
    found = open_model(ir).run(np.zeros((2, 4, 4, 3), np.uint8))
    assert found["probability"].shape == (2, 3)
