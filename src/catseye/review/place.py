"""Where a page of this room is opened, and the loop that shows it until a signal.

Enters: options as users give them. Leaves: `PagePlace`, then an exit code. Called by command.py and teach_command.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from catseye.files import StrPath
from catseye.http.local_pages import LocalPages
from catseye.http.logs import Log
from catseye.http.shown import show_until_signal

Say = Callable[[str], None]
Ready = Callable[[dict[str, Any]], None]


class PageOptions(TypedDict, total=False):
    """The further keyword arguments of the pages."""

    host: str
    device: str
    data_dir: StrPath | None
    ready: Ready
    tell: Say


@dataclass(frozen=True)
class PagePlace:
    """Where a page is opened: address, file of decisions, the person's name."""

    out: Path
    host: str = "127.0.0.1"
    port: int = 8200
    open_browser: bool = False
    who: str = ""
    device: str = "auto"
    data_dir: Path | None = None


def page_place(out: StrPath, port: int, browser: bool, who: str, options: PageOptions) -> PagePlace:
    """The place for a caller's options."""
    host, device, folder = options.get("host", "127.0.0.1"), options.get("device", "auto"), options.get("data_dir")
    return PagePlace(Path(out), host, port, browser, who, device, Path(folder) if folder else None)


def print_place(facts: dict[str, Any]) -> None:
    """The default for `ready`: print the address."""
    print(facts["address"], flush=True)


def say_no_word(line: str) -> None:
    """The default for `tell`: no messages."""


def show_pages(pages: LocalPages, place: PagePlace, ready: Ready, log: Log, facts: dict[str, Any]) -> int:
    """Show pages until a signal, and return the exit code.

    `ready` gets the address and `facts`.
    """

    def announce(address: str) -> None:
        ready({"address": address, "file": str(place.out), **facts})

    return show_until_signal(pages, place.host, place.port, log, announce, open_browser=place.open_browser)
