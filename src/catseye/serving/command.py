"""Behind `catseye serve`: settings -> socket -> one process or a supervisor.

Called by users and cli. `serve` takes options, `run_serve` settings. In a program, `background=True` serves from a
thread until `stop()`.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, TypedDict, Unpack

from catseye.errors import CatseyeError, UsageError, refuse_unknown_options
from catseye.files import StrPath, path_of
from catseye.http.logs import Log
from catseye.http.sockets import address, bind, bind_path
from catseye.http.stopping import remove_path
from catseye.serving.metrics_folder import use_metrics_folder
from catseye.serving.settings import ServerSettings, is_open_to_others

Ready = Callable[[dict[str, Any]], None]
EXPORTED = ("export", "model.onnx")  # in a run folder


class ServeOptions(TypedDict, total=False):
    """The keyword arguments of `serve`; `catseye serve --help` explains each of them."""

    host: str
    port: int
    uds: StrPath | None
    workers: int
    watch: bool
    token_file: StrPath | None
    insecure: bool
    allow_host: Sequence[str]
    root_path: str
    cors_origin: Sequence[str]
    runtime: str
    trust: bool
    concurrency: int
    batch_size: int
    drain: float
    hang_time: float
    quiet: bool
    max_body: int
    max_pixels: int
    max_header: int
    max_parts: int
    header_time: float
    body_time: float
    write_time: float
    deadline: float
    max_queue: int
    max_connections: int
    max_per_address: int


class ServerInBackground:
    """A server in a thread of this process.

    `address` is where it can be reached; `with` calls `stop()` at the end.
    """

    def __init__(self, settings: ServerSettings, timeout_s: float = 600.0) -> None:
        self.address = ""
        self.facts: dict[str, Any] = {}
        self._reader, self._writer = os.pipe()
        self._told = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(settings,), name="catseye serve", daemon=True)
        self._thread.start()
        self._told.wait(timeout_s)
        if self._error is not None:
            raise self._error
        if not self.address:
            raise CatseyeError(f"the server did not answer within {timeout_s:g} s")

    def stop(self) -> None:
        """Answer what was accepted, then end; a second call does nothing."""
        if self._thread.is_alive() and self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._thread.join()

    def _run(self, settings: ServerSettings) -> None:
        try:
            run_serve(settings, self._ready, stop_pipe=self._reader)
        except BaseException as error:  # noqa: BLE001 - the thread that starts the server raises it
            self._error = error
        finally:
            self._told.set()
            os.close(self._reader)

    def _ready(self, facts: dict[str, Any]) -> None:
        self.address, self.facts = str(facts["address"]), facts
        self._told.set()

    def __enter__(self) -> "ServerInBackground":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    model: StrPath | ServerSettings,
    *,
    background: bool = False,
    ready: Ready | None = None,
    **options: Unpack[ServeOptions],
) -> Any:
    """Serve a model over HTTP: page, /predict, Open Inference Protocol, metrics.

    `model` is an exported file, or a run that has an export/model.onnx. Serves until a signal and returns the exit
    code; `ready` gets the address once requests are answered. With `background`, returns a `ServerInBackground` as soon
    as it is ready. The other options are those of `catseye serve`, times in seconds; a `ServerSettings` in place of the
    model holds them all.

    Raises:
        CatseyeError: the model, an option or the address cannot be used.

    """
    refuse_unknown_options(options, ServeOptions)
    settings = model if isinstance(model, ServerSettings) else settings_of(_exported(path_of(model)), options)
    if background:
        if settings.workers > 1:
            raise UsageError("a server in the background is one process; leave workers out")
        return ServerInBackground(settings)
    return run_serve(settings, ready or _print_address)


def _exported(path: Path) -> Path:
    """The file to serve; for a run its exported model."""
    if path.is_dir():
        exported = path.joinpath(*EXPORTED)
        if not exported.is_file():
            raise UsageError(
                f"the server needs an exported model; {exported} does not exist; catseye.export(run) writes it"
            )
        return exported
    return path


def settings_of(model: Path, options: ServeOptions) -> ServerSettings:
    """The settings for options named as on the command line."""
    from dataclasses import fields

    from catseye.http.limits import Limits

    values: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for kind, values_of_kind in ((ServerSettings, values), (Limits, limits)):
        for option in fields(kind):
            name = option.metadata.get("option", f"--{option.name}").removeprefix("--").replace("-", "_")
            if name in options and "help" in option.metadata:
                value: Any = options[name]  # type: ignore[literal-required]
                values_of_kind[option.name] = _as_field(value, option.default)
    return ServerSettings(**{"model": model, **values}, limits=Limits(**limits))


def _as_field(value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        return (value,) if isinstance(value, str) else tuple(value)
    return Path(value) if isinstance(value, os.PathLike) or (isinstance(value, str) and default is None) else value


def _print_address(facts: dict[str, Any]) -> None:
    print(f"{facts['address']}  the page; /docs says how to ask", flush=True)


def run_serve(settings: ServerSettings, ready: Ready, *, stop_pipe: int | None = None) -> int:
    """Serve until a signal, and return the exit code.

    `ready` gets the address once requests are answered. The server also stops when the pipe `stop_pipe` is closed.

    Raises:
        CatseyeError: the model, a setting or the address cannot be used.

    """
    token = settings.token()  # a wrong token is an error before anything listens
    log = Log(quiet=settings.quiet)
    if settings.token_file is not None and is_open_to_others(settings.token_file):
        log("token-file-open", advice="every user of this machine can read or change the token; chmod 600 prevents it")
    if token is None and not settings.is_local:
        log(
            "open",
            host=settings.host,
            advice="anyone who reaches this address can use it; --token-file FILE prevents it",
        )
    listener = bind(settings.host, settings.port) if settings.uds is None else bind_path(settings.uds)
    handlers_before = _end_at_once_on_signals(listener)
    facts: dict[str, Any] = {"address": address(listener, settings.root_path), "model": str(settings.model)}
    use_metrics_folder("")
    try:
        with log.everything():
            if settings.workers > 1:
                from catseye.serving.supervisor import Supervisor

                return Supervisor(settings, listener, log, lambda: ready({**facts, "workers": settings.workers})).run()
            from catseye.serving.server import Supervised, run_server

            return run_server(
                settings,
                listener,
                log,
                lambda model, plan: ready(
                    {
                        **facts,
                        "version": model.version,
                        "runtime": model.runtime,
                        "concurrency": plan.concurrency,
                        "batch_size": plan.batch_size,
                    }
                ),
                Supervised(stop_pipe, _no_beat) if stop_pipe is not None else None,
            )
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        if settings.uds is not None:
            remove_path(listener)
        listener.close()
        log.close()


def _no_beat() -> None:
    """No supervisor waits for heartbeats."""


def _end_at_once_on_signals(listener: socket.socket) -> dict[int, Any]:
    """End the process at a signal while the model loads; returns the handlers before.

    Not by an exception: a module that is being imported may catch it or report it as an error of its own, so that the
    server goes on or ends as if it were broken. The first process of a container, too, has to handle the signal itself.
    A server that answers replaces these handlers.
    """
    if threading.current_thread() is not threading.main_thread():  # only this thread receives signals
        return {}

    def end(number: int, _: FrameType | None) -> NoReturn:
        if listener.family == getattr(socket, "AF_UNIX", None):
            remove_path(listener)
        if number == signal.SIGINT:
            os.write(2, b"stopped before any work began; nothing was saved\n")
        os._exit(128 + number)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background commands ignore it
        numbers.append(signal.SIGINT)
    return {number: signal.signal(number, end) for number in numbers}
