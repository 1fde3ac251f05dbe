"""Who is connected: how many in all and by address, who is idle, who came when the house was full.

Enters: connections. Leaves: whether one is taken in; idle ones that had to go for it are closed. Called by
`protocol.py`.
"""

import ipaddress
from collections import Counter
from functools import lru_cache
from typing import Protocol

from catseye.http.limits import Limits


class Guest(Protocol):
    """One connection, as far as the door knows it."""

    address: str | None

    def dismiss(self) -> None:
        """Close it: it waits for nothing."""
        ...


class Door:
    """Counts the connections of one process.

    When all places are taken, or all of one address, the connection that has been idle longest is closed for the new
    one. Where none is idle, the new one is let in "on top": it may ask for health and metrics, all else is answered
    503. There are few places on top, and whoever has stood there longest makes room: nobody can hold them.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._inside: Counter[str | None] = Counter()
        self._num_inside = 0
        self._idle: dict[Guest, None] = {}  # the longest first
        self._on_top: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> bool:
        """Whether it has a place of its own; else it stands on top."""
        limits, address = self.limits, guest.address
        if address is not None and self._inside[address] >= limits.per_address:
            has_place = self._dismiss_idle(address)
        else:
            has_place = self._num_inside < limits.max_connections or self._dismiss_idle(None)
        if has_place:
            self._inside[address] += 1
            self._num_inside += 1
            self._idle[guest] = None
            return True
        if len(self._on_top) >= limits.reserved:
            oldest = next(iter(self._on_top))
            del self._on_top[oldest]
            oldest.dismiss()
        self._on_top[guest] = None
        return False

    def leave(self, guest: Guest, *, had_place: bool) -> None:
        """It has gone, or was sent away; told once."""
        self._on_top.pop(guest, None)
        self._idle.pop(guest, None)
        if had_place:
            self._num_inside -= 1
            self._inside[guest.address] -= 1
            if not self._inside[guest.address]:
                del self._inside[guest.address]

    def busy(self, guest: Guest) -> None:
        """It has begun to ask."""
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """It was answered, and may ask again or not."""
        if guest not in self._on_top:
            self._idle[guest] = None

    def _dismiss_idle(self, address: str | None) -> bool:
        for guest in self._idle:
            if address is None or guest.address == address:
                guest.dismiss()  # which calls `leave`
                return True
        return False


@lru_cache(maxsize=4096)
def place_of(host: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which one subscriber has to himself.

    >>> place_of("::ffff:10.1.2.3"), place_of("2001:db8::1") == place_of("2001:db8::2")
    ('10.1.2.3', True)

    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
