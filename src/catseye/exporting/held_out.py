"""The images to prove a file and to calibrate INT8, as the bytes of their files.

Enters: a run. Leaves: `HeldOut`. Called by `export.py`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.counting import agree, count
from catseye.data.moved import locate_data
from catseye.data.sources import Images, open_source
from catseye.errors import DataError, ImageError
from catseye.manifest import Manifest
from catseye.preprocess import Pixels, Preprocessing, preprocess
from catseye.runs import Run
from catseye.seeds import derive


@dataclass(frozen=True)
class HeldOut:
    """N images: names, bytes of the files, labels (N,), and their split.

    The labels are in the order of the model's classes.
    """

    split: str
    names: Sequence[str]
    contents: Sequence[bytes]
    labels: NDArray[np.int64]

    def part(self, start: int, stop: int | None) -> "HeldOut":
        """Some of them, in the same order."""
        cut = slice(start, stop)
        return HeldOut(self.split, self.names[cut], self.contents[cut], self.labels[cut])

    def pixels(self, spec: Preprocessing) -> Pixels:
        """Shape: (N, H, W, C) uint8."""
        return np.stack([preprocess(content, spec) for content in self.contents])


def read_held_out(run: Run, manifest: Manifest, num_images: int, source: Images | None = None) -> HeldOut:
    """Test images of a run, or validation images if it has no test split.

    All of them, or `num_images` drawn from the run's seed. `source`: as in `read_images`.

    Raises:
        DataError: the images are gone, or none of them can be read.

    """
    splits = run.data["splits"]
    split = next((side for side in ("test", "val") if splits.get(side)), None)
    if split is None:
        raise DataError(f"{run.path} has no held-out images, and they are needed to prove an exported file")
    return read_images(run, manifest, split, num_images, "parity", source)


def read_for_int8(
    run: Run, manifest: Manifest, num_calibration: int, num_selection: int, source: Images | None = None
) -> tuple[HeldOut, HeldOut]:
    """Training images to calibrate on, and others to choose by.

    The proof uses neither. The others are validation images if the proof uses test images, else further training
    images. `source`: as in `read_images`.

    Raises:
        DataError: the images are gone, or none of them can be read.

    """
    splits = run.data["splits"]
    if splits.get("test") and splits.get("val"):
        calibration = read_images(run, manifest, "train", num_calibration, "calibration", source)
        return calibration, read_images(run, manifest, "val", num_selection, "selection", source)
    drawn = read_images(run, manifest, "train", num_calibration + num_selection, "calibration", source)
    first = min(num_calibration, max(1, len(drawn.names) // 2))
    return drawn.part(0, first), drawn.part(first, None)


def read_images(
    run: Run, manifest: Manifest, split: str, num_images: int, purpose: str, source: Images | None = None
) -> HeldOut:
    """Images of one split of a run: all, or `num_images` drawn for a purpose.

    They are drawn from the run's seed. Images of the built-in sets, which have no files, become PNGs: that is lossless,
    and the proof includes the decoder. `source` is where they are now (`locate_data`), if they are not where the run
    expects them.

    Raises:
        DataError: the images are gone, or none of them can be read.

    """
    recorded = run.data
    wanted: dict[str, str] = recorded["splits"].get(split) or {}
    data_dir = recorded.get("data_dir")
    reading = run.settings.data if (run.path / "settings.toml").is_file() else None  # how training read them
    place = locate_data(recorded) if source is None else source
    images = open_source(place, data_dir=Path(data_dir) if data_dir else None, settings=reading)
    number = {name: index for index, name in enumerate(images.names)}
    gone = [name for name in wanted if name not in number]
    if gone:
        are = agree(len(gone), "is", "are")
        raise DataError(f"{images.source}: {count(len(gone), 'image')} of the run {are} missing, e.g. {gone[0]}")
    order = np.random.default_rng(derive(manifest.provenance.seed, purpose)).permutation(list(wanted))
    names: list[str] = []
    contents: list[bytes] = []
    labels: list[int] = []
    for name in order.tolist():
        if len(names) == num_images:
            break
        try:
            content = _as_file(images.read(number[name]))
            preprocess(content, manifest.preprocessing)
        except ImageError:
            continue  # it was readable when the run was made; `catseye evaluate` reports such images
        names.append(name)
        contents.append(content)
        labels.append(manifest.classes.index(wanted[name]))
    if not names:
        raise DataError(f"{images.source}: none of {len(wanted)} {split} images can be read")
    return HeldOut(split, names, contents, np.array(labels, np.int64))


def _as_file(content: bytes | Pixels) -> bytes:
    if isinstance(content, bytes):
        return content
    stream = io.BytesIO()
    Image.fromarray(content[:, :, 0] if content.shape[2] == 1 else content).save(stream, "PNG")
    return stream.getvalue()
