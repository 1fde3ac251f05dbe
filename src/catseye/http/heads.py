"""Faults in a request's head that an HTTP/1.1 parser accepts.

Enters: version, method, target and headers of one request. Leaves: nothing, or the `Refusal`. Called by `protocol.py`.

Source: RFC 9112 sections 2.3 (version), 3.2 (Host, absolute form), 6.1 (Transfer-Encoding); RFC 9110 section 5.3
(fields that are not lists appear once).
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from catseye.http.refusals import Refusal

# If two differ, the next server on the way could use the other one.
_ONCE = {
    b"authorization", b"content-encoding", b"content-length", b"content-type", b"host",
    b"inference-header-content-length", b"transfer-encoding",
}  # fmt: skip
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._~%!$&'()*+;=-]{0,255})(?::[0-9]{0,5})?")


def head_fault(
    version: str, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], hosts: frozenset[str] | None
) -> Refusal | None:
    """The refusal of this head, or None.

    `hosts` are the accepted host names; None accepts any.
    """
    by_name = dict(headers)
    if version not in ("1.1", "1.0"):
        return _refusal(400, "http-version", "the server accepts HTTP/1.1", f"HTTP/{version}", "use curl --http1.1")
    if method == b"CONNECT":
        return _refusal(400, "no-tunnel", "this server is not a proxy", "CONNECT", "send GET or POST")
    if len(by_name) != len(headers):
        names = [name for name, _ in headers]
        for name in _ONCE & by_name.keys():
            if names.count(name) > 1:
                word = name.decode()
                return _refusal(400, "doubled-header", f"the header {word} may appear once", "several", "send one")
    coding = by_name.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
        return _refusal(
            400, "transfer-encoding", "a body has a Content-Length or is chunked", "another coding", "send it unencoded"
        )
    return _host_fault(version, url, by_name.get(b"host"), hosts)


def _host_fault(version: str, url: bytes, host: bytes | None, hosts: frozenset[str] | None) -> Refusal | None:
    if host is None and version == "1.1":
        return _refusal(400, "no-host", "a request of HTTP/1.1 has the header Host", "none", "add Host: NAME")
    name = host_name(host or b"")
    if name is not None and not url.startswith((b"/", b"*")):
        name = _authority(url)  # an absolute target takes precedence over the header
    if name is None:
        return _refusal(400, "bad-host", "Host is a name with at most a port", "something else", "send one name")
    if hosts is not None and name not in hosts and host is not None and not _is_address(name):
        known = ", ".join(sorted(hosts))
        return _refusal(
            421,
            "foreign-host",
            f"this server answers by the names {known}",
            "another",
            "catseye serve --allow-host NAME",
        )
    return None


@lru_cache(maxsize=1024)
def host_name(value: bytes) -> str | None:
    """The name in a Host header: lower case, no port, no brackets; None if invalid.

    >>> host_name(b"LocalHost:8000"), host_name(b"[::1]:8000"), host_name(b"a, b")
    ('localhost', '::1', None)

    """
    match = _HOST.fullmatch(value.strip())
    if match is None:
        return None
    return match[1].decode("ascii").lower().strip("[]").removesuffix(".")


@lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    """Whether it is an IP address, which, unlike a name, nobody can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _authority(url: bytes) -> str | None:
    try:
        parts = urlsplit(url.decode("ascii"))
    except ValueError:
        return None
    return host_name(parts.netloc.encode()) if parts.scheme in ("http", "https") and parts.netloc else None


def _refusal(status: int, code: str, rule: str, got: str, advice: str) -> Refusal:
    return Refusal(status, code, f"{rule}; got {got}; {advice}")
