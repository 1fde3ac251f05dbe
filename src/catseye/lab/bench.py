"""What the chapters share: the given model, the images and cached objects.

Made by `command.py`, passed to every answer. Imports no torch: chapters that compute with a network keep it here under
their own name.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from catseye.lab.images import LabImages

T = TypeVar("T")
NUM_RECENT = 2


class Workbench:
    """The state of one lab.

    Answers run in threads, and one that uses a network holds `lock`.
    """

    def __init__(self, model: str | None = None, timeline: Path | None = None) -> None:
        self.model = model  # a run folder, a model.safetensors, a registered name, or nothing
        self.timeline = timeline  # what `catseye timeline` wrote, or nothing
        self.images = LabImages()
        self.lock = threading.RLock()
        self._kept: dict[str, object] = {}
        self._recent: list[str] = []

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The result of the first `make`; if `make` raises, the next call tries again."""
        with self.lock:
            if name not in self._kept:
                self._kept[name] = make()
            return cast(T, self._kept[name])

    def latest(self, name: str, make: Callable[[], T]) -> T:
        """As `once`, for large things: only the last two are kept."""
        with self.lock:
            thing = self.once(name, make)
            if name in self._recent:
                self._recent.remove(name)
            self._recent.append(name)
            for old in self._recent[:-NUM_RECENT]:
                for key in [key for key in self._kept if key == old or key.endswith(f":{old.partition(':')[2]}")]:
                    del self._kept[key]
            self._recent = self._recent[-NUM_RECENT:]
            return thing

    def keep(self, name: str, thing: object) -> None:
        """Keep a thing for `once` and `kept`, also for another chapter."""
        with self.lock:
            self._kept[name] = thing

    def forget(self, *names: str) -> None:
        """Make `once` create these again."""
        with self.lock:
            for name in names:
                self._kept.pop(name, None)

    def kept(self, name: str) -> object | None:
        """The thing kept under that name, or None."""
        return self._kept.get(name)
