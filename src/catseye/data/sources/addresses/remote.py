"""Lists at an address, `https://…/list.csv`, with images beside them.

Enters: an address. Leaves: `ImageSet`. Called by `open_data.py`. No connection is made unless an address is given.
fsspec (extra `remote`) handles the protocols; `simplecache::https://…` makes it keep what it has downloaded.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from catseye.data.sources.addresses.fetching import open_seekable, reason_of
from catseye.data.sources.addresses.hub_sets import is_hub_name, read_hub
from catseye.data.sources.image_set import MAX_FILE_BYTES, ImageSet
from catseye.data.sources.lists.listed_rows import ListOfImages
from catseye.data.sources.lists.table import LIST_SUFFIXES, read_listed, rows_of
from catseye.data.sources.parquet.arrow_columns import NamedCells
from catseye.data.sources.parquet.parquet_files import read_parquet
from catseye.errors import DataError, ImageError, MissingDependency
from catseye.settings.schema import DataSettings

_ADDRESS = re.compile(r"[a-z][a-z0-9+]*(::[a-z][a-z0-9+]*)*://\S", re.IGNORECASE)
AT_ONCE = 16  # requests for sizes at the same time


def is_address(source: object) -> bool:
    """Whether DATA is an address rather than a path.

    >>> is_address("https://example.org/list.csv"), is_address("photos/"), is_address("C:/photos")
    (True, False, False)
    """
    return isinstance(source, str) and bool(_ADDRESS.match(source)) and not source.startswith("memory:")


def read_remote(source: str, settings: DataSettings) -> ImageSet:
    """The images of a data set of the Hub, or of a list at an address.

    The paths in a list are relative to its folder.

    Raises:
        DataError: it cannot be downloaded or read. MissingDependency: fsspec, or what it needs, is not installed.

    """
    if is_hub_name(source):
        return read_hub(source, settings)
    files = _connect(source)
    suffix = os.path.splitext(source.partition("?")[0])[1].lower()  # noqa: PTH122
    rows, named = rows_of(suffix)
    listed = ListOfImages(source, lambda: rows(files.opened, source), NamedCells(), files.reader, named)
    try:
        if suffix in LIST_SUFFIXES:
            return read_listed(listed, settings)
        if suffix == ".parquet":
            name = source.rpartition("/")[2]
            return read_parquet(source, files.numbered, settings, names=[name], remote=listed)
    except (OSError, ValueError, TimeoutError) as error:
        raise DataError(f"{source} cannot be downloaded ({reason_of(error)})") from None
    raise DataError(
        f"{source}: at an address, DATA is a list (.csv, .jsonl or .parquet) with the images beside it; download other "
        "data first"
    )


@dataclass
class RemoteFiles:
    """A list at an address and its folder; a forked process connects again."""

    source: str
    base: str
    _systems: dict[int, Any] = field(default_factory=dict, repr=False)

    def system(self) -> Any:
        """The file system of fsspec, one per process."""
        if os.getpid() not in self._systems:
            import fsspec

            protocol = self.source.partition("://")[0]
            made = fsspec.core.url_to_fs(self.source, skip_instance_cache=True)[0] if protocol else None
            self._systems[os.getpid()] = made
        return self._systems[os.getpid()]

    def path(self, name: str) -> str:
        """The path of a file beside the list, in the form that fsspec takes."""
        address = name if is_address(name) else f"{self.base}/{name}"
        stripped: str = self.system()._strip_protocol(address)
        return stripped

    def opened(self, mode: str) -> Any:
        """The list itself.

        Raises:
            DataError: it cannot be downloaded.

        """
        try:
            return self.system().open(self.path(self.source), mode)
        except Exception as error:  # noqa: BLE001 - every protocol of fsspec has errors of its own
            raise DataError(f"{self.source} cannot be downloaded ({reason_of(error)})") from None

    def numbered(self, number: int) -> Any:
        """The list, whatever the number: there is one file."""
        return open_seekable(self.system(), self.path(self.source))

    def reader(self, names: Sequence[str]) -> "RemoteReader":
        """A reader of files beside the list."""
        return RemoteReader(self, names)

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "base": self.base, "_systems": {}}


@dataclass
class RemoteReader:
    """Reads files beside a list; nothing is kept."""

    files: RemoteFiles
    names: Sequence[str]
    _sizes: dict[int, int] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes:
        """The bytes of a file."""
        name = self.names[index]
        try:
            with self.files.system().open(self.files.path(name), "rb") as stream:
                content = bytes(stream.read(MAX_FILE_BYTES + 1))
        except Exception as error:  # noqa: BLE001 - every protocol of fsspec has errors of its own
            raise ImageError(f"{name} cannot be downloaded ({reason_of(error)})") from None
        if len(content) > MAX_FILE_BYTES:
            raise ImageError(f"{name} has more than {MAX_FILE_BYTES:,} bytes")
        self._sizes[index] = len(content)
        return content

    def size_bytes(self, index: int) -> int:
        """The size of a file; those of the next files are requested together."""
        if index not in self._sizes:
            upcoming = [
                number
                for number in range(index, min(index + 8 * AT_ONCE, len(self.names)))
                if number not in self._sizes
            ]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for number, size in zip(upcoming, pool.map(self._request_size, upcoming), strict=True):
                    if size is not None:
                        self._sizes[number] = size
        if index not in self._sizes:
            return len(self(index))
        return self._sizes[index]

    def _request_size(self, index: int) -> int | None:
        try:
            size = self.files.system().info(self.files.path(self.names[index])).get("size")
        except Exception:  # noqa: BLE001 - the file is read next, which reports the reason
            return None
        return None if size is None else int(size)


def _connect(source: str) -> RemoteFiles:
    try:
        import fsspec  # noqa: F401
    except ImportError:
        raise MissingDependency("fsspec") from None
    files = RemoteFiles(source, source.partition("?")[0].rpartition("/")[0])
    try:
        files.system()
    except ImportError as error:
        package = error.name or str(error).split()[1]
        raise MissingDependency(package) from None
    except (ValueError, OSError) as error:
        raise DataError(f"{source} cannot be opened ({reason_of(error)})") from None
    return files
