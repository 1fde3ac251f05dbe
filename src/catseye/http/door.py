"""Limits the number of connections, in all and by address.

Enters: connections. Leaves: whether one has a place; idle connections are closed to make room for it. Called by
`protocol.py`.
"""

import ipaddress
from collections import Counter
from functools import lru_cache
from typing import Protocol

from catseye.http.limits import Limits


class Guest(Protocol):
    """What the door needs to know about a connection."""

    address: str | None

    def dismiss(self) -> None:
        """Close it: it is idle."""
        ...


class Door:
    """Counts the connections of one process.

    When all places are taken, or all places of one address, the connection that has been idle longest is closed for the
    new one. If none is idle, the new one is accepted "on top": it may request health and metrics, anything else is
    answered with 503. There are few places on top, and the oldest connection there is closed for a new one, so nobody
    can occupy them.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._inside: Counter[str | None] = Counter()
        self._num_inside = 0
        self._idle: dict[Guest, None] = {}  # idle longest first
        self._on_top: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> bool:
        """Whether it has a regular place; else it is on top."""
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
        """It was closed, by either side; called once."""
        self._on_top.pop(guest, None)
        self._idle.pop(guest, None)
        if had_place:
            self._num_inside -= 1
            self._inside[guest.address] -= 1
            if not self._inside[guest.address]:
                del self._inside[guest.address]

    def busy(self, guest: Guest) -> None:
        """Its request has begun."""
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """Its request has been answered."""
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
    """What counts as one address: for IPv6 the /64 network of one subscriber.

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
