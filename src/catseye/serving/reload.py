"""`--watch`: a new model file is opened, warmed and checked against its golden pairs, and only then answers.

Enters: the path that is served. Leaves: `app.use(new version)`, or a line in the log and nothing else. All of it
happens in a child process first, which a file may end; then here. A bad file is refused and the old version keeps
serving. Called by `server.py`.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catseye.errors import CatseyeError, ModelFileError
from catseye.http.logs import Log
from catseye.preprocess import preprocess
from catseye.runtimes.trial import call_in_child, note_survival
from catseye.serving.runtimes import load_served
from catseye.serving.served_model import ServedModel, stack
from catseye.serving.settings import ServerSettings

if TYPE_CHECKING:
    from catseye.serving.app import Application

LOOK_S = 0.5
MAX_PAIRS = 32
MAX_GOLDEN_BYTES = 50_000_000
RUNTIME_TOLERANCE = 0.02  # for a runtime other than the one that the pairs were written with


class Watcher:
    """Looks at the file now and then. `run` ends only when it is cancelled."""

    def __init__(self, settings: ServerSettings, app: "Application", log: Log) -> None:
        self.settings, self.app, self.log = settings, app, log
        self._seen = self._look()
        self._child: subprocess.Popen[bytes] | None = None

    async def run(self) -> None:
        """Look, and act once the file has stopped changing."""
        try:
            await self._watch()
        finally:
            if self._child is not None:
                self._child.kill()  # the server ends, and would wait for the thread that waits for it

    async def _watch(self) -> None:
        pending: tuple[Any, ...] | None = None
        while True:
            await asyncio.sleep(LOOK_S)
            found = self._look()
            if found == self._seen:
                pending = None
            elif found != pending:
                pending = found  # somebody may still be writing: once more
            elif found[0] is not None:
                self._seen, pending = found, None
                await self._exchange()

    def _look(self) -> tuple[Any, ...]:
        # The pairs too: export writes them after the model, so a file refused for old pairs gets a second chance.
        golden = self.settings.model.parent / "golden" / "golden.json"
        return (_fingerprint(self.settings.model), _fingerprint(golden))

    async def _exchange(self) -> None:
        try:
            model = await asyncio.to_thread(self._open)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new file, the old one serves on
            said = error if isinstance(error, CatseyeError) else f"{type(error).__name__}: {error}"
            self.app.metrics.reloads.labels("refused").inc()
            self.log("reload-refused", reason=str(said)[:500], serving=self.app.engine.model.version)
            return
        before = self.app.engine.model.version
        if model.version == before:
            return
        self.app.use(model)
        self.app.metrics.reloads.labels("done").inc()
        self.log("reloaded", before=before, now=model.version)

    def _open(self) -> ServedModel:
        settings, batch_size = self.settings, self.app.engine.plan.batch_size
        words = {"runtime": settings.runtime, "trust": settings.trust, "batch_size": batch_size}
        tried = call_in_child(
            "catseye.serving.reload:try_version",
            {"path": str(settings.model.absolute()), **words},
            str(settings.model),
            started=self._note_child,
        )
        note_survival(tried["sha256"])
        model, num_pairs = open_version(settings.model, settings.runtime, settings.trust, batch_size)
        if model.file.sha256 != tried["sha256"]:
            raise ModelFileError(f"{settings.model} changed while it was opened; it is looked at again")
        self.log("checked", version=model.version, golden_pairs=num_pairs)
        return model

    def _note_child(self, process: subprocess.Popen[bytes]) -> None:
        self._child = process


def open_version(path: Path, runtime: str, trust: bool, batch_size: int) -> tuple[ServedModel, int]:
    """Open a file, warm it and ask it about its golden pairs; their number.

    Raises:
        ModelFileError: as in `load_served` and `check_golden`.

    """
    model = load_served(path, runtime, trust=trust, batch_size=batch_size)
    model.warm(batch_size)
    return model, check_golden(model, path)


def try_version(path: str, runtime: str, trust: bool, batch_size: int) -> dict[str, Any]:
    """The same in a child process: the hash of what it opened."""
    model, _ = open_version(Path(path), runtime, trust, batch_size)
    return {"sha256": model.file.sha256}


def check_golden(model: ServedModel, path: Path) -> int:
    """Ask the model about the golden pairs that `catseye export --golden` put beside it; their number, 0 without any.

    Raises:
        ModelFileError: the pairs belong to another file, cannot be read, or are answered otherwise.

    """
    folder = path.parent / "golden"
    listing = folder / "golden.json"
    if not listing.exists():
        return 0
    try:
        if listing.stat().st_size > MAX_GOLDEN_BYTES:
            raise ModelFileError(f"{listing} has at most {MAX_GOLDEN_BYTES:,} bytes; got more")
        said = json.loads(listing.read_text(encoding="utf-8"))
        if said["model_sha256"] != model.file.sha256:
            raise ModelFileError(f"{listing} belongs to another file; export with --golden again, or remove the folder")
        pairs = said["pairs"][:MAX_PAIRS]
        spec = model.manifest.preprocessing
        # Only the last part of a name: the listing may not point out of its folder.
        contents = [(folder / Path(pair["image"]).name).read_bytes() for pair in pairs]
        rows = [model.row_of(preprocess(content, spec)) for content in contents]
        expected = np.array([pair["probabilities"] for pair in pairs], np.float64)
        tolerance = float(said["tolerance"]) if model.runtime == "cpu" else RUNTIME_TOLERANCE
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{listing} cannot be used ({type(error).__name__}: {error})") from None
    got = model.compute(stack(rows), False).probabilities
    if got.shape != expected.shape or not np.abs(got - expected).max() <= tolerance:
        raise ModelFileError(f"{path} does not answer its golden pairs as {listing} says; export it again")
    return len(pairs)


def _fingerprint(path: Path) -> tuple[Any, ...] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - called twice a second
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns)
