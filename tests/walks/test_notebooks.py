"""The notebooks of examples/ run from top to bottom, and are kept with what they show."""

import json
import re
from pathlib import Path

import pytest

from tests.walks.run_notebook import run_cells

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = ("1-first-classifier", "2-bring-your-own", "3-label-errors")
MAX_BYTES = 100_000


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_as_it_ran(name):
    """All cells, in order, without an error, a path of somebody's machine or an image that fills the repository."""
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text) < MAX_BYTES
    assert not re.search(r"/(tmp|home|root|work|Users)/", text)
    content = json.loads(text)
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) >= 5
    assert {one["output_type"] for cell in cells for one in cell["outputs"]} <= {"stream", "execute_result"}


def test_there_are_no_others():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize(
    "name", [pytest.param(NAMES[0], marks=pytest.mark.slow), NAMES[1], pytest.param(NAMES[2], marks=pytest.mark.slow)]
)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    """Each cell still shows what it was kept with: the same kinds of outputs; the last words of some are judged."""
    monkeypatch.chdir(tmp_path)
    kept = json.loads((FOLDER / f"{name}.ipynb").read_text())
    again = json.loads((FOLDER / f"{name}.ipynb").read_text())
    run_cells(again)
    for before, after in zip(kept["cells"], again["cells"], strict=True):
        kinds = [
            [(one["output_type"], sorted(one.get("data", {}))) for one in cell.get("outputs", [])]
            for cell in (before, after)
        ]
        assert kinds[0] == kinds[1], "".join(before["source"])
    said = "".join(line for cell in again["cells"] for one in cell.get("outputs", []) for line in one.get("text", []))
    if name == NAMES[0]:
        assert float(re.search(r"([\d.]+)% of 36 test images", said)[1]) > 60
    elif name == NAMES[1]:
        assert "100.00% equal answers" in said
    else:
        suspects, wrong = map(int, re.search(r"(\d+) suspects; (\d+) of them are really wrong", said).groups())
        assert wrong > suspects / 2
        assert re.search(r"corrections, accuracy .* on the same \d+ corrected images", said)
