"""The line of a report that says what the nearest training images score on the same features."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.evaluation.knn_baseline import NUM_NEIGHBOURS, score_neighbours
from catseye.evaluation.measure import measure
from catseye.preprocess import preprocess
from catseye.runs import open_run, read_json
from catseye.runtimes.loading import open_model


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(shapes, root / "data")
    settings = {"training.batch_size": 16}
    return catseye.train(root / "data", model="lenet5", epochs=1, out=root / "run", device="cpu", settings=settings)


def test_the_score_is_that_of_scikit_learn(run):
    opened = open_model(run.path, device="cpu")
    spec, source = opened.manifest.preprocessing, run.path.parent / "data"

    def features(side):
        told = open_run(run.path).data["splits"][side]
        x = torch.from_numpy(np.stack([preprocess(source / name, spec) for name in told])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            pooled = opened.network.features(normalise_batch(to_unit(x), spec)).mean((2, 3))
        return pooled.numpy(), [opened.manifest.classes.index(label) for label in told.values()]

    def weights(distances):
        return (2 - distances) ** 4

    oracle = KNeighborsClassifier(NUM_NEIGHBOURS, metric="cosine", weights=weights).fit(*features("train"))
    expected = oracle.score(*features("test"))
    found = score_neighbours(measure(opened))
    assert found.accuracy == pytest.approx(expected)
    assert (found.num_reference, found.num_images) == (84, 24)
    assert found.low <= found.accuracy <= found.high


def test_report_metrics_and_command_say_it(run, command):
    code, told, _ = command("evaluate", run.path, "--device", "cpu")
    assert code == 0
    line = next(line for line in told.splitlines() if line.startswith("a k-NN on the same features scores"))
    assert "5 neighbours among 84 training images" in line
    assert f"A{line[1:]}." in (run.path / "report.html").read_text()
    assert read_json(run.path / "metrics.json")["k_nn"]["num_neighbours"] == 5


def test_without_training_images_the_score_stands_alone(run, shapes, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    text = (tmp_path / "run" / "data.json").read_text().replace(str(run.path.parent / "data"), "/nowhere/at/all")
    (tmp_path / "run" / "data.json").write_text(text)
    found = catseye.evaluate(tmp_path / "run", shapes, out=tmp_path / "out")
    assert found.neighbours is None
    assert "k-NN" not in (tmp_path / "out" / "report.html").read_text()
