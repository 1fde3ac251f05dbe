"""A loaded classifier in another process: pickled, forked, and when the file has changed in between."""

import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import catseye
from catseye.errors import ModelFileError
from tests.unit.onnx_files import manifest, tiny_model

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    return path


def test_pickled_to_a_process_of_another_folder(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier = catseye.load("m.onnx")
    (tmp_path / "c.pickle").write_bytes(pickle.dumps(classifier))
    program = (
        "import pickle, sys, numpy; c = pickle.load(open(sys.argv[1], 'rb')); "
        "print(c.predict(numpy.arange(48, dtype=numpy.uint8).reshape(4, 4, 3)).probabilities.tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "c.pickle")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, check=True)
    expected = classifier.predict(PIXELS).probabilities.tolist()
    np.testing.assert_allclose(eval(done.stdout), expected, atol=1e-7)


def _answer(classifier, queue):
    queue.put((classifier.predict(PIXELS).probabilities, classifier.logits._process == os.getpid()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_the_file_for_itself(file):
    classifier = catseye.load(file)
    expected = classifier.predict(PIXELS).probabilities  # the runtime's threads have run here, and are not inherited
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_answer, args=(classifier, queue))
    child.start()
    try:
        found, is_opened_there = queue.get(timeout=30)
        np.testing.assert_array_equal(found, expected)
        assert is_opened_there
    finally:
        child.kill()
        child.join()


def test_another_model_in_its_place_is_no_answer(file):
    pickled = pickle.dumps(catseye.load(file))
    file.write_bytes(tiny_model(manifest(classes=("a", "b", "c"))).SerializeToString())
    with pytest.raises(ModelFileError, match="has changed since"):
        pickle.loads(pickled).predict(PIXELS)
