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
    """What else the pages take by name."""

    host: str
    device: str
    data_dir: StrPath | None
    ready: Ready
    tell: Say


@dataclass(frozen=True)
class PagePlace:
    """Where a page is opened, and with what: address, file of decisions, who decides."""

    out: Path
    host: str = "127.0.0.1"
    port: int = 8200
    open_browser: bool = False
    who: str = ""
    device: str = "auto"
    data_dir: Path | None = None


def page_place(out: StrPath, port: int, browser: bool, who: str, options: PageOptions) -> PagePlace:
    """The place that a caller's options name."""
    host, device, folder = options.get("host", "127.0.0.1"), options.get("device", "auto"), options.get("data_dir")
    return PagePlace(Path(out), host, port, browser, who, device, Path(folder) if folder else None)


def print_place(facts: dict[str, Any]) -> None:
    """The address, for callers who did not say who hears it."""
    print(facts["address"], flush=True)


def say_no_word(line: str) -> None:
    """For callers who want to hear nothing."""


def show_pages(pages: LocalPages, place: PagePlace, ready: Ready, log: Log, facts: dict[str, Any]) -> int:
    """Show pages until a signal, and return the exit code; `ready` hears the address and `facts`."""

    def heard(where: str) -> None:
        ready({"address": where, "file": str(place.out), **facts})

    return show_until_signal(pages, place.host, place.port, log, heard, open_browser=place.open_browser)
