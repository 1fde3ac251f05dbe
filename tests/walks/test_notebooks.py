"""The notebooks of examples/ run from top to bottom, and show what they were kept with."""

import json
from pathlib import Path

import pytest

from tests.walks.run_notebook import run_cells

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = json.loads(path.read_text())
    again = json.loads(path.read_text())
    run_cells(again)
    for before, after in zip(kept["cells"], again["cells"], strict=True):
        kinds = [[sorted(one.get("data", {})) for one in cell.get("outputs", [])] for cell in (before, after)]
        assert kinds[0] == kinds[1], "".join(before["source"])
    assert any(cell.get("outputs") for cell in kept["cells"]), "kept without outputs; run tests.walks.run_notebook"
