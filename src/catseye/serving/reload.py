"""`--watch`: checks a new model file against its golden pairs, then serves it.

Enters: the path that is served. Leaves: `app.use(new version)`, or only a line in the log. Everything is tried in a
child process first, which a bad file may crash. A bad file is refused, and the old version stays in use. Called by
`server.py`.
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
RUNTIME_TOLERANCE = 0.02  # for runtimes other than the one that wrote the pairs


class Watcher:
    """Checks the file every `LOOK_S` seconds. `run` ends only when it is cancelled."""

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
                self._child.kill()  # else the server could not end: a thread waits for this process

    async def _watch(self) -> None:
        pending: tuple[Any, ...] | None = None
        while True:
            await asyncio.sleep(LOOK_S)
            seen = self._look()
            if seen == self._seen:
                pending = None
            elif seen != pending:
                pending = seen  # it may still be being written: check once more
            elif seen[0] is not None:
                self._seen, pending = seen, None
                await self._exchange()

    def _look(self) -> tuple[Any, ...]:
        # The pairs too: export writes them after the model, so a file refused because of old pairs is tried again.
        golden = self.settings.model.parent / "golden" / "golden.json"
        return (_fingerprint(self.settings.model), _fingerprint(golden))

    async def _exchange(self) -> None:
        try:
            model = await asyncio.to_thread(self._open)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new file, the old one stays in use
            reason = error if isinstance(error, CatseyeError) else f"{type(error).__name__}: {error}"
            self.app.metrics.reloads.labels("refused").inc()
            self.log("reload-refused", reason=str(reason)[:500], serving=self.app.engine.model.version)
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
            raise ModelFileError(f"{settings.model} changed while it was opened; it will be checked again")
        self.log("checked", version=model.version, golden_pairs=num_pairs)
        return model

    def _note_child(self, process: subprocess.Popen[bytes]) -> None:
        self._child = process


def open_version(path: Path, runtime: str, trust: bool, batch_size: int) -> tuple[ServedModel, int]:
    """Open a file, warm it and check it; returns the number of golden pairs, too.

    Raises:
        ModelFileError: as in `load_served` and `check_golden`.

    """
    model = load_served(path, runtime, trust=trust, batch_size=batch_size)
    model.warm(batch_size)
    return model, check_golden(model, path)


def try_version(path: str, runtime: str, trust: bool, batch_size: int) -> dict[str, Any]:
    """`open_version` in a child process; returns the hash of the opened file."""
    model, _ = open_version(Path(path), runtime, trust, batch_size)
    return {"sha256": model.file.sha256}


def check_golden(model: ServedModel, path: Path) -> int:
    """Check the model against golden pairs beside it, if any; returns their number.

    Raises:
        ModelFileError: the pairs belong to another file, cannot be read, or the model's answers differ.

    """
    folder = path.parent / "golden"
    listing = folder / "golden.json"
    if not listing.exists():
        return 0
    try:
        if listing.stat().st_size > MAX_GOLDEN_BYTES:
            raise ModelFileError(f"{listing} may have at most {MAX_GOLDEN_BYTES:,} bytes; got more")
        golden = json.loads(listing.read_text(encoding="utf-8"))
        if golden["model_sha256"] != model.file.sha256:
            raise ModelFileError(f"{listing} belongs to another file; export with --golden again, or remove the folder")
        pairs = golden["pairs"][:MAX_PAIRS]
        spec = model.manifest.preprocessing
        # Only the last part of a path: the listing must not point outside its folder.
        contents = [(folder / Path(pair["image"]).name).read_bytes() for pair in pairs]
        rows = [model.row_of(preprocess(content, spec)) for content in contents]
        expected = np.array([pair["probabilities"] for pair in pairs], np.float64)
        tolerance = float(golden["tolerance"]) if model.runtime == "cpu" else RUNTIME_TOLERANCE
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{listing} cannot be used ({type(error).__name__}: {error})") from None
    got = model.compute(stack(rows), False).probabilities
    if got.shape != expected.shape or not np.abs(got - expected).max() <= tolerance:
        raise ModelFileError(f"the answers of {path} differ from its golden pairs in {listing}; export it again")
    return len(pairs)


def _fingerprint(path: Path) -> tuple[Any, ...] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - called twice a second
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns)
