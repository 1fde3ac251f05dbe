"""Names in one block of bytes, and listing many files in little time and memory."""

import json
import pickle
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catseye.data.names import Names
from catseye.data.sources import open_source

ROOT = Path(__file__).parents[2]


@given(st.lists(st.text(max_size=12), max_size=12))
def test_names_behave_as_the_list_does(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    names = Names(texts)
    assert list(names) == texts
    assert [names[index] for index in range(-len(texts), len(texts))] == texts + texts
    assert names[1:7:2] == texts[1:7:2]
    assert names == texts
    assert names == Names(texts)
    assert names != [*texts, "one more"]
    assert pickle.loads(pickle.dumps(names)) == texts
    for text in texts:
        assert text in names
    with pytest.raises(IndexError, match=f"there are {len(texts)} names"):
        names[len(texts)]


def test_a_file_name_that_is_no_utf_8_survives():
    odd = b"ant/caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert Names([odd])[0] == odd


def make_files(root: Path, files: int, classes: int) -> Path:
    for number in range(classes):
        folder = root / f"n{number:08d}"
        folder.mkdir()
        for index in range(number, files, classes):
            open(f"{folder}/n{number:08d}_{index:07d}.JPEG", "w").close()  # noqa: PTH123
    return root


def test_twenty_thousand_names_are_listed_in_little_memory(tmp_path):
    root = make_files(tmp_path, 20_000, 20)
    begun = time.process_time()
    images = open_source(root)
    assert time.process_time() - begun < 2  # a tenth of it on an idle machine; a Path object per file takes longer
    assert len(images) == 20_000
    assert len(images.classes) == 20
    assert images.names[19_999] == "n00000019/n00000019_0019999.JPEG"
    tracemalloc.start()
    try:
        again = open_source(root)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.names == images.names
    assert kept / 20_000 < 60  # bytes a name of 34 letters, its label and its split
    assert peak / 20_000 < 250


@pytest.mark.slow
def test_a_million_names_are_listed_in_ten_seconds_and_500_mb():
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        make_files(Path(folder), 1_000_000, 1_000)
        command = [sys.executable, str(ROOT / "benchmarks" / "index_names.py"), "--list", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["num_files"] == 1_000_000
    assert found["cpu_s"] < 10  # of the processor: a test must not fail because others use it too
    assert found["peak_mb"] < 500
