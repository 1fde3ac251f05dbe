"""Data sets of the Hugging Face Hub by name: `hf://OWNER/NAME`.

Enters: a name. Leaves: `ImageSet`. Called by remote.py. fsspec (extra `remote`) downloads the Parquet files that the
Hub offers, pyarrow (extra `parquet`) reads them; `datasets` is not needed. No connection is made unless such a name is
given. HF_ENDPOINT names another Hub; HF_TOKEN is sent to it, for data sets that are not public.

Source: huggingface.co/docs/hub/api, `GET /api/datasets/{repo_id}/parquet`: {configuration: {split: [addresses]}}.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catseye.counting import count
from catseye.data.sources.addresses.fetching import open_seekable, reason_of
from catseye.data.sources.image_set import ImageSet
from catseye.data.sources.parquet.parquet_files import read_parquet
from catseye.errors import DataError, MissingDependency
from catseye.settings.schema import DataSettings

HUB = "https://huggingface.co"
_NAME = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<configuration>[\w.-]+))?/?")


def is_hub_name(source: str) -> bool:
    """Whether DATA names a data set of the Hub rather than a file there.

    >>> is_hub_name("hf://ylecun/mnist"), is_hub_name("hf://datasets/ylecun/mnist/list.csv")
    (True, False)
    """
    return bool(_NAME.fullmatch(source)) and not source.startswith("hf://datasets/")


def read_hub(source: str, settings: DataSettings) -> ImageSet:
    """The images of a data set of the Hub.

    Rows are downloaded in groups when they are needed.

    Raises:
        DataError: it does not exist, cannot be downloaded, or has several configurations and none is named.
        MissingDependency: fsspec, aiohttp or pyarrow is not installed.

    """
    match = _NAME.fullmatch(source)
    assert match is not None
    endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    address = f"{endpoint}/api/datasets/{match['name']}/parquet"
    splits = _choose_configuration(source, _fetch_list(source, address), match["configuration"])
    files = [(split, number, str(url)) for split, urls in splits.items() for number, url in enumerate(urls)]
    names = [f"{split}-{number:05d}.parquet" for split, number, _ in files]
    opened = HubFiles(endpoint, [url for _, _, url in files])
    try:
        return read_parquet(source, opened, settings, names=names)
    except (OSError, ValueError, TimeoutError) as error:
        raise DataError(f"{source} cannot be downloaded ({reason_of(error)})") from None


@dataclass
class HubFiles:
    """Opens files of a data set by number; a forked process connects again."""

    endpoint: str
    addresses: Sequence[str]
    _systems: dict[int, Any] = field(default_factory=dict, repr=False)

    def __call__(self, number: int) -> Any:
        """A file that can be read at any position."""
        return open_seekable(self.system(), self.addresses[number])

    def system(self) -> Any:
        """The file system of fsspec, one per process."""
        if os.getpid() not in self._systems:
            self._systems[os.getpid()] = _connect_hub(self.endpoint, self.addresses)
        return self._systems[os.getpid()]

    def __getstate__(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "addresses": self.addresses, "_systems": {}}


def _connect_hub(endpoint: str, addresses: Sequence[str]) -> Any:
    """A file system over HTTP; the token is sent to the Hub only."""
    try:
        import fsspec

        http = fsspec.get_filesystem_class("https")
    except ImportError as error:
        raise MissingDependency(error.name or "fsspec") from None
    token = os.environ.get("HF_TOKEN")
    of_the_hub = all(address.startswith(f"{endpoint}/") for address in addresses)
    headers = {"Authorization": f"Bearer {token}"} if token and of_the_hub else {}
    return http(client_kwargs={"headers": headers}, skip_instance_cache=True)


def _fetch_list(source: str, address: str) -> Mapping[str, Mapping[str, Sequence[str]]]:
    endpoint = address.partition("/api/")[0]
    system = _connect_hub(endpoint, [address])
    try:
        configurations = json.loads(system.cat_file(address))
    except FileNotFoundError:
        raise DataError(
            f"{source}: {endpoint} has no such data set, or no Parquet files of it; the name is OWNER/NAME, as in the "
            "address of its page; a data set that is not public needs HF_TOKEN"
        ) from None
    except Exception as error:  # noqa: BLE001 - aiohttp and the system have errors of their own
        raise DataError(f"{source}: {address} cannot be downloaded ({reason_of(error)})") from None
    if not isinstance(configurations, dict) or not all(
        isinstance(splits, dict) and splits for splits in configurations.values()
    ):
        raise DataError(f"{source}: {address} does not list Parquet files")
    return configurations


def _choose_configuration(
    source: str, configurations: Mapping[str, Mapping[str, Sequence[str]]], name: str | None
) -> Mapping[str, Sequence[str]]:
    if name is None and len(configurations) == 1:
        return next(iter(configurations.values()))
    if (name or "default") in configurations:
        return configurations[name or "default"]
    options = ", ".join(f"hf://OWNER/NAME/{each}" for each in sorted(configurations)[:10])
    problem = f"no configuration {name}" if name else count(len(configurations), "configuration")
    raise DataError(f"{source} has {problem}; use one of: {options}")
