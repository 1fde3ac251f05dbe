"""Words that explain themselves, the documents' chapters as pages, the recorded run and its reasons."""

import json
import re
from pathlib import Path

import pytest

from catseye.errors import UnknownName
from catseye.lab.bench import Workbench
from catseye.lab.chapters.table import CHAPTERS
from catseye.lab.chapters.timeline.answers import MEASURED
from catseye.lab.chapters.training import answers
from catseye.lab.glossary import GLOSSARY, mark_terms, terms_of
from catseye.lab.page_files import read_pages
from catseye.lab.questions import Nothing
from catseye.lab.reading import find_readings, read_chapter

ROOT = Path(__file__).parents[2]


def test_every_word_is_described_on_its_page_and_every_term_is_used():
    used = set()
    for chapter in CHAPTERS:
        page = read_pages()[f"/{chapter.name}"].content.decode()
        described = re.findall(r'aria-describedby="(word-[^"]+)"', page)
        assert described, chapter.name
        assert all(page.count(f'id="{one}"') == 1 for one in described)
        assert "[[" not in page
        used |= {*chapter.words} | set(re.findall(r'data-term="([^"]+)"', page))
    assert used == set(GLOSSARY)


def test_a_word_without_explanation_is_refused():
    assert terms_of("a [[loss]] and [[loss|losses]]") == {"loss"}
    with pytest.raises(UnknownName, match="los"):
        mark_terms("a [[los]]")


def test_every_chapter_names_a_reading_that_leads_back():
    found = find_readings()
    pages = read_pages()
    for chapter in CHAPTERS:
        assert chapter.reading in found
        page = pages[f"/read/{chapter.reading}"].content.decode()
        assert f'href="/{chapter.name}"' in page
        assert f'href="/read/{chapter.reading}"' in pages[f"/{chapter.name}"].content.decode()
        number = {one.number: one for one in CHAPTERS}[chapter.number]
        assert f"lab.md#{number.number}-" in found[chapter.reading].read_text()  # the way back in the documents


def test_links_lead_within_the_lab_or_nowhere(tmp_path):
    (tmp_path / "a.md").write_text(
        "# A title\n\n[b](b.md#x) [far](../far.md) [lab](../lab.md#2-convolution) <b>no</b>\n\n```\n<table>\n```\n"
    )
    page = read_chapter(tmp_path / "a.md", {"b"}, {2: "convolution"})
    assert page.title == "A title"
    assert '<a href="/read/b#x">b</a>' in page.html
    assert "<a>far</a>" in page.html
    assert '<a href="/convolution">lab</a>' in page.html
    assert "&lt;b&gt;no" in page.html
    assert '<pre tabindex="0"><code>&lt;table&gt;' in page.html


def test_the_recorded_run_is_one_that_the_page_could_have_started():
    found = answers.recorded(Workbench(), Nothing())
    asked = answers.Start(**found["asked"])
    kinds = [event["kind"] for event in found["events"]]
    assert kinds[0] == "command"
    assert found["events"][0]["command"] == asked.command
    assert kinds.count("epoch") == asked.epochs
    assert kinds[-1] == "end"
    times = [event["at_s"] for event in found["events"]]
    assert times == sorted(times)
    assert answers.RECORDED.stat().st_size < 60_000


def test_the_reasons_are_the_settings_of_the_run():
    why = answers.reasons(Workbench(), answers.Start(augmentation="shifts"))
    assert why["smoothing"] == 0.1  # recipes/quick.toml
    assert why["lowest_loss"] == pytest.approx(0.5003, abs=1e-3)
    last = [one for one in answers.recorded(Workbench(), Nothing())["events"] if one["kind"] == "epoch"][-1]["row"]
    assert last["train_loss"] > why["lowest_loss"] > last["val_loss"]


def test_the_measured_table_of_the_lab_is_that_of_the_documents():
    quoted = ROOT / "benchmarks" / "results" / "cifar10-timeline.json"
    assert json.loads(MEASURED.read_text()) == json.loads(quoted.read_text())
