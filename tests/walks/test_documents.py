"""The chapters and the first guide are run from top to bottom; their Python also in the fast suite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catseye.models.milestones import MILESTONES
from tests.walks.run_document import blocks, run_python

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "docs" / "concepts").glob("*.md"))
PAGES = [ROOT / "docs" / "index.md", *CHAPTERS, *sorted((ROOT / "docs" / "guides").glob("*.md"))]


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_what_the_python_of_a_chapter_prints(page):
    names: dict[str, object] = {}
    for language, block in blocks(page.read_text()):
        if language == "python":
            run_python(block, page.name, names)


def test_another_answer_is_seen():
    with pytest.raises(AssertionError, match="Expected"):
        run_python(">>> 1 + 1\n3\n", "page", {})


def test_the_timelines_table_says_what_catseye_models_says():
    page = (ROOT / "docs" / "timeline.md").read_text()
    for one in MILESTONES:
        top1 = "–" if one.top1 is None else f"{one.top1:g}"
        parameters = f"{one.parameters / 1e6:g} M"
        row = f"| {one.year} | `{one.name}` | {one.innovation} | {parameters} | {top1} |"
        assert (row in page) != one.extra, row


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_from_top_to_bottom(page, tmp_path):
    words = [sys.executable, "-m", "tests.walks.run_document", str(page)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
