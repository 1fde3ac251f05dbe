"""One seed in, an independent seed per purpose out.

No part of catseye draws from a generator that another part has advanced: every draw starts from
`derive(seed, purpose, position)`. That is why a resumed run continues with the same numbers as an
uninterrupted one, whatever the number of workers. Called by data and training.
"""

from hashlib import blake2b


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. `derive(0, "augment", step)`.

    >>> derive(0, "shuffle", 1) == derive(0, "shuffle", 1)
    True
    >>> derive(0, "shuffle", 1) == derive(0, "shuffle", 2)
    False
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
