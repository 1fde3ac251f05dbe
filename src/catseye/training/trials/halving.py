"""Successive halving: all candidates for a short time, the better half longer.

Enters: candidates and a function that tries one of them. Leaves: the candidates, the best first. Called by the rungs
that train.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Candidate = TypeVar("Candidate")


def halve(
    candidates: Sequence[Candidate],
    attempt: Callable[[Candidate, int], float | None],
    num_rounds: int,
) -> list[Candidate]:
    """Try all candidates in round 0, the better half in round 1, and so on.

    A larger result of `attempt` is better.

    `attempt` returns None for a candidate that it could not try (no time); such a candidate drops out. A round in which
    none could be tried is the last.

    Source: Jamieson, Talwalkar 2016, arXiv 1502.07943.

    >>> halve(["a", "b", "c", "d"], lambda name, round_: {"a": 1, "b": 4, "c": 3, "d": 2}[name], 2)
    ['b', 'c', 'd', 'a']
    """
    remaining: list[Candidate] = list(candidates)
    dropped: list[Candidate] = []
    for number in range(num_rounds):
        results = [(attempt(candidate, number), candidate) for candidate in remaining]
        tried = [(merit, candidate) for merit, candidate in results if merit is not None]
        if not tried:
            break
        ranked = [
            candidate for _, candidate in sorted(tried, key=lambda result: -result[0])
        ]  # stable: first come first
        untried = [candidate for merit, candidate in results if merit is None]
        keep = max(1, (len(remaining) + 1) // 2)
        dropped = ranked[keep:] + untried + dropped
        remaining = ranked[:keep]
    return remaining + dropped
