"""Whether calls of the model still finish.

Enters: finished calls, and requests that timed out. Leaves: a verdict, for `/healthz` and for the supervisor: a
deadlock in native code would not stop the event loop. Called by server and app.
"""

import time


class Progress:
    """Whether the model is stuck.

    It is if a request has timed out and no call of the model has ended for `patience_s`.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._computed_at = time.monotonic()
        self._waited_in_vain = False

    def computed(self) -> None:
        """A call of the model has ended, successfully or not."""
        self._computed_at = time.monotonic()
        self._waited_in_vain = False

    def too_late(self) -> None:
        """A request got no answer before its deadline."""
        self._waited_in_vain = True

    @property
    def is_stuck(self) -> bool:
        """Whether only a new process will help."""
        return self._waited_in_vain and time.monotonic() - self._computed_at > self.patience_s
