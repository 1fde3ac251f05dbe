"""Run a document from top to bottom in the current folder: `python -m tests.walks.run_document PAGE`.

Commands of ```console blocks and examples of ```python blocks run in the order in which they stand there, all in one
process. Verbs that go on until a signal comes are left out.
"""

import doctest
import re
import shlex
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
UNTIL_A_SIGNAL = {"lab", "serve", "review", "label"}


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, text) of each block that can be run."""
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


def commands(block: str) -> list[list[str]]:
    r"""The words behind `$ catseye` of each such line of a console block, comments left out.

    >>> commands("$ catseye train digits  # all of them\nepoch 1\n$ pip install x\n$ catseye check \\\n    digits")
    [['train', 'digits'], ['check', 'digits']]
    """
    lines = re.sub(r"\\\n\s*", " ", block).splitlines()
    return [shlex.split(line[2:], comments=True)[1:] for line in lines if line.startswith("$ catseye ")]


def run_python(block: str, name: str, names: dict[str, object]) -> None:
    """Run a block: its answers are compared where it shows a prompt."""
    if ">>>" not in block:
        exec(compile(block, name, "exec"), names)
        return
    example = doctest.DocTestParser().get_doctest(block, names, name, name, 0)
    told: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=told.append, clear_globs=False)
    names.update(example.globs)
    if failed:
        raise AssertionError("".join(told))


def run_command(words: list[str]) -> None:
    """Run `catseye WORDS` in this process."""
    from catseye.cli import main

    before, sys.argv = sys.argv, ["catseye", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"catseye {shlex.join(words)} ended with {end.code}") from None
    finally:
        sys.argv = before


def run(page: Path) -> None:
    """All of a page."""
    names: dict[str, object] = {"__name__": "__main__"}
    for language, block in blocks(page.read_text()):
        if language == "python":
            run_python(block, page.name, names)
            continue
        for words in commands(block):
            if words[0] not in UNTIL_A_SIGNAL:
                print(f"$ catseye {shlex.join(words)}", flush=True)
                run_command(words)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
