"""Serves a local page until a signal, and opens it in a browser.

Enters: an application and where it listens. Leaves: an exit code. Called by review/place.py and lab/command.py.
"""

from collections.abc import Callable

from anyio import to_thread

from catseye.errors import UsageError
from catseye.http.limits import LOOPBACK
from catseye.http.listening import Stopping, listen, run_loop
from catseye.http.local_pages import LocalPages
from catseye.http.logs import Log
from catseye.http.rules import Rules
from catseye.http.sockets import address, bind

FINISH_S = 5


def require_loopback(host: str, what: str = "these pages are", port: int = 8200) -> None:
    """Local pages are for this machine only.

    Raises:
        UsageError: the host is another one.

    """
    if host not in LOOPBACK:
        raise UsageError(
            f"{what} for this machine only, so --host is 127.0.0.1, localhost or ::1; got {host}; "
            f"to see {'it' if what.endswith(' is') else 'them'} from elsewhere: "
            f"ssh -L {port}:localhost:{port} THIS-MACHINE"
        )


def show_until_signal(
    pages: LocalPages,
    host: str,
    port: int,
    log: Log,
    ready: Callable[[str], None],
    *,
    open_browser: bool,
    num_threads: int | None = None,
) -> int:
    """Serve pages until a signal, and return the exit code.

    `ready` gets the address once they can be opened. `num_threads` requests are answered at once; None: the library's
    default.

    Raises:
        UsageError: the address cannot be used.

    """
    listener = bind(host, port)
    url = address(listener)

    def announce() -> None:
        ready(url)
        if open_browser:
            import webbrowser

            webbrowser.open(url)

    async def run() -> int:
        if num_threads is not None:
            to_thread.current_default_thread_limiter().total_tokens = num_threads
        await listen(pages, listener, Rules(pages.limits), log, announce, Stopping(drain_s=0.0, finish_s=FINISH_S))
        return 0

    try:
        return run_loop(run())
    finally:
        listener.close()
        log.close()
