"""`make mutants`: try every committed mutation; unnoticed ones are errors.

    python -m tests.mutants             all of them
    python -m tests.mutants ID ID …     these; a word that is not an id selects all ids that begin with it
    python -m tests.mutants --show ID   also print the output of pytest

Exit code 1: a mutation survived. 2: a test fails without any mutation, or an entry is wrong.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from catseye.machine.cores import num_cores
from tests.mutants.mutation import PACKAGE, BadMutation, Mutation, read_mutations
from tests.mutants.trial import end_all, run_tests, try_mutation


def main(words: Sequence[str]) -> int:
    """Run the selected mutations."""
    show = "--show" in words
    try:
        mutations = _choose(read_mutations(), [word for word in words if word != "--show"])
        for mutation in mutations:
            mutation.mutated()
    except BadMutation as error:
        print(f"error: {error}")
        return 2
    begun, lanes = time.monotonic(), num_cores()
    if failed := failing_without(mutations, lanes):
        print(f"error: without any mutation these tests fail: {', '.join(failed)}")
        return 2
    print(f"all tests pass without a mutation ({time.monotonic() - begun:.0f} s)", flush=True)
    survived = []
    with ThreadPoolExecutor(lanes) as pool:
        for trial in as_completed([pool.submit(try_mutation, mutation) for mutation in mutations]):
            verdict = trial.result()
            how = "caught" if verdict.caught else f"NOT CAUGHT: {verdict.why}"
            print(f"{verdict.mutation.id}: {how} ({verdict.seconds:.1f} s)", flush=True)
            if show:
                print(verdict.text)
            if not verdict.caught:
                survived.append(verdict)
    print(f"{len(mutations) - len(survived)} of {len(mutations)} mutations caught in {time.monotonic() - begun:.0f} s")
    for verdict in survived:
        print(f"  {verdict.mutation.id} ({verdict.mutation.file}): {verdict.why}")
    return 1 if survived else 0


def failing_without(mutations: Sequence[Mutation], lanes: int) -> list[str]:
    """The tests that fail without any mutation; each is tried a second time, alone."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    words = ("-n", str(lanes), "--dist", "loadfile") if lanes > 1 else ()
    first = run_tests(tests, PACKAGE.parent, *words, limit_s=3600)
    if first.code == 0:
        return []
    suspects = sorted(first.failed | first.errors)
    if first.code != 1 or not suspects:
        return [f"(pytest ended with {first.code})\n{first.text[-3000:]}"]
    return [test for test in suspects if run_tests([test], PACKAGE.parent).code != 0]


def _choose(every: list[Mutation], words: Sequence[str]) -> list[Mutation]:
    if not words:
        return every
    ids = {mutation.id for mutation in every}
    for word in words:
        if not any(known.startswith(word) for known in ids):
            raise BadMutation(f"no mutation is called {word}, or begins with it")
    return [
        mutation
        for mutation in every
        if any(mutation.id == word or (word not in ids and mutation.id.startswith(word)) for word in words)
    ]


def _stopped(*_: object) -> None:
    print("stopped", flush=True)
    end_all()
    os._exit(130)  # without waiting for the threads and their trials


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    sys.exit(main(sys.argv[1:]))
