"""One data set behind every door: the same images as folders, archives, lists, tables, and objects of a program."""

import csv
import io
import json
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tests.conftest import encode

CLASSES = ("ant", "bee", "fly")
PER_CLASS = 14


def write_folder(root: Path) -> Path:
    """Class folders: PNGs that are of a size each, so that names and sizes tell the images apart."""
    rng = np.random.default_rng(3)
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            pixels = rng.integers(0, 120, (24, 24 + index, 3), dtype=np.uint8)
            pixels[..., number] += 100
            (root / name / f"{index:02d}.png").write_bytes(encode(pixels))
    return root


def rows_of(folder: Path) -> list[tuple[str, str, bytes]]:
    """Name, class and content of every image."""
    paths = sorted(folder.rglob("*.png"))
    return [(path.relative_to(folder).as_posix(), path.parent.name, path.read_bytes()) for path in paths]


def as_zip(folder: Path, out: Path) -> Path:
    with zipfile.ZipFile(out / "set.zip", "w") as archive:
        for name, _, content in rows_of(folder):
            archive.writestr(name, content)
    return out / "set.zip"


def as_tar(folder: Path, out: Path) -> Path:
    with tarfile.open(out / "set.tar", "w") as archive:
        for name, _, content in rows_of(folder):
            _add(archive, name, content)
    return out / "set.tar"


def as_webdataset(folder: Path, out: Path) -> Path:
    """Three shards; the samples go to them in turn."""
    (out / "shards").mkdir()
    rows = rows_of(folder)
    for shard in range(3):
        with tarfile.open(out / "shards" / f"{shard:04d}.tar", "w") as archive:
            for name, label, content in rows[shard::3]:
                _add(archive, name, content)
                _add(archive, name.replace(".png", ".cls"), label.encode())
    return out / "shards"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def as_csv(folder: Path, out: Path) -> Path:
    path = folder / "list.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        writer.writerows((name, label) for name, label, _ in rows_of(folder))
    return path


def as_parquet_of_paths(folder: Path, out: Path) -> Path:
    names, labels, _ = zip(*rows_of(folder), strict=True)
    pa.parquet.write_table(pa.table({"path": names, "label": labels}), folder / "list.parquet")
    return folder / "list.parquet"


def images_and_labels(folder: Path, classes=CLASSES) -> pa.Table:
    """As Hugging Face writes them: bytes with their path, and numbers whose names stand in the schema."""
    images = [{"bytes": content, "path": name} for name, _, content in rows_of(folder)]
    labels = [classes.index(label) for _, label, _ in rows_of(folder)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features(classes)}})})


def features(classes=CLASSES):
    return {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}


def as_parquet_of_bytes(folder: Path, out: Path) -> Path:
    """Two files with small row groups."""
    table, half = images_and_labels(folder), len(CLASSES) * PER_CLASS // 2
    (out / "parquet").mkdir()
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = out / "parquet" / f"part-{number:05d}-of-00002.parquet"
        pa.parquet.write_table(part, path, row_group_size=5)
    return out / "parquet"


def as_saved_dataset(folder: Path, out: Path) -> Path:
    return save_dataset(out / "saved", images_and_labels(folder))


def save_dataset(root: Path, table: pa.Table, order=None) -> Path:
    """What `Dataset.save_to_disk` writes; `order` as after a shuffle, which leaves the table as it is."""
    root.mkdir(parents=True)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    with pa.ipc.new_stream(root / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=7)
    if order is not None:
        rows = pa.table({"indices": pa.array(order, pa.uint64())})
        with pa.ipc.new_stream(root / "indices.arrow", rows.schema) as stream:
            stream.write_table(rows)
        state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (root / "state.json").write_text(json.dumps(state))
    (root / "dataset_info.json").write_text(json.dumps({"features": features()}))
    return root


def as_frame(folder: Path, out: Path):
    import pandas as pd

    rows = [(str(folder / name), label) for name, label, _ in rows_of(folder)]
    return pd.DataFrame(rows, columns=["file", "y"])


FILES = {
    "zip": as_zip,
    "tar": as_tar,
    "WebDataset": as_webdataset,
    "csv": as_csv,
    "Parquet of paths": as_parquet_of_paths,
    "Parquet of bytes": as_parquet_of_bytes,
    "Hugging Face on disk": as_saved_dataset,
}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        """Say nothing."""


@contextmanager
def served(folder: Path):
    """The files of a folder over HTTP; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
