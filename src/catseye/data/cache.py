"""Results of earlier runs for the same files: decoded images, surveys, checks.

Enters: a kind, the stamp of the files (file_facts.py), everything else that the result depends on. Leaves: arrays,
memory-mapped from the user's cache folder, or None. Called by decode.py, survey.py and the check. No torch.

An entry is one file: a line of JSON (its contents, and the SHA-256 of every block), then the arrays. It is written
under a temporary name and renamed, so runs at the same time do no harm, and a killed one leaves no incomplete entry. It
is not synced: a block lost in a power cut does not match its hash, and the entry is then made again. Only this user can
read the folder, because it holds their images.
"""

import contextlib
import json
import mmap
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from catseye import __version__
from catseye.errors import UsageError
from catseye.machine.cores import num_cores

OFF, FOLDER, LIMIT = "CATSEYE_NO_CACHE", "CATSEYE_CACHE_DIR", "CATSEYE_CACHE_GB"
DEFAULT_GB = 20.0
# An entry is not written if it would leave less of the disk free than the smaller of the two.
LEAST_FREE_SHARE, LEAST_FREE_BYTES = 0.1, 10_000_000_000
WORTH_S = 0.3  # what took less time is computed again as fast as it is loaded
VERSION = 2  # increase it when the results would differ
_MAGIC = b"catseye cache\n"
_ALIGNED = 4096
_BLOCK = 1 << 24
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True)
class KeptEntry:
    """A loaded entry: arrays, and facts as plain JSON types.

    Writing to the arrays does not change the file.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Cache:
    """A folder of at most `limit_bytes`; the least recently used entries go first."""

    folder: Path
    limit_bytes: int

    def load(self, key: str) -> KeptEntry | None:
        """The entry of a key; None if it is missing or damaged."""
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            entry = _read_entry(mapped)
        except (OSError, ValueError, KeyError, TypeError):  # a file of 0 bytes cannot be mapped: ValueError
            entry = None
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # recently used: it is removed last
        return entry

    def save(self, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> str:
        """Keep an entry. Returns the reason if that failed: runs do not depend on it."""
        head, blocks = _pack_entry(arrays, facts)
        size = len(head) + sum(len(block) for block in blocks)
        path = self._path(key)
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if reason := self._make_room(size):
                return reason
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(head)
                for block in blocks:
                    stream.write(block)
            beside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            return f"{self.folder} cannot be written to ({error.strerror})"
        return ""

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.bin"

    def _make_room(self, size: int) -> str:
        """Remove the oldest entries until `size` bytes fit; returns why they cannot."""
        if size > self.limit_bytes // 2:
            return f"{size / 1e9:.1f} GB are more than half of {self.limit_bytes / 1e9:g} GB, the limit ({LIMIT})"
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.suffix == ".new" and facts.st_mtime < time.time() - _ABANDONED_S:
                    path.unlink()
                elif path.suffix == ".bin":
                    entries.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(entry_size for _, entry_size, _ in entries)
        for _, entry_size, path in sorted(entries):
            if total + size <= self.limit_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()  # processes that have it mapped can still read it
                total -= entry_size
        disk = shutil.disk_usage(self.folder)
        least = min(LEAST_FREE_SHARE * disk.total, LEAST_FREE_BYTES)
        if disk.free - size < least:
            return f"it would leave less than {least / 1e9:.1f} GB of the disk with {self.folder} free"
        return ""


def find_cache() -> Cache | None:
    """The user's cache by the environment variables; None if it is switched off.

    Raises:
        UsageError: the limit is not a number above 0.

    """
    if os.environ.get(OFF, "") not in ("", "0"):
        return None
    limit_text = os.environ.get(LIMIT, "")
    try:
        limit_gb = float(limit_text) if limit_text else DEFAULT_GB
    except ValueError:
        limit_gb = 0.0
    if not 0 < limit_gb < 1e6:
        raise UsageError(
            f"{LIMIT} is a number of gigabytes above 0; got {limit_text!r}; {OFF}=1 switches the cache off"
        )
    try:
        return Cache(_folder(), int(limit_gb * 1e9))
    except RuntimeError:  # a user without a home
        return None


def kept_entry(key: str) -> KeptEntry | None:
    """The entry of a key; None if there is none, no cache, or the key is empty."""
    cache = find_cache() if key else None
    return cache.load(key) if cache is not None else None


def worth_keeping(took_s: float) -> bool:
    """Whether computing a result again would take longer than loading it."""
    return took_s >= WORTH_S


def keep_entry(key: str, took_s: float, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> str:
    """Keep a result that took `took_s`, if that is long enough.

    Returns the reason if it could not be kept.
    """
    cache = find_cache() if key and worth_keeping(took_s) else None
    return cache.save(key, arrays, facts) if cache is not None else ""


def key_of(kind: str, stamp: bytes, *parts: object) -> str:
    """The name of an entry, from the files and `parts`; "" if they have no stamp."""
    if not stamp:
        return ""
    # Another version of the decoder or of this program may give another result for the same files.
    text = json.dumps([VERSION, __version__, PIL.__version__, kind, stamp.hex(), *map(str, parts)])
    return f"{kind}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def _folder() -> Path:
    if path := os.environ.get(FOLDER):
        return Path(path).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Caches/catseye").expanduser()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path("~/AppData/Local").expanduser()) / "catseye" / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "catseye"


def _pack_entry(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> tuple[bytes, list[memoryview]]:
    """The head and the blocks after it; arrays start at multiples of 4,096 bytes."""
    blocks: list[memoryview] = []
    described, at = [], 0
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        described.append({"name": name, "dtype": array.dtype.str, "shape": array.shape, "at": at})
        blocks += [flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK)]
        padding = -len(flat) % _ALIGNED
        blocks.append(memoryview(bytes(padding)))
        at += len(flat) + padding
    with ThreadPoolExecutor(num_cores()) as pool:
        hashes = list(pool.map(_hash, blocks))
    contents = {"arrays": described, "facts": facts, "blocks": [len(b) for b in blocks], "sha256": hashes, "bytes": at}
    text = json.dumps(contents).encode()
    return _with_length(text), blocks


def _with_length(text: bytes) -> bytes:
    """The head of a file, up to a multiple of 4,096 bytes.

    Magic, length and hash of the text, the text, blanks.
    """
    head = _MAGIC + f"{len(text):020d} {sha256(text).hexdigest()}\n".encode() + text
    return head + b" " * (-len(head) % _ALIGNED)


def _read_entry(mapped: mmap.mmap) -> KeptEntry | None:
    """Read a mapped file; None if any byte of it is damaged."""
    begin = len(_MAGIC)
    line = mapped[begin : begin + 86]
    if mapped[:begin] != _MAGIC or line[20:21] != b" ":
        return None
    length = int(line[:20])
    text = mapped[begin + 86 : begin + 86 + length]
    if sha256(text).hexdigest().encode() != line[21:85]:
        return None
    contents = json.loads(text)
    start = begin + 86 + length
    start += -start % _ALIGNED
    if len(mapped) != start + contents["bytes"]:
        return None
    view = memoryview(mapped)
    with ThreadPoolExecutor(num_cores()) as pool:
        hashes = list(pool.map(_hash, _cut(view[start:], contents["blocks"])))
    if hashes != contents["sha256"]:
        return None
    arrays = {}
    for each in contents["arrays"]:
        dtype, count = np.dtype(each["dtype"]), int(np.prod(each["shape"], dtype=np.int64))
        flat = np.frombuffer(mapped, dtype, count, start + each["at"]) if count else np.empty(0, dtype)
        arrays[each["name"]] = flat.reshape(each["shape"])
    return KeptEntry(arrays, contents["facts"])


def _cut(view: memoryview, lengths: list[int]) -> Iterator[memoryview]:
    at = 0
    for length in lengths:
        yield view[at : at + length]
        at += length


def _hash(block: memoryview) -> str:
    return sha256(block).hexdigest()
