"""`predict --engine ray` with a real Ray and two workers: the same answers, once each, also when it is killed."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import catseye
from catseye.prediction.paths import list_images, predict_files
from tests.conftest import encode, random_pixels
from tests.server.models import slow, write
from tests.unit.onnx_files import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "photos"
    folder.mkdir()
    for number in range(240):
        (folder / f"{number:03d}.png").write_bytes(encode(random_pixels(number, 12, 12)))
    (folder / "100.png").write_bytes(b"broken")
    return folder


def words(model, photos, out, part_size):
    flags = ("--engine", "ray", "--workers", "2", "--part-size", part_size, "--top", 3, "--out", out, "--json")
    return [str(word) for word in (sys.executable, "-m", "catseye", "predict", model, photos, *flags)]


def rows_of(out):
    table = ds.dataset(sorted(out.glob("part-*.parquet"))).to_table()
    return table.to_pylist()


def require_same(found, model, photos):
    wanted = list(predict_files(catseye.load(model), list_images([str(photos)]), top=3))
    assert [row["path"] for row in found] == [row.path for row in wanted]
    for row, one in zip(found, wanted, strict=True):
        assert row["error"] == one.error
        if one.error is None:
            names = ("", "_2", "_3")
            assert [row[f"class{name}"] for name in names] == [name for name, _ in one.top]
            np.testing.assert_allclose([row[f"probability{n}"] for n in names], [p for _, p in one.top], atol=1e-6)


SCRIPT = """
import os, sys
from pathlib import Path
from catseye.prediction import predict
from catseye.prediction import ray_engine
from catseye.prediction.paths import walk_images
model, photos, out, log = sys.argv[1:]

class Counted(ray_engine.RayWorker):
    def __init__(self, *words):
        with open(log, "a") as stream:
            stream.write(f"{os.getpid()}\\n")
        super().__init__(*words)

ray_engine.RayWorker = Counted
names, two = walk_images([photos]), ray_engine.RayWorkers(2)
done = predict.predict_in_parts(Path(model), names, Path(out), top=3, part_size=20, workers=two, tell=print)
print(done)
"""


def test_two_workers_open_the_model_once_each(photos, tmp_path):
    model, out, log = write(tmp_path / "m.onnx", tiny_model()), tmp_path / "out", tmp_path / "opened"
    command = [sys.executable, "-c", SCRIPT, str(model), str(photos), str(out), str(log)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "num_images=240, num_failed=1, num_parts=12, num_parts_before=0" in done.stdout
    opened = log.read_text().split()
    assert len(opened) == len(set(opened)) == 2
    found = rows_of(out)
    require_same(found, model, photos)
    assert "broken" not in str(found[99]["error"])
    assert "100.png" in found[100]["error"]


def parts_in(out):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.glob("part-*.parquet")}


def test_a_killed_call_is_continued(photos, tmp_path):
    """SIGKILL while parts are done: none of the finished ones is touched again, and all workers go."""
    model, out = write(tmp_path / "slow.onnx", slow(30)), tmp_path / "out"
    process = subprocess.Popen(words(model, photos, out, 10), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 900
    while len(list(out.glob("part-*.parquet"))) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while workers():
        assert time.monotonic() < deadline, "workers outlive their call"
        time.sleep(0.2)
    before = parts_in(out)
    assert 4 <= len(before) < 24, "killed too late to tell"
    for name in before:
        assert pq.read_metadata(out / name).num_rows == 10
    done = subprocess.run(words(model, photos, out, 10), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "1 of 240 images could not be read" in done.stderr
    told = json.loads(done.stdout)
    assert told["num_parts_before"] == len(before)
    assert told["num_images_now"] == 240 - 10 * len(before)
    assert before.items() <= parts_in(out).items()
    assert not list(out.glob(".*.new"))
    require_same(rows_of(out), model, photos)


def workers():
    """Ray's processes that hold a model, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and b"ray::" in (line := (entry / "cmdline").read_bytes()) and b"Worker" in line:
                found.append(int(entry.name))
    return found


def test_a_model_that_changed_is_refused_by_the_workers(photos, tmp_path):
    model, out = write(tmp_path / "m.onnx", tiny_model()), tmp_path / "out"
    done = subprocess.run(words(model, photos, out, 100), capture_output=True, text=True)
    assert json.loads(done.stdout)["num_parts"] == 3, done.stderr
    write(model, slow(1))
    done = subprocess.run(words(model, photos, out, 100), capture_output=True, text=True)
    assert done.returncode == 2
    assert "another model" in done.stderr
    assert "Traceback" not in done.stderr
