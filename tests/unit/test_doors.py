"""The same images through every door are the same data set; what is odd behind one is said."""

import io
import json
import pickle
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from catseye.data.prepare import prepare
from catseye.data.sources import TEST, TRAIN, open_source, with_labels
from catseye.data.sources.addresses import hub_sets
from catseye.data.sources.archives import tars
from catseye.errors import DataError, ImageError, MissingDependency
from catseye.settings.schema import DataSettings
from tests import doors
from tests.conftest import encode, random_pixels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return doors.write_folder(tmp_path_factory.mktemp("doors") / "insects")


def facts(images):
    """What decides a training: fingerprint, split of every image, pixels of the first."""
    found = prepare(images, DataSettings(input_px=32, near_copies="ignore"), batch_size=8, seed=5, device=CPU)
    content = [images.read(index) for index in (0, len(images) - 1)]
    return found.data_sha256, found.splits.tolist(), list(images.names), content


@pytest.mark.parametrize("door", doors.FILES)
def test_every_door_leads_to_the_same_data_set(door, folder, tmp_path):
    source = doors.FILES[door](folder, tmp_path)
    try:
        images = open_source(source)
        assert images.classes == doors.CLASSES
        assert facts(images) == facts(open_source(folder))
        again = pickle.loads(pickle.dumps(images.read))  # as it goes to a loader's process
        assert again(3) == images.read(3)
    finally:
        for path in (folder / "list.csv", folder / "list.parquet"):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("write", [doors.as_csv, doors.as_parquet_of_paths], ids=["csv", "parquet"])
def test_a_list_at_an_address_is_the_same_data_set(write, folder, tmp_path):
    pytest.importorskip("fsspec")
    path = write(folder, tmp_path)
    try:
        with doors.served(folder) as address:
            assert facts(open_source(f"{address}/{path.name}")) == facts(open_source(folder))
    finally:
        path.unlink()


def test_images_of_bytes_at_an_address(folder, tmp_path):
    path = doors.as_parquet_of_bytes(folder, tmp_path)
    with doors.served(path) as address:
        images = open_source(f"{address}/part-00000-of-00002.parquet")
        assert images.names[0] == "ant/00.png"
        assert images.read(0) == (folder / "ant/00.png").read_bytes()


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A Hub of two data sets; one has two configurations. The last request's headers are kept."""
    path = doors.as_parquet_of_bytes(folder, tmp_path)
    api = path / "api" / "datasets" / "lab"
    with doors.served(path) as address:
        urls = [f"{address}/part-{number:05d}-of-00002.parquet" for number in range(2)]
        for name, content in {
            "insects": {"default": {"train": urls}},
            "both": {"a": {"train": urls[:1]}, "b": {"train": urls, "test": urls[:1]}},
            "odd": ["nothing"],
        }.items():
            (api / name).mkdir(parents=True)
            (api / name / "parquet").write_text(json.dumps(content))
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address


def test_a_data_set_of_the_hub_by_name_is_the_same_data_set(hub, folder, tmp_path):
    images = open_source("hf://lab/insects")
    assert images.classes == doors.CLASSES
    local = open_source(folder)
    assert images.names == local.names
    assert [images.read(index) for index in (0, 20, 41)] == [local.read(index) for index in (0, 20, 41)]
    again = pickle.loads(pickle.dumps(images.read))  # as it goes to a loader's process
    assert again(41) == images.read(41)
    assert open_source("hf://lab/both/b").splits.tolist() == [TRAIN] * 42 + [TEST] * 21


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://lab/none", "has no such data set.*HF_TOKEN"),
        ("hf://lab/both", "2 configurations; use one of: hf://OWNER/NAME/a, hf://OWNER/NAME/b"),
        ("hf://lab/both/c", "no configuration c"),
        ("hf://lab/odd", "does not list Parquet files"),
    ],
)
def test_a_name_of_the_hub_that_leads_nowhere(hub, name, message):
    with pytest.raises(DataError, match=message):
        open_source(name)


def test_a_hub_that_does_not_answer_is_named(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/api/datasets/lab/insects/parquet cannot be downloaded"):
        open_source("hf://lab/insects")


def test_the_token_goes_to_the_hub_alone(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    own = hub_sets._connect_hub("https://hub.example", ["https://hub.example/api/datasets/a/b/parquet"])
    assert own.client_kwargs["headers"] == {"Authorization": "Bearer secret"}
    for other in ("https://cdn.example/0.parquet", "https://hub.example.evil/0.parquet"):
        assert hub_sets._connect_hub("https://hub.example", [other]).client_kwargs["headers"] == {}


def test_an_address_that_fails_is_named(folder):
    with doors.served(folder) as address:
        with pytest.raises(DataError, match="cannot be downloaded"):
            open_source(f"{address}/nothing.csv")
        with pytest.raises(DataError, match=r"a list \(\.csv, \.jsonl or \.parquet\)"):
            open_source(f"{address}/ant/00.png")
        (folder / "two.csv").write_text("path,label\nant/00.png,ant\nbee/missing.png,bee\n")
        try:
            images = open_source(f"{address}/two.csv")
            assert images.read(0) == (folder / "ant/00.png").read_bytes()
            with pytest.raises(ImageError, match=r"bee/missing\.png cannot be downloaded"):
                images.read(1)
        finally:
            (folder / "two.csv").unlink()


def test_nothing_is_connected_to_for_a_path(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    open_source(folder)
    with pytest.raises(MissingDependency, match=r"catseye\[remote\]"):
        open_source("https://example.org/list.csv")


def test_without_pyarrow_its_extra_is_named(folder, tmp_path, monkeypatch):
    path = doors.as_parquet_of_bytes(folder, tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"catseye\[parquet\]"):
        open_source(path)


def test_a_data_frame_names_its_columns(folder, tmp_path):
    frame = doors.as_frame(folder, tmp_path).assign(note="", width=24)
    images = open_source(frame, settings=DataSettings(image_column="file", label_column="y"))
    plain = open_source(folder)
    assert images.classes == plain.classes
    assert images.labels.tolist() == plain.labels.tolist()
    assert images.read(5) == plain.read(5)
    assert open_source(images.source) == images  # found by its name as long as it is held


# --- splits -----------------------------------------------------------------------------------------------------------


def test_a_mapping_has_the_splits(folder):
    arrays = np.stack([random_pixels(seed) for seed in range(6)])
    images = open_source({"train": (arrays[:4], ["a", "b", "a", "b"]), "test": (arrays[4:], ["a", "b"])})
    assert images.splits.tolist() == [TRAIN] * 4 + [TEST] * 2
    np.testing.assert_array_equal(images.read(5), arrays[5])
    with pytest.raises(DataError, match="train, val and test; got 'both'"):
        open_source({"both": (arrays, list("ababab"))})


def test_file_names_of_parquet_and_shards_are_sides(folder, tmp_path):
    table = doors.images_and_labels(folder)
    (tmp_path / "data").mkdir()
    pa.parquet.write_table(table.slice(0, 30), tmp_path / "data" / "train-00000-of-00001.parquet")
    pa.parquet.write_table(table.slice(30), tmp_path / "data" / "test-00000-of-00001.parquet")
    assert open_source(tmp_path / "data").splits.tolist() == [TEST] * 12 + [TRAIN] * 30


def test_a_saved_dataset_dict_has_sides_and_the_order_of_its_indices(folder, tmp_path):
    table, root = doors.images_and_labels(folder), tmp_path / "saved"
    doors.save_dataset(root / "train", table, order=[9, 0, 41])
    doors.save_dataset(root / "test", table.slice(0, 2))
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    images = open_source(root)
    assert images.splits.tolist() == [TRAIN] * 3 + [TEST] * 2
    assert [images.classes[label] for label in images.labels] == ["ant", "ant", "fly", "ant", "ant"]
    assert images.read(2) == (folder / "fly/13.png").read_bytes()
    assert images.read(3) == (folder / "ant/00.png").read_bytes()


def test_a_saved_dataset_reads_no_file_elsewhere(folder, tmp_path):
    root = doors.save_dataset(tmp_path / "saved", doors.images_and_labels(folder))
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../secret.arrow"}]}))
    with pytest.raises(DataError, match=r"state\.json names files beside it"):
        open_source(root)


# --- odd tables -------------------------------------------------------------------------------------------------------


def test_rows_without_a_label_are_left_out_and_the_others_keep_their_images(tmp_path):
    contents = [encode(random_pixels(seed, width=8 + seed)) for seed in range(6)]
    table = pa.table({"photo": pa.array(contents, pa.binary()), "species": ["a", None, "b", "", "a", "b"]})
    pa.parquet.write_table(table, tmp_path / "set.parquet")
    images = open_source(tmp_path / "set.parquet")
    assert [images.read(index) for index in range(len(images))] == [contents[index] for index in (0, 2, 4, 5)]
    assert any("2 rows have no label" in note for note in images.notes)


def test_two_columns_of_images_are_asked_about(tmp_path):
    contents = pa.array([b"x", b"y"], pa.binary())
    pa.parquet.write_table(pa.table({"left": contents, "right": contents, "label": ["a", "b"]}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="left, right; use --image-column"):
        open_source(tmp_path / "s.parquet")
    settings = DataSettings(image_column="right")
    assert open_source(tmp_path / "s.parquet", settings=settings).read(1) == b"y"


def test_a_cut_off_parquet_file_is_named(folder, tmp_path):
    path = doors.as_parquet_of_bytes(folder, tmp_path) / "part-00000-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_source(path)


# --- tars -------------------------------------------------------------------------------------------------------------


def test_a_cut_off_tar_is_named(folder, tmp_path):
    path = doors.as_tar(folder, tmp_path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match="cut off or damaged"):
        open_source(path)


def test_a_compressed_tar_is_refused_with_the_way_out(folder, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w:gz") as archive:
        archive.add(folder, "insects")
    with pytest.raises(DataError, match=r"compressed tar.*gzip -d set\.tar"):
        open_source(tmp_path / "set.tar")


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png"])
def test_no_name_in_a_tar_leads_out_of_it(name, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        doors._add(archive, name, encode(random_pixels(1)))
    with pytest.raises(DataError, match="points outside the tar"):
        open_source(tmp_path / "set.tar")


def test_links_in_a_tar_are_no_images(folder, tmp_path):
    path = doors.as_tar(folder, tmp_path)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("ant/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "ant/link.png" not in open_source(path).names


def test_labels_of_shards_in_json_and_as_numbers(tmp_path):
    with tarfile.open(tmp_path / "train-0000.tar", "w") as archive:
        for index in range(12):
            doors._add(archive, f"{index:03d}.jpg", encode(random_pixels(index), "JPEG"))
            if index != 4:
                doors._add(archive, f"{index:03d}.json", json.dumps({"label": index % 11}).encode())
    images = open_source(tmp_path / "train-0000.tar")
    assert images.classes == tuple(map(str, (0, 1, 2, 3, 5, 6, 7, 8, 9, 10)))  # by size, not by alphabet
    assert images.notes == ("1 sample without a label is left out",)
    assert set(images.splits.tolist()) == {TRAIN}


def test_a_pattern_names_shards(folder, tmp_path):
    shards = doors.as_webdataset(folder, tmp_path)
    assert len(open_source(f"{shards}/{{0000..0002}}.tar")) == len(open_source(folder))
    with pytest.raises(DataError, match=r"0003\.tar does not exist"):
        open_source(f"{shards}/{{0000..0003}}.tar")


def test_a_long_tar_is_listed_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tars, "KEPT_FROM", 10)
    monkeypatch.setattr(tars, "_CACHE", tmp_path / "cache")
    path = doors.as_tar(folder, tmp_path)
    first = open_source(path)
    monkeypatch.setattr(tars.tarfile, "open", None)  # it would be called to list it again
    again = open_source(path)
    assert list(again.names) == list(first.names)
    assert again.read(7) == first.read(7)
    path.write_bytes(path.read_bytes() + b"\0" * 512)  # another size: it is looked at again
    with pytest.raises(TypeError):
        open_source(path)


# --- objects ----------------------------------------------------------------------------------------------------------


def png(pixels, mode):
    return Image.fromarray(pixels).convert(mode)


GREY = random_pixels(7, channels=1)
COLOUR = random_pixels(8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (COLOUR, COLOUR),
        (GREY, GREY[..., None]),
        (torch.from_numpy(COLOUR).permute(2, 0, 1), COLOUR),
        (COLOUR / 255, COLOUR),
        (GREY > 100, (GREY > 100)[..., None] * np.uint8(255)),
        (png(COLOUR, "RGB"), COLOUR),
        (png(COLOUR, "L"), np.asarray(png(COLOUR, "L"))[..., None]),
    ],
    ids=["array", "grey", "tensor", "floats", "bool", "Pillow", "grey Pillow"],
)
def test_images_of_many_kinds(image, expected):
    images = open_source(([image, image], ["a", "b"]))
    np.testing.assert_array_equal(images.read(1), expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "F"])
def test_what_pixels_cannot_hold_goes_through_a_lossless_file(mode):
    array = np.full((4, 4), 3000, np.uint16) if mode == "I;16" else random_pixels(2, 4, 4, channels=1)
    image = Image.fromarray(array) if mode == "I;16" else Image.fromarray(array).convert(mode)
    content = open_source(([image, image], [0, 1])).read(0)
    found = Image.open(io.BytesIO(content))
    assert found.mode == mode
    np.testing.assert_array_equal(np.asarray(found.convert("RGBA")), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize(
    ("image", "why"),
    [(COLOUR * 1.0, "from 0 .* to 1"), (COLOUR.astype(np.int64), "int64"), (np.zeros((2, 3, 4, 5)), "shape")],
)
def test_values_without_a_known_meaning_are_refused(image, why):
    images = open_source(([COLOUR, image], [0, 1]))
    with pytest.raises(ImageError, match=why):
        images.read(1)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 10], ("9", "10")),
        (np.array(["b", "a", "b"]), ("a", "b")),
        (torch.tensor([1, 0, 1]), ("0", "1")),
        ([1.0, 0.0, 1.0], ("0", "1")),
        ([True, False, True], ("False", "True")),
    ],
    ids=["numbers by size", "texts", "tensor", "floats", "bool"],
)
def test_labels_of_many_kinds(labels, classes):
    images = open_source(with_labels([COLOUR] * 3, labels))
    assert images.classes == classes
    assert images.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (([COLOUR], [0, 1]), "1 image and 2 labels"),
        (([COLOUR, COLOUR], [0, None]), "none for 1 of 2, first for image 1"),
        (([COLOUR, COLOUR], [[0, 1], [1, 0]]), "one-hot"),
        (([], []), "no images"),
        (({},), "mapping"),
        ((7,), "an object of type int"),
    ],
)
def test_what_is_no_data_is_told(data, why):
    from catseye.errors import CatseyeError

    with pytest.raises(CatseyeError, match=why):
        open_source(data if len(data) == 2 else data[0])


class Pairs(torch.utils.data.Dataset):
    """As torchvision's: `classes`, `targets`, and an image that is decoded when it is asked for."""

    classes = ("wasp", "ant")

    def __init__(self, with_targets):
        self.asked = []
        if with_targets:
            self.targets = [0, 1, 1, 0]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.asked.append(index)
        return Image.fromarray(random_pixels(index)), [0, 1, 1, 0][index]


@pytest.mark.parametrize("with_targets", [True, False])
def test_a_data_set_of_torch(with_targets):
    dataset = Pairs(with_targets)
    images = open_source(dataset)
    assert images.classes == ("wasp", "ant")
    assert images.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(images.read(2), random_pixels(2))
    if with_targets:  # no image is decoded for its label
        dataset.asked.clear()
        open_source(dataset).read.size_bytes(1)
        assert set(dataset.asked) <= {0, 1, 2, 3}


class ImageFeature:
    """Stands for datasets.Image: known by its name."""

    def __init__(self, decode=True):
        self.decode = decode


ImageFeature.__name__ = "Image"


class Labels:
    """Stands for datasets.ClassLabel."""

    names = ("ant", "bee")


Labels.__name__ = "ClassLabel"


class Columns:
    """As Hugging Face's data sets: columns, features, and images decoded unless they are cast."""

    column_names = ("image", "label")

    def __init__(self, contents, labels, decode=True):
        self.contents, self.labels = contents, labels
        self.features = {"image": ImageFeature(decode), "label": Labels()}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, key):
        if isinstance(key, str):
            return {"label": self.labels, "image": self.contents}[key]
        content = self.contents[key]
        image = Image.open(io.BytesIO(content)) if self.features["image"].decode else {"bytes": content, "path": None}
        return {"image": image, "label": self.labels[key]}

    def cast_column(self, name, feature):
        return Columns(self.contents, self.labels, feature.decode)


def test_a_data_set_of_hugging_face_gives_the_files_themselves():
    contents = [encode(random_pixels(seed), "JPEG") for seed in range(3)]
    images = open_source(Columns(contents, [1, 0, 1]))
    assert images.classes == ("ant", "bee")
    assert images.labels.tolist() == [1, 0, 1]
    assert images.read(1) == contents[1]


def test_objects_that_are_gone_have_to_be_given_again():
    name = open_source(([COLOUR, GREY], ["a", "b"])).source
    with pytest.raises(DataError, match="give them again"):
        open_source(name)
