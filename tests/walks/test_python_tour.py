"""The tour of the Python API, run block by block as it stands there."""

from pathlib import Path

import pytest

from tests.walks.run_document import blocks, run_python

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {"__name__": "tour"}


def test_the_tour_runs_from_top_to_bottom(names, capsys):
    code = [block for language, block in blocks(PAGE.read_text()) if language == "python"]
    assert len(code) >= 6
    for block in code:
        run_python(block, PAGE.name, names)
    assert names["mine"].metrics.num_images
    assert Path("cam.png").exists()
    assert Path("batch.png").exists()
