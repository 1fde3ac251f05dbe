"""A run remembers how its DATA was read: every later command reads it so, without being told again."""

import csv

import catseye
from catseye.exporting.export import export
from catseye.runs import open_run
from tests.conftest import write_tinted

SMALL = {"training.epochs": 1, "training.batch_size": 8}


def test_a_layout_that_was_chosen_holds_for_evaluate_and_export(tmp_path):
    for place in ("north", "south"):
        write_tinted(tmp_path / "data" / place, 6)
    chosen = {**SMALL, "data.layout": "splits"}
    done = catseye.train(tmp_path / "data", model="lenet5", seed=1, settings=chosen, out=tmp_path / "run", device="cpu")
    assert open_run(done.path).data["classes"] == ["blue", "green", "red"]
    assert catseye.evaluate(done.path, device="cpu").metrics.num_images > 0
    assert catseye.evaluate(done.path, tmp_path / "data", device="cpu").metrics.num_images > 0
    assert export(done.path, to="onnx", device="cpu").files


def test_columns_that_were_chosen_hold_for_evaluate_and_export(tmp_path):
    root = write_tinted(tmp_path / "data", 8)
    with (root / "list.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["photo", "shape", "tint", "plant"])
        for number, file in enumerate(sorted(root.rglob("*.png"))):
            name = str(file.relative_to(root)).replace("/", "\\")
            writer.writerow([name, "round", file.parent.name, f"p{number // 2}"])
    chosen = {**SMALL, "data.label_column": "tint"}
    done = catseye.train(root / "list.csv", model="lenet5", seed=1, settings=chosen, out=tmp_path / "run", device="cpu")
    splits = open_run(done.path).data["splits"]
    side = {name: which for which, names in splits.items() for name in names}
    names = sorted(side)
    assert len(names) == 24
    assert all(side[one] == side[other] for one, other in zip(names[::2], names[1::2], strict=True)), "pairs of a plant"
    assert catseye.evaluate(done.path, device="cpu").metrics.num_images == len(splits["test"])
    assert export(done.path, to="onnx", device="cpu").files
