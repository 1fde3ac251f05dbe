"""Data sets with a name, as arrays: digits offline, others from torchvision.

Leaves: `Arrays`. Called by `sources/`. The classic `cifar-10-batches-py` folder is not trusted: its pickles may only
build NumPy arrays.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from catseye.errors import DataError, MissingDependency
from catseye.preprocess import Pixels

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")
DEFAULT_DATA_DIR = Path.home() / ".cache" / "catseye" / "data"


@dataclass(frozen=True)
class Arrays:
    """A complete data set in memory; `splits` as in `sources`.

    Shape: pixels (N, H, W, C) uint8, labels (N,), splits (N,).
    """

    classes: tuple[str, ...]
    pixels: Pixels
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    mirror_safe: bool = True


def load_builtin(name: str, data_dir: Path | None = None) -> Arrays:
    """The built-in data set `name`; its files are in `data_dir` or downloaded to it.

    Raises:
        DataError: the files are missing and cannot be downloaded.

    """
    if name == "digits":
        return _load_digits()
    folder = data_dir or DEFAULT_DATA_DIR
    if name in ("cifar10", "cifar100"):
        given = cifar_folder(folder) if (folder / ("batches.meta" if name == "cifar10" else "meta")).is_file() else None
        arrays = given or cifar_folder(folder / _CIFAR_FOLDERS[name])
        if arrays is None:
            _download(name, folder)
            arrays = cifar_folder(folder / _CIFAR_FOLDERS[name])
        if arrays is None:
            raise DataError(f"{folder / _CIFAR_FOLDERS[name]} is not complete; remove it and run the command again")
        return arrays
    return _mnist(name, folder)


def _load_digits() -> Arrays:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels.

    Source: UCI Optical Recognition of Handwritten Digits, test part.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingDependency("sklearn") from None
    data = load_digits()
    # 17 grey levels, 0 ... 16; bright digits on a dark background, as in MNIST.
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    return Arrays(tuple("0123456789"), pixels, labels, np.full(len(labels), -1, np.int8), mirror_safe=False)


_CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def _torchvision_class(name: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise MissingDependency("torchvision") from None
    return {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
    }[name]


def _download(name: str, folder: Path, **options: Any) -> Any:
    """Torchvision's own download, with its progress bar and verified checksums."""
    try:
        return _torchvision_class(name)(str(folder), download=True, **options)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{name} is not in {folder} and cannot be downloaded ({reason}); "
            "give its files with --data-dir, use a folder of class folders, or try `digits`, which works offline"
        ) from None


def _mnist(name: str, folder: Path) -> Arrays:
    pixels, labels, splits = [], [], []
    for split, train in ((0, True), (2, False)):
        part = _download(name, folder, train=train)
        pixels.append(part.data.numpy())
        labels.append(part.targets.numpy())
        splits.append(np.full(len(part.targets), split, np.int8))
    classes = tuple("0123456789") if name == "mnist" else tuple(part.classes)
    return Arrays(
        classes,
        np.concatenate(pixels)[..., None],
        np.concatenate(labels).astype(np.int64),
        np.concatenate(splits),
        mirror_safe=name != "mnist",
    )


def cifar_folder(folder: Path) -> Arrays | None:
    """Read a `cifar-10-batches-py` or `cifar-100-python` folder; None for others."""
    for train_names, test_name, meta_name, key, label_key in (
        ([f"data_batch_{i}" for i in range(1, 6)], "test_batch", "batches.meta", b"label_names", b"labels"),
        (["train"], "test", "meta", b"fine_label_names", b"fine_labels"),
    ):
        wanted = [*train_names, test_name, meta_name]
        if all((folder / name).is_file() for name in wanted):
            meta = _load_arrays(folder / meta_name)
            batches = [_load_arrays(folder / name) for name in [*train_names, test_name]]
            try:
                classes = tuple(name.decode() for name in meta[key])
                pixels = [np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32) for batch in batches]
                labels = [np.asarray(batch[label_key], np.int64) for batch in batches]
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise DataError(f"{folder} does not have the layout of CIFAR's Python version ({error!r})") from None
            sides = [0] * len(train_names) + [2]
            splits = np.repeat(np.array(sides, np.int8), [len(part) for part in labels])
            for part, truth in zip(pixels, labels, strict=True):
                if len(part) != len(truth) or (len(truth) and not 0 <= truth.min() <= truth.max() < len(classes)):
                    raise DataError(f"{folder} does not have the layout of CIFAR's Python version (labels)")
            stacked = np.ascontiguousarray(np.concatenate(pixels).transpose(0, 2, 3, 1))
            return Arrays(classes, stacked, np.concatenate(labels), splits)
    return None


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can only build NumPy arrays and plain containers."""

    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not needed for an array") from None


def _load_arrays(path: Path) -> dict[bytes, Any]:
    try:
        with path.open("rb") as stream:
            content = _ArraysOnly(stream, encoding="bytes").load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the CIFAR file it should be ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is not the CIFAR file it should be (no table inside); fetch it again")
    return content
