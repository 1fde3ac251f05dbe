"""What the chapters share: the model that was given, the pictures, and things that are made once and kept.

Made by `command.py`, handed to every answer. Imports no torch: the chapters that compute with a network keep it here
by a name of their own.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from catseye.lab.pictures import Pictures

T = TypeVar("T")


class Bench:
    """One lab, from its start to its end. Answers run in threads: whoever uses a network holds `lock`."""

    def __init__(self, model: str | None = None, timeline: Path | None = None) -> None:
        self.model = model  # a run folder, a model.safetensors, a registered name, or nothing
        self.timeline = timeline  # what `catseye timeline` wrote, or nothing
        self.pictures = Pictures()
        self.lock = threading.RLock()
        self._kept: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` made the first time; a `make` that raises is tried again the next time."""
        with self.lock:
            if name not in self._kept:
                self._kept[name] = make()
            return cast(T, self._kept[name])

    def keep(self, name: str, thing: object) -> None:
        """Put a thing where `once` and `kept` find it; a chapter may leave something to another one."""
        with self.lock:
            self._kept[name] = thing

    def kept(self, name: str) -> object | None:
        """What is kept under that name, or None."""
        return self._kept.get(name)
