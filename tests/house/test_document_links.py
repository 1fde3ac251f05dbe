"""Links of the documents lead somewhere, their commands exist, and the site that is made of them is whole."""

import doctest
import importlib
import json
import re

import pytest
import typer
from docs.builder import benchmark_pages, command_reference, links, stage
from docs.builder.build import ROOT, BrokenDocuments, build, write_sources

from catseye.cli import app
from tests.house.rules import hold
from tests.walks.run_document import blocks, commands

BESIDE = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")
DOCUMENTS = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in BESIDE)]
BUILDER = ["api_reference", "benchmark_pages", "command_reference", "stage", "tables"]


def test_docstring_examples():
    def every_example_gives_what_it_says(name):
        assert doctest.testmod(importlib.import_module(f"docs.builder.{name}")).failed == 0

    hold(every_example_gives_what_it_says, BUILDER)


def test_links_lead_somewhere():
    def has_links_that_lead_somewhere(path):
        for target in stage.links(path.read_text()):
            name, _, anchor = target.partition("#")
            goal = path.parent / name if name else path
            assert goal.exists(), f"{path.name} links to {target}"
            known = stage.anchors(goal.read_text()) if anchor else {""}
            assert anchor in known, f"{path.name} links to {target}, and there is no such heading"

    hold(has_links_that_lead_somewhere, DOCUMENTS)


def test_every_command_and_flag_exists():
    """Words are parsed as the command line would, without running anything; a wrong verb or flag raises."""

    def has_commands_that_exist(path):
        for language, block in blocks(path.read_text()):
            for words in commands(block) if language == "console" else []:
                parse(words)

    hold(has_commands_that_exist, DOCUMENTS)


def parse(words):
    command, name, rest = typer.main.get_command(app), "catseye", words
    parent = None
    while True:
        context = command.make_context(name, list(rest), parent=parent)
        if not hasattr(command, "commands"):
            return
        left = [*getattr(context, "_protected_args", []), *context.args]
        name, command, rest = command.resolve_command(context, left)
        parent = context


def test_a_wrong_flag_is_seen():
    parse(["train", "digits", "--epochs", "3"])
    with pytest.raises(Exception, match="--epochz"):
        parse(["train", "digits", "--epochz", "3"])
    with pytest.raises(Exception, match="trian"):
        parse(["trian", "digits"])


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in stage.PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# A page\n")
    (tmp_path / "docs" / "index.md").write_text("[gone](nowhere.md)\n")
    with pytest.raises(stage.BrokenLink, match=r"docs/index.md links to nowhere.md"):
        stage.stage(tmp_path, tmp_path / "staged")


def test_links_out_of_the_documents_find_their_page(tmp_path):
    write_sources(tmp_path)
    speed = (tmp_path / "speed.md").read_text()
    assert "](benchmarks/train-speed.md)" in speed
    assert "](benchmarks/index.md)" in speed
    assert "](files/benchmarks/baselines/article_loop.py)" in speed
    assert (tmp_path / "files/benchmarks/baselines/article_loop.py").exists()


def test_every_result_has_a_page_with_its_command_and_numbers(tmp_path):
    results = ROOT / "benchmarks" / "results"
    benchmark_pages.write(results, tmp_path)
    for path in results.glob("*.json"):
        result, page = json.loads(path.read_text()), (tmp_path / f"{path.stem}.md").read_text()
        assert f"$ {result['command']}" in page
        assert result["commit"][:12] in page
        missing = [key for key in result if key not in benchmark_pages.KNOWN and benchmark_pages.title(key) not in page]
        assert not missing, path.name
    assert "0.9883 ± 0.002331 (0.9861 – 0.9916)" in (tmp_path / "digits-lenet5.md").read_text()


def test_the_command_reference_has_every_verb_and_flag(tmp_path):
    command_reference.write(tmp_path)
    page = (tmp_path / "commands.md").read_text()
    for name, verb in command_reference.verbs_of(typer.main.get_command(app)):
        (section,) = re.findall(rf"^## catseye {name}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        for parameter in verb.params:
            if parameter.opts[0].startswith("--"):
                assert f"`{parameter.opts[0]}`" in section, f"{name} {parameter.opts[0]}"


@pytest.fixture
def site(tmp_path):
    (tmp_path / "theme.css").write_text("a { color: red }")
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    return tmp_path


@pytest.mark.parametrize(
    ("element", "fault"),
    [
        ('<a href="b.html#there">b</a>', None),
        ('<a href="https://example.org">elsewhere</a>', None),
        ('<a href="c.html">c</a>', "does not exist"),
        ('<a href="b.html#gone">b</a>', "no such anchor"),
        ('<a href="../outside.html">b</a>', "outside the site"),
        ('<img src="https://example.org/p.png">', "another host"),
        ('<link rel="stylesheet" href="//example.org/s.css">', "another host"),
        ('<script src="gone.js"></script>', "does not exist"),
    ],
)
def test_faults_of_built_pages(site, element, fault):
    (site / "a.html").write_text(element)
    found = links.faults(site)
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]


def test_a_style_sheet_from_another_host_is_a_fault(site):
    (site / "theme.css").write_text('@import "https://example.org/fonts.css";')
    assert "theme.css" in links.faults(site)[0]


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    build(tmp_path / "site")
    names = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "search.html", "concepts/2-convolution.html", "reference/commands.html"} <= names
    assert {f"benchmarks/{path.stem}.html" for path in (ROOT / "benchmarks" / "results").glob("*.json")} <= names


@pytest.mark.slow
def test_a_broken_anchor_stops_the_build(tmp_path, monkeypatch):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")

    def write_two_pages(staged):
        (staged / "index.md").write_text("# A\n\n[gone](b.md#no-such-heading)\n\n```{toctree}\nb\n```\n")
        (staged / "b.md").write_text("# B\n")

    monkeypatch.setattr("docs.builder.build.write_sources", write_two_pages)
    with pytest.raises(BrokenDocuments, match="no-such-heading"):
        build(tmp_path / "site")
    assert not (tmp_path / "site").exists()
