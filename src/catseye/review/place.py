"""Where a page of this room is opened, and the loop that shows it until a signal.

Enters: options as users give them. Leaves: `PagePlace`, then an exit code. Called by command.py and teach_command.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from catseye.errors import UsageError
from catseye.files import StrPath
from catseye.http.limits import LOOPBACK
from catseye.http.listening import Stopping, listen, run_loop
from catseye.http.local_pages import LocalPages
from catseye.http.logs import Log
from catseye.http.rules import Rules
from catseye.http.sockets import address, bind

FINISH_S = 5
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


def require_loopback(host: str) -> None:
    """These pages are for this machine alone.

    Raises:
        UsageError: the host is another one.

    """
    if host not in LOOPBACK:
        raise UsageError(
            f"these pages are for this machine alone, so --host is 127.0.0.1, localhost or ::1; got {host}; "
            "to see them from elsewhere: ssh -L 8200:localhost:8200 THIS-MACHINE"
        )


def show_pages(pages: LocalPages, place: PagePlace, ready: Ready, log: Log, facts: dict[str, Any]) -> int:
    """Show pages until a signal, and return the exit code; `ready` hears the address and `facts`."""
    listener = bind(place.host, place.port)
    where = address(listener)

    def say() -> None:
        ready({"address": where, "file": str(place.out), **facts})
        if place.open_browser:
            import webbrowser

            webbrowser.open(where)

    async def run() -> int:
        await listen(pages, listener, Rules(pages.limits), log, say, Stopping(drain_s=0.0, finish_s=FINISH_S))
        return 0

    try:
        return run_loop(run())
    finally:
        listener.close()
        log.close()
