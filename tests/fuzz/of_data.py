"""Data and settings of strangers: lists, zips, images, TOML, and the plan of a large prediction."""

import contextlib

import numpy as np

from catseye.errors import CatseyeError
from catseye.preprocess import FILE_FORMATS, UPLOAD_FORMATS, Preprocessing, decoding_cost, open_image, preprocess_sized
from tests.fuzz.entries import as_zip
from tests.fuzz.targets import Run, own_folder

FEW_PIXELS = 1_000_000
MANY_PIXELS = 50_000_000  # what the server allows


def listing() -> Run:
    from catseye.data.sources import open_source

    folder = own_folder()
    for name in ("cat.png", "dog.png", "images/a.png", "images/b.PNG"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image, and nobody looks")
    path = folder / "list.csv"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(CatseyeError):
            found = open_source(path)
            assert len(found.names) == len(found.labels) == len(found.splits)
            assert found.labels.max() < len(found.classes)
            for name in list(found.names)[:5]:
                assert isinstance(name, str)

    return run


def zipped() -> Run:
    from catseye.data.sources import open_source

    path = own_folder() / "data.zip"

    def run(data: bytes) -> None:
        try:
            path.write_bytes(as_zip(data))
        except Exception:  # noqa: BLE001 - no such zip can be written
            return
        with contextlib.suppress(CatseyeError):
            found = open_source(path)
            assert len(found.names) == len(found.labels)
            for index in range(min(8, len(found.names))):
                with contextlib.suppress(CatseyeError):
                    found.read(index)

    return run


def image() -> Run:
    """The first byte says how it is read: as an upload or a file, for how many pixels, in which way."""
    specs = [
        Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.5,) * 3),
        Preprocessing(height_px=8, width_px=24, channels=1, resize="crop", mean=(0.5,), std=(0.5,)),
        Preprocessing(height_px=16, width_px=16, resize="squash", mean=(0.5,) * 3, std=(1,) * 3, value_range=(0, 4095)),
    ]

    def run(data: bytes) -> None:
        how, content = (data[0] if data else 0), data[1:]
        spec = specs[how % 3]
        formats = FILE_FORMATS if how & 4 else UPLOAD_FORMATS
        most = MANY_PIXELS if how >= 248 else FEW_PIXELS
        decoding_cost(content, spec)
        with contextlib.suppress(CatseyeError):
            pixels, size = preprocess_sized(content, spec, formats=formats, max_pixels=most)
            assert pixels.shape == (spec.height_px, spec.width_px, spec.channels)
            assert pixels.dtype == np.uint8
            assert size[0] * size[1] <= most
        if how & 8:
            with contextlib.suppress(CatseyeError):
                assert open_image(content, max_pixels=most).mode in ("RGB", "L")

    return run


def settings() -> Run:
    """A settings file; its first line is also what `--set` gets."""
    from catseye.settings.merge import load_settings, own_settings, read_settings, to_toml

    path = own_folder() / "settings.toml"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(CatseyeError):
            read_settings(path)
        with contextlib.suppress(CatseyeError):
            to_toml(load_settings("quick", config=path))
        with contextlib.suppress(CatseyeError):
            own_settings(overrides=[data.partition(b"\n")[0].decode("utf-8", "replace")])

    return run


def plan() -> Run:
    """The plan.json of a folder of answers, and the files of a run that are JSON."""
    from catseye.prediction.plan import PLAN_FILE, read_plan
    from catseye.runs import Run as RunFolder

    folder = own_folder()
    run_folder = RunFolder(folder)

    def run(data: bytes) -> None:
        for name in (PLAN_FILE, "data.json", "history.jsonl"):
            (folder / name).write_bytes(data)
        with contextlib.suppress(CatseyeError):
            read_plan(folder)
        with contextlib.suppress(CatseyeError):
            _ = run_folder.data
        with contextlib.suppress(CatseyeError):
            _ = run_folder.history

    return run
