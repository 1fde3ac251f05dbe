"""Words and idioms that are not the field's, which must not come back: in code, messages, documents."""

import ast
import re

from tests.house.rules import ROOT, hold, text

# CONTRIBUTING.md shows them beside what to say instead.
TEXTS = [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.html"), *ROOT.glob("src/**/*.js"), *ROOT.glob("docs/**/*.md")]
TEXTS += [ROOT / "README.md", ROOT / "CHANGELOG.md"]
IDIOMS = {
    "how manieth": "how often it has been seen",
    "leans to the good side": "is biased upwards",
    "no numbers any more": "contain NaN",
    "no number any more": "is NaN",
    "HTTP is spoken": "handles HTTP only",
    "ground shine": "is transparent",
    "nobody looks": "in a hidden folder",
    "the most that is waited": "the longest wait",
    "sees its answer": "the part of the image that the answer rests on",
    "another sign": "a different symbol",
    "answer may stand": "no answer is rejected",
    "give another folder": "choose a different folder",
    "pages to touch": "interactive pages",
    "begun anew": "restarted",
    "anything was begun": "any work began",
    "whole or not there": "complete or absent",
    "hears of it": "is reported to it",
    "hears no more": "gets no more",
    "an own image": "an image of the run",
    "numbers any more": "contain NaN",
    "nobody knows": "unknown",
    "catseye to work elsewhere": "run catseye on other platforms",
    "whose likes": "the image to search with",
    "said in its row": "gets a row with its error",
    "mean what they say": "calibrated",
    "images sent to do harm": "malicious images",
    "by which strangers are told": "that strangers are recognised by",
    "where it saw the class": "the part of the image that the class rests on",
    "signs of life": "heartbeats",
    "restart me": "restart the server",
    "load the page anew": "reload the page",
    "for whoever": "for anyone who",
    "some bytes lost on the way": "damaged",
    "what it makes of": "its answer to",
    "made to do harm": "malicious",
    "left to be tried": "no further trial fits",
    "no judge is left": "every judging image is classified correctly",
    "held out is drawn": "the held-out images are drawn",
    "stay on one side": "stay in one split",
    "of one and the same": "of the same",
    "say --": "use --",
}
# In front of a count that a program puts in, only counting.py makes a noun of one or several.
COUNTED = re.compile(r"\{(?:len|num|count)[^{}]*\} (?:images|classes|files|labels|pairs)\b")


def test_no_idiom_comes_back():
    def is_nowhere(idiom):
        wanted = re.compile(r"\s+".join(map(re.escape, idiom.split())), re.IGNORECASE)
        found = [str(path.relative_to(ROOT)) for path in TEXTS if wanted.search(text(path))]
        assert not found, f"{idiom!r} in {found}; say: {IDIOMS[idiom]}"

    hold(is_nowhere, IDIOMS)


def test_an_image_is_no_picture():
    """But for the keys of files that earlier versions wrote, and the names that lists of others give their columns."""
    allowed = {
        "manifest.py",
        "plan.py",
        "maths.py",
        "columns.py",
        "split_names.py",
        "given.py",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    }
    word = re.compile(r"\bpictures?\b", re.IGNORECASE)
    found = [
        str(path.relative_to(ROOT)) for path in TEXTS if path.name not in allowed and word.search(path.read_text())
    ]
    assert not found


def test_counts_agree_with_their_nouns():
    found = []
    for path in ROOT.glob("src/**/*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if COUNTED.search(line) and "tell" not in line:
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, found


def test_a_docstrings_first_line_is_short():
    def is_short(path):
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node, clean=False) or "").partition("\n")[0]
                name = getattr(node, "name", "the module")
                assert len(first) < 80, f"{path.relative_to(ROOT)}, {name}: {len(first)} characters; keep it under 80"

    hold(is_short, sorted(ROOT.glob("src/**/*.py")))
