"""Successive halving: many candidates for a short time, the better half for a longer one, until one is left.

Enters: candidates and a function that gives one of them some time. Leaves: them again, the best first. Called by the
rungs that train.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Candidate = TypeVar("Candidate")


def halve(
    candidates: Sequence[Candidate],
    attempt: Callable[[Candidate, int], float | None],
    num_rounds: int,
) -> list[Candidate]:
    """Try all candidates in round 0, the better half in round 1, and so on; larger is better.

    `attempt` returns None for what could not be tried (no time); such a candidate goes no further, and a round of which
    nothing could be tried ends the search.

    Source: Jamieson, Talwalkar 2016, arXiv 1502.07943.

    >>> halve(["a", "b", "c", "d"], lambda name, round_: {"a": 1, "b": 4, "c": 3, "d": 2}[name], 2)
    ['b', 'c', 'd', 'a']
    """
    standing: list[Candidate] = list(candidates)
    fallen: list[Candidate] = []
    for number in range(num_rounds):
        found = [(attempt(each, number), each) for each in standing]
        tried = sorted(((merit, place) for place, (merit, _) in enumerate(found) if merit is not None),
                       key=lambda one: (-one[0], one[1]))  # fmt: skip
        if not tried:
            break
        order = [found[place][1] for _, place in tried]
        missed = [each for merit, each in found if merit is None]
        keep = max(1, (len(standing) + 1) // 2)
        fallen = order[keep:] + missed + fallen
        standing = order[:keep]
    return standing + fallen
