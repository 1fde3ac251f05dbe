"""`--watch` opens a new file in a child process first: a file that ends its reader does not end the server."""

import os
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.server import models
from tests.server.running import png
from tests.unit.onnx_files import manifest, tiny_model

GOOD = png("red")
# Loaded by every Python process with this folder in PYTHONPATH: opening a file that holds the mark crashes, or hangs.
SITE = """
import os, signal, sys, time
def look(event, words):
    if event == "open" and str(words[0]).endswith("m.onnx"):
        try:
            content = open(words[0] + ".mark").read() if not str(words[0]).endswith(".mark") else ""
        except OSError:
            return
        if content == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == "hang":
            time.sleep(60)
sys.addaudithook(look)
"""


def replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"fresh{path.suffix}")
    fresh.write_bytes(content)
    fresh.replace(path)


def still_serves(running, before):
    assert running.process.poll() is None
    after = running.predict(GOOD)
    assert (after.status, after.json()) == (200, before.json())


def test_a_file_that_ends_its_reader_does_not_end_the_server(start, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    model = models.write(tmp_path / "m.onnx")
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = start(model, "--watch", "--concurrency", 1, "--batch-size", 1, env={"PYTHONPATH": paths})
    before = running.predict(GOOD)
    (tmp_path / "m.onnx.mark").write_text("crash")
    replace(model, models.other_weights(2).SerializeToString())
    running.wait_for(lambda: running.events("reload-refused"))
    assert "ended the trial process (SIGSEGV)" in running.events("reload-refused")[0]["reason"]
    still_serves(running, before)
    # And a child that computes for ever keeps nobody: the server answers, and stops when it is told to.
    (tmp_path / "m.onnx.mark").write_text("hang")
    replace(model, models.other_weights(3).SerializeToString())
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    found = running.wait_for(
        lambda: [
            int(one) for task in children.parents[1].iterdir() for one in task.joinpath("children").read_text().split()
        ]
    )
    still_serves(running, before)
    begun = time.monotonic()
    running.stop(signal.SIGTERM)
    assert time.monotonic() - begun < 10
    for process in found:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="a signal's number")
def test_an_ir_with_one_changed_word_does_not_end_the_server(start, tmp_path):
    pytest.importorskip("openvino")
    from catseye.exporting.openvino_ir import convert, write_ir

    model = tmp_path / "m.xml"
    write_ir(convert(tiny_model().SerializeToString()), model, manifest())
    running = start(model, "--watch", "--concurrency", 1, "--batch-size", 1)
    before = running.predict(GOOD)
    good = model.read_bytes()
    replace(model, good.replace(b'type="Const"', b'type="Broadcast"', 1))
    running.wait_for(lambda: running.events("reload-refused"))
    still_serves(running, before)
    replace(model, good.replace(b'name="tiny"', b'name="tidy"', 1))
    running.wait_for(lambda: running.events("reloaded"))
    assert running.predict(GOOD).headers["x-catseye-model"] == sha256(model.read_bytes()).hexdigest()[:12]
