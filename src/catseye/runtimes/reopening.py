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

from catseye.classifier import Classifier
from catseye.errors import ModelFileError
from catseye.files import path_of
from catseye.manifest import Manifest
from catseye.preprocess import Pixels

P = ParamSpec("P")
# What a forked child got from its parent is kept, never used and never freed: its end would wait for threads that only
# the parent has.
_INHERITED: list[Any] = []


class ReopenedLogits:
    """What a file answers, `what` of its classifier, in whatever process it is asked."""

    def __init__(self, path: Path, options: dict[str, Any], manifest: Manifest, what: str = "logits") -> None:
        self._path, self._options, self._manifest, self._what = path, options, manifest, what
        self._answer: Callable[[Pixels], Any] | None = None
        self._process = 0

    def opened(self, answer: Callable[[Pixels], Any]) -> "ReopenedLogits":
        """Take what this process has opened."""
        self._answer, self._process = answer, os.getpid()
        return self

    def __call__(self, pixels: Pixels) -> Any:
        """Shape: (N, H, W, C) uint8 -> (N, K) float32, or what else is asked for."""
        if self._answer is None or self._process != os.getpid():
            from catseye.runtimes.loading import load

            found = load(self._path, **self._options)
            if found.manifest != self._manifest:
                raise ModelFileError(f"{self._path} is another model than the one that was loaded; load it again")
            _INHERITED.append(self._answer)
            self.opened(getattr(found, self._what))
        assert self._answer is not None
        return self._answer(pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReopenedLogits, (self._path, self._options, self._manifest, self._what)


def reopened_elsewhere(load: Callable[P, Classifier]) -> Callable[P, Classifier]:
    """Make what `load(path, …)` returns fit for other processes."""

    @wraps(load)
    def opened(*words: P.args, **options: P.kwargs) -> Classifier:
        classifier = load(*words, **options)
        path = path_of(words[0] if words else options["path"]).absolute()  # type: ignore[arg-type]
        more = {name: value for name, value in options.items() if name != "path"}
        answers: dict[str, Any] = {
            name: ReopenedLogits(path, more, classifier.manifest, name).opened(answer)
            for name in ("logits", "logits_and_familiarity", "pooled_features")
            if (answer := getattr(classifier, name)) is not None
        }
        return replace(classifier, **answers, source=path, trusted=bool(more.get("trust")))

    return opened
