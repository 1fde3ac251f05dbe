"""The real CIFAR-10, where it lies beside the checkout: one command line for the folder, a zip of it and a CSV."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

UNPACK = Path(__file__).parents[3] / "shared" / "data" / "unpack.py"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not UNPACK.exists(), reason="the images are not on this machine")]


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar") / "cifar10"
    subprocess.run([sys.executable, str(UNPACK), "cifar10", str(root)], check=True)
    files = sorted(root.rglob("*.png"))
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(root.parent))
    with root.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for file in files:
            writer.writerow([file.relative_to(root.parent), file.parent.name, file.parent.parent.name])
    return root


def test_folder_zip_and_csv_train_the_same_network(cifar10, catseye_command, tmp_path):
    results = []
    for source in (cifar10, cifar10.with_suffix(".zip"), cifar10.with_suffix(".csv")):
        done = catseye_command(
            "train",
            source,
            "--epochs",
            1,
            "--out",
            source.suffix or "folder",
            "--json",
            "--device",
            "cpu",
            timeout_s=900,
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert {result["num_images"] for result in results} == {10_000}
    assert len({result["accuracy"] for result in results}) == 1
    assert results[0]["accuracy"] > 0.4
    folder, zipped, listed = (load_file(tmp_path / name / "model.safetensors") for name in ("folder", ".zip", ".csv"))
    for name, value in folder.items():
        np.testing.assert_array_equal(value, zipped[name])
        np.testing.assert_array_equal(value, listed[name])
    recorded = json.loads((tmp_path / "folder" / "data.json").read_text())
    num = {side: len(names) for side, names in recorded["splits"].items()}
    assert (num["train"] + num["val"], num["test"]) == (50_000, 10_000)
    assert num["val"] == pytest.approx(5_000, rel=0.01)  # near copies stay together, so not to the image


def test_the_published_statistics_are_found(cifar10):
    import torch

    from catseye.data.prepare import prepare
    from catseye.data.sources import open_source
    from catseye.settings.schema import DataSettings

    settings = DataSettings(val_fraction=0.0)
    spec = prepare(open_source(cifar10), settings, batch_size=128, seed=0, device=torch.device("cpu")).spec
    assert spec.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert spec.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
