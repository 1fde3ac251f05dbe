"""A loaded model in another process: pickled to it, or inherited by it when this one forks.

Enters: what `load` was told. Leaves: logits that open the file anew where they find themselves in a process that has
not opened it. A runtime's threads and handles do not survive either way: a forked child would wait for them for ever.
Called by `loading.py`.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from catseye.classifier import Classifier, Logits
from catseye.errors import ModelFileError
from catseye.manifest import Manifest
from catseye.preprocess import Pixels

P = ParamSpec("P")
# What a forked child got from its parent is kept, never used and never freed: its end would wait for threads that only
# the parent has.
_INHERITED: list[Any] = []


class ReopenedLogits:
    """The logits of a file, in whatever process they are asked for."""

    def __init__(self, path: Path, options: dict[str, Any], manifest: Manifest) -> None:
        self._path, self._options, self._manifest = path, options, manifest
        self._logits: Callable[[Pixels], Logits] | None = None
        self._process = 0

    def opened(self, logits: Callable[[Pixels], Logits]) -> "ReopenedLogits":
        """Take what this process has opened."""
        self._logits, self._process = logits, os.getpid()
        return self

    def __call__(self, pixels: Pixels) -> Logits:
        """Shape: (N, H, W, C) uint8 -> (N, K) float32."""
        if self._logits is None or self._process != os.getpid():
            from catseye.runtimes.loading import load

            found = load(self._path, **self._options)
            if found.manifest != self._manifest:
                raise ModelFileError(f"{self._path} is another model than the one that was loaded; load it again")
            _INHERITED.append(self._logits)
            self.opened(found.logits)
        assert self._logits is not None
        return self._logits(pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReopenedLogits, (self._path, self._options, self._manifest)


def reopened_elsewhere(load: Callable[P, Classifier]) -> Callable[P, Classifier]:
    """Make what `load(path, …)` returns fit for other processes."""

    @wraps(load)
    def opened(*words: P.args, **options: P.kwargs) -> Classifier:
        classifier = load(*words, **options)
        path = Path(str(words[0] if words else options["path"])).absolute()
        more = {name: value for name, value in options.items() if name != "path"}
        logits = ReopenedLogits(path, more, classifier.manifest).opened(classifier.logits)
        return replace(classifier, logits=logits)

    return opened
