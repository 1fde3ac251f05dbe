import contextlib
import gzip
import hashlib
import io
import os
import pickle
import shutil
import stat
import struct
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from catseye.data import builtin
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL, ImageSet, open_source
from catseye.errors import DataError, ImageError
from tests.conftest import encode, random_pixels

PNG = encode(random_pixels(0))


def table(images: ImageSet) -> list[tuple[str, str, int]]:
    """(name, class, split) of every image."""
    rows = zip(images.names, images.labels, images.splits, strict=True)
    return [(name, images.classes[label], int(split)) for name, label, split in rows]


def snapshot(root: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


def zip_folder(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


# --- folders ------------------------------------------------------------------------------------------------------


def test_class_folders(images):
    root = images({"dog": 2, "cat": 1})
    found = open_source(root)
    assert found.classes == ("cat", "dog")
    assert table(found) == [
        ("cat/000.png", "cat", NOT_SPLIT),
        ("dog/000.png", "dog", NOT_SPLIT),
        ("dog/001.png", "dog", NOT_SPLIT),
    ]
    assert found.labels.dtype == np.int64
    assert found.notes == ()
    for index, name in enumerate(found.names):
        assert found.read(index) == (root / name).read_bytes()
        assert found.read.size_bytes(index) == (root / name).stat().st_size


def test_folders_inside_a_class_folder_belong_to_the_class(images):
    found = open_source(images({"cat/kittens/small": 1, "cat": 1, "dog": 1}))
    assert [(name, label) for name, label, _ in table(found)] == [
        ("cat/000.png", "cat"),
        ("cat/kittens/small/000.png", "cat"),
        ("dog/000.png", "dog"),
    ]


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders(images, train, val):
    folders = {f"{side}/{name}": 1 for side in (train, val, "test") for name in ("cat", "dog")}
    found = open_source(images(folders))
    assert found.classes == ("cat", "dog")
    splits = {name: split for name, _, split in table(found)}
    for side, number in ((train, TRAIN), (val, VAL), ("test", TEST)):
        assert splits[f"{side}/cat/000.png"] == splits[f"{side}/dog/000.png"] == number


def test_train_and_test_only(images):
    found = open_source(images({"train/cat": 2, "train/dog": 1, "test/cat": 1}))
    assert found.classes == ("cat", "dog")
    assert sorted(found.splits.tolist()) == [TRAIN, TRAIN, TRAIN, TEST]


def test_classes_may_be_called_test_and_train(images):
    # Without a folder "train" beside it, "test" is a class like another.
    found = open_source(images({"test": 1, "cat": 1}))
    assert found.classes == ("cat", "test")
    assert set(found.splits.tolist()) == {NOT_SPLIT}


def test_one_class_folder_alone_is_a_class(images):
    assert open_source(images({"cat": 2})).classes == ("cat",)


def test_hidden_files_and_other_files_are_left_out(images):
    root = images({"cat": 1, "dog": 1, ".hidden": 1, "cat/.thumbs": 1})
    (root / "cat" / "._000.png").write_bytes(b"a Mac's shadow of an image")
    (root / "cat" / "notes.txt").write_text("not an image")
    found = open_source(root)
    assert [name for name, _, _ in table(found)] == ["cat/000.png", "dog/000.png"]
    assert found.notes == ("1 file without the suffix of an image is left out",)


def test_suffixes_in_capitals_count(images):
    root = images({"cat": 1, "dog": 1})
    (root / "cat" / "B.JPG").write_bytes(PNG)
    assert "cat/B.JPG" in open_source(root).names


def test_images_outside_the_class_folders_are_noted(images):
    root = images({"cat": 1, "dog": 1})
    (root / "stray.png").write_bytes(PNG)
    found = open_source(root)
    assert len(found) == 2
    assert found.notes == ("1 image is outside the class folders and left out, e.g. stray.png",)


def test_an_empty_folder_is_named_and_no_class(images):
    root = images({"cat": 1, "dog": 1})
    (root / "bird").mkdir()
    for _ in range(2):
        found = open_source(root)
        assert found.classes == ("cat", "dog")
        assert found.remarks == ("1 folder contains no images and is not a class: 'bird'",)
        (root / "bird" / "readme.txt").write_text("soon")


def test_an_empty_folder_below_a_split_is_named(images):
    root = images({"train/cat": 1, "train/dog": 1, "test/cat": 1})
    (root / "train" / "bird").mkdir()
    (root / "fish").mkdir()
    found = open_source(root)
    assert found.classes == ("cat", "dog")
    assert found.remarks == ("2 folders contain no images and are not classes: 'fish', 'train/bird'",)


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"PK")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: None, "does not exist; DATA is a folder"),
        (lambda root: root.mkdir(), "holds no images"),
        (lambda root: put(root, "cat/1.dcm", "dog/2.dcm"), r"2 \.dcm; convert DICOM files"),
        (lambda root: put(root, "cats.zip", "dogs.zip"), r"2 \.zip; unpack the archives"),
        (lambda root: put(root, "cat/1", "dog/2"), "2 without a suffix; give image files their suffix"),
        (lambda root: put(root, "all.npz"), r"1 \.npz; load arrays in Python and use catseye.train"),
        (lambda root: root.write_text("hello"), "neither a folder nor a .zip nor a .csv"),
    ],
)
def test_a_source_with_nothing_in_it(make, reason, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(DataError, match=reason):
        open_source(tmp_path / "data")


def test_images_without_class_folders(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(DataError, match="no class folders"):
        open_source(tmp_path)


def test_a_folder_may_be_called_like_a_built_in(images, monkeypatch):
    root = images({"cat": 1, "dog": 1}, root="digits")
    monkeypatch.chdir(root.parent)
    assert open_source("digits").classes == ("cat", "dog")


def test_links_to_folders_are_followed_once(images, tmp_path):
    root = images({"cat": 1})
    images({"d": 2}, root="elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere" / "d")
    (root / "cat" / "loop").symlink_to(root)
    assert open_source(root).names == ["cat/000.png", "dog/000.png", "dog/001.png"]


def test_two_links_that_meet_end(images):
    # a/to_b -> b and b/to_a -> a: no folder contains its own link's target, and yet there is no end.
    root = images({"cat": 1, "cat/a": 1, "cat/b": 1, "dog": 1})
    (root / "cat" / "a" / "to_b").symlink_to(root / "cat" / "b")
    (root / "cat" / "b" / "to_a").symlink_to(root / "cat" / "a")
    assert len(open_source(root)) < 10


def test_what_is_no_file_is_not_listed(images):
    root = images({"cat": 1, "dog": 1})
    os.mkfifo(root / "cat" / "pipe.png")
    assert open_source(root).names == ["cat/000.png", "dog/000.png"]


def test_a_link_that_leads_nowhere_is_an_unreadable_image(images):
    root = images({"cat": 1, "dog": 1})
    (root / "cat" / "away.png").symlink_to(root / "gone.png")
    found = open_source(root)
    with pytest.raises(ImageError, match=r"away\.png cannot be read"):
        found.read(found.names.index("cat/away.png"))


def test_a_image_that_vanishes_is_named(images):
    root = images({"cat": 1, "dog": 1})
    found = open_source(root)
    (root / "cat" / "000.png").unlink()
    with pytest.raises(ImageError, match=r"cat/000\.png cannot be read"):
        found.read(0)
    with pytest.raises(ImageError, match=r"cat/000\.png cannot be read"):
        found.read.size_bytes(0)


# --- zips ---------------------------------------------------------------------------------------------------------

CLASSES = {"cat": 2, "dog": 1}
SPLITS = {f"{side}/{name}": 1 for side in ("train", "val", "test") for name in ("cat", "dog")}


@pytest.mark.parametrize("prefix", ["", "photos/", "a/b/"])
@pytest.mark.parametrize("folders", [CLASSES, SPLITS], ids=["classes", "splits"])
def test_a_zip_is_read_like_the_folder_in_it(images, tmp_path, prefix, folders):
    root = images(folders)
    path = zip_folder(root, tmp_path / "data.zip", prefix)
    plain, zipped = open_source(root), open_source(path)
    assert zipped.classes == plain.classes
    assert [(prefix + name, label, split) for name, label, split in table(plain)] == table(zipped)
    for index in range(len(plain)):
        assert zipped.read(index) == plain.read(index)
        assert zipped.read.size_bytes(index) == plain.read.size_bytes(index)


def test_a_zip_reader_survives_being_sent_to_a_worker(images, tmp_path):
    found = open_source(zip_folder(images(CLASSES), tmp_path / "data.zip"))
    found.read(0)
    assert pickle.loads(pickle.dumps(found.read))(1) == found.read(1)


def test_threads_may_read_one_zip(images, tmp_path):
    found = open_source(zip_folder(images({"cat": 30, "dog": 30}), tmp_path / "data.zip"))
    alone = [found.read(index) for index in range(len(found))]
    results: dict[int, list[bytes]] = {}

    def read(number: int) -> None:
        results[number] = [found.read(index) for index in range(len(found))]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number] for number in range(4)] == [alone] * 4


def test_a_macs_shadow_files_in_a_zip_are_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("cat/a.png", "dog/b.png", "__MACOSX/cat/._a.png", "cat/.DS_Store", ".git/c.png"):
            archive.writestr(name, PNG)
    assert open_source(tmp_path / "data.zip").names == ["cat/a.png", "dog/b.png"]


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "cat\\..\\evil.png"])
def test_a_zip_entry_that_points_outside_is_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("cat/a.png", PNG)
        archive.writestr("dog/b.png", PNG)
        archive.writestr(zipfile.ZipInfo(name), PNG)
    with pytest.raises(DataError, match="points outside the zip"):
        open_source(tmp_path / "data.zip")


def test_a_link_in_a_zip_is_ignored(tmp_path):
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("cat/a.png", PNG)
        archive.writestr("dog/b.png", PNG)
        archive.writestr(link, "/etc/passwd")
    assert open_source(tmp_path / "data.zip").names == ["cat/a.png", "dog/b.png"]


def test_an_empty_folder_in_a_zip_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("cat/a.png", PNG)
        archive.writestr("dog/b.png", PNG)
        archive.writestr(zipfile.ZipInfo("bird/"), "")
    assert open_source(tmp_path / "data.zip").remarks == ("1 folder contains no images and is not a class: 'bird'",)


def test_a_damaged_entry_is_an_image_error_and_leaves_the_others_readable(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/a.png", PNG)
        archive.writestr("dog/b.png", encode(random_pixels(1)))
    content = bytearray(path.read_bytes())
    content[content.index(PNG) + 20] ^= 0xFF
    path.write_bytes(content)
    found = open_source(path)
    with pytest.raises(ImageError, match=r"cat/a\.png cannot be unpacked"):
        found.read(0)
    assert found.read(1) == encode(random_pixels(1))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_compressed_entries_are_image_errors(compression, tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("cat/a.png", PNG * 20)
        archive.writestr("dog/b.png", PNG)
    whole = path.read_bytes()
    begin = 30 + len("cat/a.png")
    for position in range(begin, begin + 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(ImageError):
            assert open_source(path).read(0) == PNG * 20


def test_a_file_that_is_no_zip_or_cut_is_named(images, tmp_path):
    path = zip_folder(images(CLASSES), tmp_path / "data.zip")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"data\.zip"):
        open_source(path)


# --- CSV ----------------------------------------------------------------------------------------------------------


def write_csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_csv_without_a_split(images, tmp_path):
    root = images({"photos": 3})
    found = open_source(write_csv(root, "path,label\nphotos/000.png,dog\nphotos/002.png,cat\n"))
    assert table(found) == [("photos/000.png", "dog", NOT_SPLIT), ("photos/002.png", "cat", NOT_SPLIT)]
    assert found.classes == ("cat", "dog")
    assert found.read(1) == (root / "photos" / "002.png").read_bytes()


def test_csv_with_a_split_a_bom_spaces_quotes_and_another_order_of_columns(images):
    root = images({"photos": 2})
    text = 'Split, label ,path\r\n Train ,"a, b",photos/000.png\r\nvalidation,c, photos/001.png \r\n'
    found = open_source(write_csv(root, text, encoding="utf-8-sig"))
    assert table(found) == [("photos/000.png", "a, b", TRAIN), ("photos/001.png", "c", VAL)]


def test_csv_paths_are_relative_to_the_file_or_absolute(images, tmp_path, monkeypatch):
    root = images({"photos": 1})
    (tmp_path / "lists").mkdir()
    text = f"path,label\n../data/photos/000.png,a\n{root}/photos/000.png,b\n"
    path = write_csv(tmp_path / "lists", text)
    monkeypatch.chdir(tmp_path / "lists")
    found = open_source(Path("list.csv"))
    monkeypatch.chdir("/")
    assert found.read(0) == found.read(1) == (root / "photos" / "000.png").read_bytes()
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must name the columns path,label"),
        ("path\na.png\n", "must name the columns path,label"),
        ("size,weight\n3,4\n", "no column names image files"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png,\n", r"lists no images with a label \(1 row without\)"),
        ("path,label\na.png,cat\n,dog\n", "line 3: the name of the image must not be empty"),
        ("path,label\na.png,cat\nnan,dog\n", "line 3: the name of the image must not be empty"),
        ("path,label\na.png\n", "lists no images with a label"),
        ("path,label,split\na.png,cat,fold 3\n", "line 2: a split is train, val or test; got 'fold 3'"),
        ("path,label\nhttps://example.org/a.png,cat\n", "line 2: 'https://example.org/a.png' is an address"),
        ("path,label,split\na.png,cat,train\nb.png,cat,\n", "line 3: every image has a split, or none"),
        ("path,label,split\na.png,cat,train\nb.png,cat, \n", "line 3: every image has a split, or none"),
        ("path,label,split\na.png,cat\nb.png,cat,test\n", "line 2: every image has a split, or none"),
        ('path,label\na.png,"cat\n', "cannot be read as UTF-8 CSV"),
        ("path,label\nmy,photo.png,cat\n", "line 2"),
    ],
)
def test_a_csv_that_cannot_be_used_says_where(text, reason, tmp_path):
    with pytest.raises(DataError, match=reason) as caught:
        open_source(write_csv(tmp_path, text))
    assert "list.csv" in str(caught.value)


def test_the_line_number_counts_lines_of_the_file(tmp_path):
    text = 'path,label,split\n\n"a.png","two\nlines",train\nb.png,cat,\n'
    with pytest.raises(DataError, match="line 5: every image has a split, or none"):
        open_source(write_csv(tmp_path, text))


def test_a_csv_in_another_encoding_is_named(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,label\na.png,Vögel\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8 CSV"):
        open_source(tmp_path / "list.csv")


def test_a_csv_with_a_null_byte_in_a_path_is_an_image_error(tmp_path):
    found = open_source(write_csv(tmp_path, "path,label\na\0.png,cat\n"))
    with pytest.raises(ImageError):
        found.read(0)
    with pytest.raises(ImageError):
        found.read.size_bytes(0)


# --- nothing is written beside the user's files -------------------------------------------------------------------


def test_no_source_changes_the_users_files(images, tmp_path):
    root = images(CLASSES)
    zip_folder(root, tmp_path / "data.zip")
    write_csv(tmp_path, "path,label\ndata/cat/000.png,cat\ndata/dog/000.png,dog\n")
    before = snapshot(tmp_path)
    for source in (root, tmp_path / "data.zip", tmp_path / "list.csv"):
        found = open_source(source)
        for index in range(len(found)):
            found.read(index)
    assert snapshot(tmp_path) == before


# --- built-ins ----------------------------------------------------------------------------------------------------


def test_digits():
    found = open_source("digits")
    assert found.classes == tuple("0123456789")
    assert len(found) == 1797
    assert not found.mirror_safe
    image = found.read(0)
    assert image.shape == (8, 8, 1)
    assert image.dtype == np.uint8
    pixels = np.stack([found.read(index) for index in range(len(found))])
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert set(found.splits.tolist()) == {NOT_SPLIT}
    assert found.read.size_bytes(0) == 64


class Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which wrote the real files."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_old_string(self, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_old_string


def python2(content: object) -> bytes:
    stream = io.BytesIO()
    Python2(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_cifar(folder: Path, *, hundred: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A small folder of the Python version of CIFAR; returns pixels (N, 32, 32, 3) and labels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = ["train", "test"] if hundred else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    pixels, labels = [], []
    for name in names:
        data = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        truth = rng.integers(0, 2, 3).tolist()
        batch = {b"data": data, b"fine_labels" if hundred else b"labels": truth, b"filenames": [b"a", b"b", b"c"]}
        (folder / name).write_bytes(python2(batch))
        pixels.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += truth
    meta = {b"fine_label_names" if hundred else b"label_names": [b"cat", b"dog"]}
    (folder / ("meta" if hundred else "batches.meta")).write_bytes(python2(meta))
    return np.concatenate(pixels), np.array(labels)


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
@pytest.mark.parametrize("how", ["as DATA", "as --data-dir", "above as --data-dir"])
def test_a_cifar_folder_is_read_to_the_pixel(name, folder, how, tmp_path):
    pixels, labels = write_cifar(tmp_path / folder, hundred=name == "cifar100")
    before = snapshot(tmp_path)
    if how == "as DATA":
        found = open_source(tmp_path / folder)
    else:
        found = open_source(name, data_dir=tmp_path / folder if how == "as --data-dir" else tmp_path)
    assert found.classes == ("cat", "dog")
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(np.stack([found.read(index) for index in range(len(found))]), pixels)
    assert (found.splits[-3:] == TEST).all()
    assert (found.splits[:-3] == TRAIN).all()
    assert snapshot(tmp_path) == before


def test_a_data_dir_with_the_other_cifar_is_not_taken_for_this_one(tmp_path, no_network):
    write_cifar(tmp_path / "cifar-100-python", hundred=True)
    with pytest.raises(DataError, match="cifar10 is not in"):
        open_source("cifar10", data_dir=tmp_path / "cifar-100-python")


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_does_not_run(protocol, tmp_path):
    folder, canary = tmp_path / "cifar-10-batches-py", tmp_path / "canary"
    write_cifar(folder)
    evil = pickle.dumps({b"data": Payload(canary), b"labels": []}, protocol=protocol)
    (folder / "data_batch_1").write_bytes(evil)
    with pytest.raises(DataError, match="data_batch_1 is not the CIFAR file"):
        open_source(folder)
    assert not canary.exists()
    pickle.loads(evil)
    assert canary.exists(), "the payload must be one that works"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data_batch_2", b""),
        ("data_batch_2", b"no pickle at all"),
        ("data_batch_2", python2([1, 2, 3])),
        ("data_batch_2", python2({b"labels": [0]})),
        ("data_batch_2", python2({b"data": b"short", b"labels": [0]})),
        ("data_batch_2", python2({b"data": np.zeros((3, 3072), np.uint8), b"labels": [0]})),
        ("data_batch_2", python2({b"data": np.zeros((1, 3072), np.uint8), b"labels": [7]})),
        ("data_batch_2", python2({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]})),
        ("batches.meta", python2({b"label_names": 5})),
    ],
)
def test_a_damaged_cifar_folder_is_one_sentence(name, content, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="cifar-10-batches-py"):
        open_source(folder)


@pytest.fixture
def no_network(monkeypatch):
    """Every download meets a port on which nobody listens."""
    nobody = "http://127.0.0.1:9/"
    for kind in (datasets.CIFAR10, datasets.CIFAR100):
        monkeypatch.setattr(kind, "url", nobody + kind.filename)
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", [nobody])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_without_network_one_sentence_says_what_to_do(name, tmp_path, no_network):
    with pytest.raises(DataError) as caught:
        open_source(name, data_dir=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {tmp_path} and cannot be downloaded")
    assert "--data-dir" in message
    assert "digits" in message
    assert "\n" not in message


def test_an_error_of_the_downloader_is_one_sentence(tmp_path, monkeypatch):
    class Broken:
        def __init__(self, *args: object, **options: object) -> None:
            raise URLError("Name or service not known")

    monkeypatch.setattr(datasets, "CIFAR10", Broken)
    with pytest.raises(DataError, match="Name or service not known"):
        open_source("cifar10", data_dir=tmp_path)


def idx(array: np.ndarray) -> bytes:
    """The IDX format of MNIST (unsigned bytes), gzipped."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_server(tmp_path, monkeypatch):
    """A server on this machine with a tiny MNIST; yields its arrays."""
    folder = tmp_path / "server"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays, resources = {}, []
    for prefix, count in (("train", 12), ("t10k", 5)):
        arrays[prefix] = (rng.integers(0, 256, (count, 28, 28)), rng.integers(0, 10, count))
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[prefix], strict=True):
            name = f"{prefix}-{kind}-ubyte.gz"
            (folder / name).write_bytes(idx(array))
            resources.append((name, hashlib.md5((folder / name).read_bytes()).hexdigest()))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(kind, "resources", resources)
    yield arrays, resources, folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_is_downloaded_checked_and_kept(name, tmp_path, mnist_server):
    arrays, _, folder = mnist_server
    found = open_source(name, data_dir=tmp_path / "cache")
    images = np.concatenate([arrays["train"][0], arrays["t10k"][0]])
    np.testing.assert_array_equal(np.stack([found.read(i) for i in range(len(found))])[..., 0], images)
    np.testing.assert_array_equal(found.labels, np.concatenate([arrays["train"][1], arrays["t10k"][1]]))
    assert found.splits.tolist() == [TRAIN] * 12 + [TEST] * 5
    assert len(found.classes) == 10
    assert found.classes[0] == ("0" if name == "mnist" else "T-shirt/top")
    assert found.mirror_safe == (name != "mnist")
    shutil.rmtree(folder)
    assert len(open_source(name, data_dir=tmp_path / "cache")) == 17


def test_a_download_with_another_checksum_is_refused(tmp_path, mnist_server):
    _, resources, folder = mnist_server
    (folder / resources[0][0]).write_bytes(idx(np.zeros((12, 28, 28))))
    with pytest.raises(DataError, match="cannot be downloaded"):
        open_source("mnist", data_dir=tmp_path / "cache")


def test_the_default_cache_lies_in_the_users_cache_folder():
    assert Path.home() / ".cache" / "catseye" / "data" == builtin.DEFAULT_DATA_DIR
