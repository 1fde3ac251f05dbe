"""A loaded model in another process: pickled to it, or inherited by it at a fork.

Enters: the arguments of `load`. Leaves: functions that open the file again in any process that has not opened it. A
runtime's threads and handles survive neither pickling nor forking: a forked child would wait for them for ever. Called
by `loading.py`.
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
# What a forked child inherited is kept, never used and never freed: freeing it would wait for threads that only the
# parent has.
_INHERITED: list[Any] = []


class ReopenedLogits:
    """The method `what` of a file's classifier, callable in any process."""

    def __init__(self, path: Path, options: dict[str, Any], manifest: Manifest, what: str = "logits") -> None:
        self._path, self._options, self._manifest, self._what = path, options, manifest, what
        self._answer: Callable[[Pixels], Any] | None = None
        self._process = 0

    def opened(self, answer: Callable[[Pixels], Any]) -> "ReopenedLogits":
        """Use the method of a classifier that this process has opened."""
        self._answer, self._process = answer, os.getpid()
        return self

    def __call__(self, pixels: Pixels) -> Any:
        """Shape: (N, H, W, C) uint8 -> (N, K) float32, or whatever `what` returns."""
        if self._answer is None or self._process != os.getpid():
            from catseye.runtimes.loading import load

            classifier = load(self._path, **self._options)
            if classifier.manifest != self._manifest:
                raise ModelFileError(f"{self._path} has changed since it was loaded; load it again")
            _INHERITED.append(self._answer)
            self.opened(getattr(classifier, self._what))
        assert self._answer is not None
        return self._answer(pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReopenedLogits, (self._path, self._options, self._manifest, self._what)


def reopened_elsewhere(load: Callable[P, Classifier]) -> Callable[P, Classifier]:
    """Make the classifier that `load(path, …)` returns usable in other processes."""

    @wraps(load)
    def opened(*arguments: P.args, **options: P.kwargs) -> Classifier:
        classifier = load(*arguments, **options)
        path = path_of(arguments[0] if arguments else options["path"]).absolute()  # type: ignore[arg-type]
        more = {name: value for name, value in options.items() if name != "path"}
        answers: dict[str, Any] = {
            name: ReopenedLogits(path, more, classifier.manifest, name).opened(answer)
            for name in ("logits", "logits_and_familiarity", "pooled_features")
            if (answer := getattr(classifier, name)) is not None
        }
        return replace(classifier, **answers, source=path, trusted=bool(more.get("trust")))

    return opened
