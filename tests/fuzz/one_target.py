"""One target under atheris: `python -m tests.fuzz.one_target TARGET CORPUS … -runs=… -max_total_time=…`.

What stands behind the target are libFuzzer's own words. Called by `campaign.py`; `replay` needs no atheris.
"""

import os
import random
import re
import sys
import time
from pathlib import Path

from tests.fuzz.in_child import FindingError
from tests.fuzz.mutators import mutated
from tests.fuzz.targets import MOST_MB, MOST_S, TARGETS, Run


def checked(run: Run, data: bytes) -> None:
    """One input, within its time.

    Raises:
        FindingError: it took too long. Whatever the target raises.

    """
    begun = time.process_time()
    run(data)
    seconds = time.process_time() - begun
    if seconds > MOST_S:
        raise FindingError(f"a run takes at most {MOST_S:g} s; got {seconds:.1f} s of processor time")


def replay(name: str, paths: list[str]) -> None:
    """Run files through a target, in this process."""
    run = TARGETS[name].make()
    for path in paths:
        with open(path, "rb") as stream:  # noqa: PTH123
            checked(run, stream.read())
    # Not getrusage's: there a process begins with the peak of the one that started it.
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    if peak > MOST_MB:
        raise FindingError(f"a run takes at most {MOST_MB} MB; got {peak:.0f}")


def fuzz(name: str, words: list[str]) -> None:
    """Mutate and run until libFuzzer's words say that it is enough, or something falls."""
    import atheris

    target = TARGETS[name]
    atheris.enabled_hooks.add("str")  # not "RegEx": its proxy knows no match(text, position)
    # What of Python's own is instrumented has to be imported anew: atheris has imported some of it itself.
    for module in target.others:
        sys.modules.pop(module, None)
    with atheris.instrument_imports(include=["catseye", *target.others], enable_loader_override=False):
        run = target.make()

    def other(data: bytes, most: int, seed: int) -> bytes:
        def blind(piece: bytes) -> bytes:
            changed: bytes = atheris.Mutate(piece, len(piece) + 64)
            return changed

        return mutated(name, bytes(data), random.Random(seed), blind)[:most]

    atheris.Setup([sys.argv[0], *words], lambda data: checked(run, data), custom_mutator=other)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    _, kind, *rest = sys.argv
    if kind == "--replay":
        replay(rest[0], rest[1:])
    else:
        fuzz(kind, rest)
