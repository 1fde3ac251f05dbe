"""What is printed was often written by others: it is shown, and obeyed by neither rich nor the terminal."""

import errno
import io
import json
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from catseye.cli import printing
from catseye.cli.printing import Terminal, cell, command_line, plain, print_json, say_error, tell
from catseye.errors import SaveError

TITLE = "\x1b]0;mine\x07"
CLIPBOARD = "\x1b]52;c;bWluZQ==\x1b\\"
ONE_BYTE_CSI = "\x9b2J"


@pytest.mark.parametrize(
    "text", ["pets [v2]", "x[/z]", "[bold]", "[/]", ":smile:", "[link=https://a.b]c[/link]", "\\["]
)
def test_text_is_never_markup(text, capsys):
    tell(text)
    printing.stdout.print(text)
    printing.show(_table(cell(text), text))
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize("text", [TITLE, CLIPBOARD, ONE_BYTE_CSI, "a\rb", "a\x08b", "\u202egnp.exe", "\x7f"])
def test_no_escape_reaches_the_terminal(text, capsys):
    tell(text)
    say_error(text)
    printing.stdout.print(text)
    printing.show(_table(text))
    print_json({"class": text})
    told = capsys.readouterr()
    for character in set(text) - set("]0;mine52cbWluZQ==\\2Jabgp.x"):
        assert character not in told.out + told.err, repr(character)


def _table(*cells):
    table = Table("name", box=None)
    for each in cells:
        table.add_row(each)
    return table


def test_no_name_begins_a_line_of_its_own(capsys):
    name = "cat\nerror: the disk is on fire"
    tell(f"classes: {name}")
    say_error(f"{name} is no class")
    told = capsys.readouterr()
    assert told.out == "classes: cat\\nerror: the disk is on fire\n"
    assert [line for line in told.err.splitlines() if line.startswith("error:")] == ["error: cat"]


@given(st.text(max_size=30))
def test_plain_text_is_one_line_without_controls(text):
    line = plain(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in line)


@pytest.mark.parametrize(
    "word", ["a b", "[v2]", "it's", "$HOME", "a\nb", "\x1b]0;x\x07", "猫", "-x", "a\\b'c\t", "\udcff.png", "*"]
)
def test_next_lines_can_be_pasted(word):
    line = command_line("printf", "%s", word)
    assert line == plain(line)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout == word.encode("utf-8", "surrogateescape")


def test_placeholders_stay_as_they_are():
    assert command_line("catseye", "predict", "my run", "IMAGE…") == "catseye predict 'my run' IMAGE…"
    assert shlex.split(command_line("a", "x y")) == ["a", "x y"]


class Stream(io.TextIOWrapper):
    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")

    def bytes(self):
        self.flush()
        return self.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252", "utf-8", "utf-16-le"])
def test_every_encoding_takes_every_text(encoding, monkeypatch):
    out = Stream(encoding)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", Stream(encoding))
    printing.accept_any_encoding()
    tell("accuracy 1 – 2 × 猫 \udcff")
    print_json({"class": "é猫", "bad": "\udcff"})
    text = out.bytes().decode(encoding, "surrogateescape")
    assert "accuracy 1 " in text
    assert json.loads(text[text.index("{") :])["class"] == "é猫"


class Full:
    encoding = "utf-8"

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        pass

    def isatty(self):
        return False


def test_a_full_disk_behind_stdout_is_named(monkeypatch):
    monkeypatch.setattr("sys.stdout", Full())
    for act in (lambda: Terminal().print("x"), lambda: print_json({})):
        with pytest.raises(SaveError, match=r"stdout cannot be written \(No space left"):
            act()
