"""Results to stdout, everything else to stderr; `--json` bypasses rich.

Paths, class names and texts in model files were written by others. Nothing printed here is read as markup, and every
character that could move the cursor, set the title, write the clipboard or begin a new line is escaped. Called by every
verb; rooms that report while they work are handed one of the two consoles.
"""

import codecs
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from catseye.errors import SaveError

# Control characters of C0 and C1, line and paragraph separators, and the marks that reverse the order of a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSAFE_BUT_NEW_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_ASCII = {"–": "-", "…": "...", "×": "x", "±": "+/-", "→": "->", "“": '"', "”": '"', "≤": "<=", "Δ": "d"}
PLACEHOLDER = re.compile(r"[A-Z]+…?")


@dataclass
class CommonOptions:
    """The options that every verb has; `verbs.py` sets them once per command."""

    json: bool = False
    debug: bool = False


common_options = CommonOptions()


def plain(text: object) -> str:
    r"""Foreign text as one line, its control characters escaped.

    >>> plain("cat\x1b]0;title\x07\nerror: none")
    'cat\\x1b]0;title\\x07\\nerror: none'
    """
    return _UNSAFE.sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class Terminal(Console):
    """A console that never takes text for markup or escapes, and reports a full disk."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, with their control characters made visible."""
        for segment in super().render(renderable, options):
            if segment.control or not _UNSAFE_BUT_NEW_LINES.search(segment.text):
                yield segment
            else:
                yield Segment(_UNSAFE_BUT_NEW_LINES.sub(_escaped, segment.text), segment.style)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does.

        Raises:
            SaveError: the disk behind the stream is full, or it fails otherwise.

        """
        try:
            super().print(*objects, **how)
        except OSError as error:
            raise _stream_lost("stderr" if self.stderr else "stdout", error) from None


stdout = Terminal()
stderr = Terminal(stderr=True)


def tell(line: object, *, bold: bool = False) -> None:
    """Write one line of the results."""
    stdout.print(plain(line), style="bold" if bold else None)


def show(table: RenderableType, *, wrap: bool = False) -> None:
    """Write a table of the results; `wrap` folds it into the width of the terminal."""
    stdout.print(table, soft_wrap=not wrap)


def cell(text: object, style: str = "") -> Text:
    """Text for a cell of a table."""
    return Text(plain(text), style)


def note(line: object) -> None:
    """Print a remark on stderr."""
    stderr.print(f"- {plain(line)}")


def say_error(message: object) -> None:
    """Print on stderr why a command fails.

    Further lines are indented, so that none looks like an error of its own.
    """
    stderr.print(Text("error:", "bold red"), "\n  ".join(plain(line) for line in str(message).split("\n")))


def next_step(*words: object) -> None:
    """Write a `next:` line that can be pasted into a shell."""
    tell(f"next: {command_line(*words)}")


def command_line(*words: object) -> str:
    r"""Words quoted for a shell; placeholders such as IMAGE… stay as they are.

    >>> command_line("catseye", "evaluate", "my run [v2]"), command_line("predict", "IMAGE…", "-x\x1b")
    ("catseye evaluate 'my run [v2]'", "predict IMAGE… $'-x\\x1b'")
    """
    return " ".join(word if PLACEHOLDER.fullmatch(word) else _quoted(word) for word in map(str, words))


def _quoted(word: str) -> str:
    if _UNSAFE.search(word) or not word.isprintable():  # bash, zsh and ksh read \x1b in $'…'
        inner = "".join(_shell_escape(character) for character in word)
        return f"$'{inner}'"
    return shlex.quote(word)


def _shell_escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def print_json(content: Any) -> None:
    """Write results for programs; rich would colour and wrap them."""
    if sys.stdout is None:
        return
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    text = json.dumps(content, indent=2, ensure_ascii=not is_utf8, allow_nan=False)
    text = _UNSAFE_BUT_NEW_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise _stream_lost("stdout", error) from None


def headline(metrics: Any, trained_on: int = 0) -> str:
    """The accuracy with its interval and number of images, in one line.

    A warning comes first if it is no better than guessing, or if some of the images trained the model.
    """
    from catseye.evaluation.guessing import guessing_sentence, trained_on_sentence

    low, high = metrics.accuracy_low, metrics.accuracy_high
    score = f"accuracy {metrics.accuracy:.2%} (95% interval {low:.2%} – {high:.2%}, n = {metrics.num_images:,})"
    first = trained_on_sentence(trained_on, metrics.num_images), guessing_sentence(metrics)
    return "; ".join(filter(None, (*first, score)))


def accept_any_encoding() -> None:
    """Replace characters that an encoding (ascii, cp437, …) lacks by similar ones."""
    codecs.register_error("catseye", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="catseye")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unwritable = error.object[error.start : error.end]
    near = "".join(
        _ASCII.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")
        for character in unwritable
    )
    return near, error.end


def _stream_lost(stream: str, error: OSError) -> OSError | SaveError:
    if isinstance(error, BrokenPipeError):
        return error
    return SaveError(f"{stream} cannot be written ({error.strerror}); what was printed may be cut off")
