"""Which level of folders are splits, which are classes: read where it is plain, asked where it is not."""

import itertools
import json
import unicodedata
import zipfile
from pathlib import Path

import pytest

from catseye.data.check.check import check
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL, ImageSet, open_source
from catseye.data.sources.folders.tree import grow_tree
from catseye.errors import DataError
from catseye.settings.schema import DataSettings
from tests.conftest import encode, random_pixels

PNG = encode(random_pixels(0))
ANIMALS = ("fox", "hare")


def put(root: Path, *folders: str) -> Path:
    """Two image files in each folder; `train/*` stands for one folder of each animal."""
    wanted = itertools.chain(*([f.replace("*", name) for name in ANIMALS] if "*" in f else [f] for f in folders))
    for folder in wanted:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            (root / folder / f"{number}.png").write_bytes(PNG)
    return root


def read(root: Path, layout: str = "auto") -> ImageSet:
    return open_source(root, settings=DataSettings(layout=layout))


def sides(images: ImageSet) -> dict[int, set[str]]:
    """Side -> its classes."""
    found: dict[int, set[str]] = {}
    for label, side in zip(images.labels.tolist(), images.splits.tolist(), strict=True):
        found.setdefault(side, set()).add(images.classes[label])
    return found


# --- splits by many names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [
    ("train", "val", "test"),
    ("Training", "Validation", "Testing"),
    ("TRAIN", "DEV", "TEST"),
    ("trainset", "valset", "testset"),
    ("training_set", "validation_set", "test_set"),
    ("Train Data", "Eval Data", "Test Data"),
    ("TrainImages", "ValidImages", "HoldoutImages"),
    ("train2017", "val2017", "test2017"),
    ("01_train", "02_valid", "03_hold-out"),
    ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
    ("train/images", "val/images", "test/images"),
    ("flora_train", "flora_val", "flora_test"),
    ("data/train", "data/evaluation", "data/held_out"),
    ("Trainingsdaten", "Validierung", "Testdaten"),
])  # fmt: skip
def test_split_folders_under_names_that_people_use(names, tmp_path):
    found = read(put(tmp_path, *(f"{name}/*" for name in names)))
    assert found.classes == ANIMALS
    assert sides(found) == {TRAIN: set(ANIMALS), VAL: set(ANIMALS), TEST: set(ANIMALS)}
    assert found.notes == ()


@pytest.mark.parametrize(
    "beside", ["samples", "predictions/*", "docs/figures", "seg_pred/seg_pred", "Masks/*", "notes"]
)
def test_a_folder_beside_the_splits_makes_no_classes_of_them(beside, tmp_path):
    found = read(put(tmp_path, "train/*", "test/*", beside))
    assert found.classes == ANIMALS
    assert sides(found) == {TRAIN: set(ANIMALS), TEST: set(ANIMALS)}
    assert len(found.notes) == 1
    assert f"{beside.split('/')[0]}/ (" in found.notes[0]
    assert "left out" in found.notes[0]


def test_a_second_copy_of_the_set_beside_its_splits_is_left_out(tmp_path):
    found = read(put(tmp_path, "x/train/*", "x/test/*", "x/x/train/*", "x/x/test/*"))
    assert sides(found) == {TRAIN: set(ANIMALS), TEST: set(ANIMALS)}
    assert found.notes == ("beside the splits, x/x/ (8 images) is left out",)


def test_unusual_names_are_said(tmp_path):
    assert read(put(tmp_path, "lrn_train/*", "hold out/*")).remarks == (
        "splits: hold out/ as test, lrn_train/ as train",
    )


@pytest.mark.parametrize("other", ["unseen", "fold_2", "new photos", "augmented"])
def test_an_unknown_name_beside_a_split_is_asked_about(other, tmp_path):
    root = put(tmp_path, "train/*", f"{other}/*")
    with pytest.raises(DataError) as caught:
        read(root)
    said = str(caught.value)
    for each in ("--layout splits", "--layout classes", repr(other), "'train'", "'fox', 'hare'"):
        assert each in said
    assert sides(read(root, "splits")) == {TRAIN: set(ANIMALS), TEST: set(ANIMALS)}
    assert read(root, "classes").classes == tuple(sorted((other, "train")))


@pytest.mark.parametrize("names", [("north", "south"), ("color", "gray", "edges"), ("steam_train", "toy_train")])
def test_folders_that_repeat_the_same_classes_are_asked_about(names, tmp_path):
    root = put(tmp_path, *(f"{name}/*" for name in names))
    with pytest.raises(DataError, match="hold the same class folders"):
        read(root)
    pooled = read(root, "splits")
    assert sides(pooled) == {NOT_SPLIT: set(ANIMALS)}
    assert "pooled" in pooled.remarks[0]
    assert read(root, "classes").classes == tuple(sorted(names))


def test_the_third_split_with_an_unknown_name_validates_where_splits_are_asked_for(tmp_path):
    root = put(tmp_path, "train/*", "test/*", "spare/*")
    with pytest.raises(DataError, match="'spare', 'test', 'train'"):
        read(root)
    assert sides(read(root, "splits"))[VAL] == set(ANIMALS)


def test_what_is_in_no_split_is_left_out_where_all_sides_are_taken(tmp_path):
    found = read(put(tmp_path, "train/*", "val/*", "test/*", "spare/*"), "splits")
    assert len(found) == 12
    assert "spare/ (4 images)" in found.notes[0]


def test_train_alone_is_the_whole_set(tmp_path):
    found = read(put(tmp_path, "train/*"))
    assert sides(found) == {NOT_SPLIT: set(ANIMALS)}
    assert "not as a split" in found.remarks[0]
    assert sides(read(tmp_path, "splits")) == {NOT_SPLIT: set(ANIMALS)}


@pytest.mark.parametrize("test", ["test", "test/test", "test/unlabelled", "testing_set"])
def test_a_test_folder_without_labels_is_left_out(test, tmp_path):
    found = read(put(tmp_path, "train/*", test))
    assert sides(found) == {NOT_SPLIT: set(ANIMALS)}
    assert "left out" in found.notes[0]
    assert "the held-out images are drawn" in found.remarks[0]


def test_splits_that_hold_images_only_are_no_classes(tmp_path):
    root = put(tmp_path, "train", "test")
    with pytest.raises(DataError, match=r"no class folders.*--layout classes"):
        read(root)
    assert read(root, "classes").classes == ("test", "train")


def test_class_folders_that_hold_the_splits(tmp_path):
    found = read(put(tmp_path, *(f"{name}/{side}" for name in ANIMALS for side in ("Train", "Test"))))
    assert found.classes == ANIMALS
    assert sides(found) == {TRAIN: set(ANIMALS), TEST: set(ANIMALS)}


@pytest.mark.parametrize("classes", [("train", "car", "plane"), ("valid", "invalid"), ("test", "control")])
def test_classes_may_be_called_like_splits(classes, tmp_path):
    assert read(put(tmp_path, *classes)).classes == tuple(sorted(classes))


def test_a_class_called_like_an_extra_folder_is_a_class(tmp_path):
    assert read(put(tmp_path, "masks", "thumbs", "docs")).classes == ("docs", "masks", "thumbs")


# --- folders above classes, classes with folders in them ----------------------------------------------------------


@pytest.mark.parametrize("above", ["Dataset", "images", "a/b/c", "my photos"])
def test_the_folder_above_the_class_folders_is_passed_and_said(above, tmp_path):
    found = read(put(tmp_path, f"{above}/*"))
    assert found.classes == ANIMALS
    assert found.remarks == (f"the images are in {above}/: DATA is read from there",)


@pytest.mark.parametrize(
    ("above", "beside"),
    [("Dataset", "Examples"), ("images", "masks/*"), ("raw images", "plates"), ("herbarium", "sample_pictures"),
     ("photos", "old/*/deep")],
)  # fmt: skip
def test_the_folder_above_is_found_beside_others_and_they_are_named(above, beside, tmp_path):
    root = put(tmp_path, f"{above}/*", beside) if beside != "old/*/deep" else put(tmp_path, f"{above}/*", "backup/old")
    found = read(root)
    assert found.classes == ANIMALS
    assert len(found.notes) == 1
    for words in (f"{above}/ holds 2 sub-folders with images and none of its own", f"{root}/{above}", "left out"):
        assert words in found.notes[0]
    assert above in read(root, "classes").classes


def test_a_folder_called_as_the_data_is_above_the_classes(tmp_path):
    found = read(put(tmp_path / "shells", "shells/*", "oysters"))
    assert found.classes == ANIMALS


@pytest.mark.parametrize("flat", [("bird",), ("bird", "fish"), ("train",)])
def test_a_class_that_has_only_folders_is_asked_about(flat, tmp_path):
    root = put(tmp_path, "cat/tabby", "cat/black", *flat)
    with pytest.raises(DataError) as caught:
        read(root)
    assert "holds 2 sub-folders with images ('black', 'tabby')" in str(caught.value)
    assert "--layout classes" in str(caught.value)
    assert read(root, "classes").classes == tuple(sorted(("cat", *flat)))


def test_two_levels_of_classes_are_asked_about(tmp_path):
    root = put(tmp_path, "cat/tabby", "cat/black", "dog/pug", "dog/husky")
    with pytest.raises(DataError, match="sub-folders with images and no image of their own"):
        read(root)
    assert read(root, "classes").classes == ("cat", "dog")
    assert read(root, "splits").classes == ("black", "husky", "pug", "tabby")


def test_a_class_of_folders_below_a_split_is_asked_about(tmp_path):
    root = put(tmp_path, "train/cat/tabby", "train/cat/black", "train/dog", "test/cat/tabby", "test/cat/x", "test/dog")
    with pytest.raises(DataError, match="--layout splits"):
        read(root)
    assert sides(read(root, "splits")) == {TRAIN: {"cat", "dog"}, TEST: {"cat", "dog"}}


def test_one_more_folder_in_every_class_is_no_question(tmp_path):
    assert read(put(tmp_path, "n1/images", "n2/images", "n3/images")).classes == ("n1", "n2", "n3")
    found = read(put(tmp_path / "split", "train/n1/images", "train/n2/images", "val/n1/images", "val/n2/images"))
    assert found.classes == ("n1", "n2")


def test_splits_are_asked_for_where_there_are_none(tmp_path):
    with pytest.raises(DataError, match=r"--layout splits: .* has no folders that contain class folders"):
        read(put(tmp_path, "cat", "dog"), "splits")


def test_images_beside_the_folders_are_counted(tmp_path):
    put(tmp_path, "pets/*")
    (tmp_path / "cover.jpg").write_bytes(PNG)
    found = read(tmp_path)
    assert found.classes == ANIMALS
    assert found.notes == ("1 image is outside the class folders and left out, e.g. cover.jpg",)


@pytest.mark.parametrize("name", ["labels.csv", "meta/All_Data.TSV"])
def test_a_list_of_the_authors_is_pointed_out(name, tmp_path):
    put(tmp_path, "*")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("file,species\n")
    assert f"not from '{name}'" in read(tmp_path).remarks[-1]


def test_a_list_beside_images_without_classes_is_pointed_out(tmp_path):
    put(tmp_path, "train", "test")
    (tmp_path / "train.csv").write_text("id,breed\n")
    with pytest.raises(DataError, match=r"train\.csv in it may contain the labels: to read them, use .*/train\.csv"):
        read(tmp_path)


def test_images_of_other_kinds_are_named_where_there_are_no_others(tmp_path):
    for name in ("a.nef", "b.nef", "c.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"its files are: 2 \.nef, 1 \.mp4"):
        read(tmp_path)


# --- what is no data ----------------------------------------------------------------------------------------------

LEFT = [
    "__MACOSX", "@eaDir", "eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".ipynb_checkpoints",
    "__pycache__", ".Trash-1000", "#recycle", ".AppleDouble", "LOST.DIR",
]  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True])
def test_what_systems_leave_is_no_class_in_folders_and_zips_alike(zipped, tmp_path):
    root = put(tmp_path / "data", "*", *LEFT, *(f"fox/{name}" for name in LEFT))
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "ehthumbs.db"):
        (root / "fox" / name).write_bytes(b"")
    found = read(pack(root, tmp_path) if zipped else root)
    assert found.names == ["fox/0.png", "fox/1.png", "hare/0.png", "hare/1.png"]
    assert (found.notes, found.remarks) == ((), ())


def pack(root: Path, folder: Path) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root))
    return path


def add(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG if name.endswith(".png") else b"{}")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        ("out/settings.toml", "out/data.json", "out/curves.png", "out/confusion.png"),
        ("runs/2026-01-01-a/settings.toml", "runs/2026-01-01-a/model.safetensors", "runs/2026-01-01-a/confusion.png",
         "runs/2026-01-02-a/settings.toml", "runs/2026-01-02-a/history.jsonl"),
        ("fox/first run/settings.toml", "fox/first run/environment.json", "fox/first run/curves.png"),
        ("export/export.md", "export/model.onnx", "export/golden/golden.json", "export/golden/images/0.png"),
        ("report/report.html", "report/metrics.json", "report/confusion.png", "report/corruptions.png"),
        ("answers/plan.json", "answers/images.jsonl", "answers/part-00000.parquet"),
        ("look/lr-find.png",),
        ("maps/0-gradcam.png", "maps/1-gradcam++.png", "maps/2-eigencam.png"),
        ("checked/check.json", "checked/check.html"),
        ("bench/bench.json", "bench/bench.png"),
    ],
    ids=["run", "runs", "run in a class", "export", "report", "predictions", "lr-find", "cam", "check", "bench"],
)  # fmt: skip
def test_what_catseye_wrote_is_no_data_and_said(files, zipped, tmp_path):
    root = put(tmp_path / "data", "*")
    add(root, *files)
    found = read(pack(root, tmp_path) if zipped else root)
    assert found.classes == ANIMALS
    assert len(found) == 4
    skipped = [note for note in found.notes if ", skipped: " in note]
    assert len(skipped) == 1
    assert files[0].rsplit("/", 1)[0] in skipped[0]
    assert not [said for said in found.remarks if "contains no images" in said]


def test_explanations_are_no_data(tmp_path):
    from catseye.explanation.figures import write_figures

    root = put(tmp_path / "data", "*")
    matplotlib = pytest.importorskip("matplotlib.figure")
    write_figures(root / "filters", "The first filters", {"conv1": matplotlib.Figure()})
    found = read(root)
    assert found.classes == ANIMALS
    assert found.notes[0] == "1 folder in DATA that catseye wrote (figures), skipped: 'filters'"
    (root / "page").mkdir()
    add(root, "page/a.png")
    (root / "page" / "index.html").write_text("<h1>somebody's page</h1>")
    assert read(root).classes == ("fox", "hare", "page")


def test_a_report_in_a_class_folder_hides_no_image_of_the_class(tmp_path):
    root = put(tmp_path / "data", "*")
    add(root, "fox/check.json", "fox/check.html", "confusion.png", "report.html", "metrics.json")
    found = read(root)
    assert found.names == ["fox/0.png", "fox/1.png", "hare/0.png", "hare/1.png"]
    assert found.notes[0] == "1 image in DATA that catseye drew, skipped: 'confusion.png'"


def test_a_run_folder_given_as_data_says_what_it_is(tmp_path):
    add(tmp_path, "run/settings.toml", "run/data.json", "run/curves.png")
    with pytest.raises(DataError, match=r"holds no images .*that catseye wrote \(run\).*'run'"):
        read(tmp_path)


# --- names --------------------------------------------------------------------------------------------------------


def test_two_forms_of_one_name_are_one_class(tmp_path):
    one, other = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    found = read(put(tmp_path, f"train/{one}", f"train/{other}", "train/Biene", f"test/{other}", "test/Biene"))
    assert found.classes == ("Biene", one)
    assert [len(found.labels[found.splits == side]) for side in (TRAIN, TEST)] == [6, 4]
    assert "one class" in found.remarks[0]
    for index in range(len(found)):
        assert found.read(index) == PNG, "files are read under the names that they have"


def test_case_that_differs_from_split_to_split_is_one_class(tmp_path):
    found = read(put(tmp_path, "train/Fox", "train/hare", "test/fox", "test/HARE"))
    assert found.classes == ("Fox", "hare")
    assert sides(found)[TEST] == {"Fox", "hare"}
    assert len(found.remarks) == 2


def test_case_that_differs_side_by_side_stays_two_classes(tmp_path):
    assert read(put(tmp_path, "Fox", "fox", "hare")).classes == ("Fox", "fox", "hare")


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xd6ko", b"train/\xff\xfe"])
def test_a_class_folder_that_is_not_utf_8_is_refused_by_its_name(name, tmp_path):
    odd = name.decode("utf-8", "surrogateescape")
    root = put(tmp_path, odd, *((f"{odd.split('/')[0]}/fox", "test/fox") if "/" in odd else ("fox",)))
    with pytest.raises(DataError) as caught:
        read(root)
    assert "\\x" in str(caught.value)
    assert "not UTF-8" in str(caught.value)
    assert str(caught.value).encode("utf-8"), "it can be printed"


def test_a_place_that_is_not_utf_8_is_refused_and_a_link_to_it_is_read(tmp_path):
    odd = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    put(odd, "*")
    with pytest.raises(DataError, match=r"caf\\xe9 is not UTF-8"):
        read(odd)
    (tmp_path / "plain").symlink_to(odd)
    assert read(tmp_path / "plain").source == str(tmp_path / "plain")


def test_a_file_that_is_not_utf_8_is_read(tmp_path):
    root = put(tmp_path, "*")
    (root / "fox" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(PNG)
    found = read(root)
    assert len(found) == 5
    assert all(found.read(index) == PNG and found.read.size_bytes(index) == len(PNG) for index in range(5))
    assert json.dumps(check(root).to_json())


@pytest.mark.parametrize("name", ["pets [v2]", "a [/z", "{0}", "50%", "tab\there", "a'b", "[bold]x[/bold]"])
def test_signs_in_names_mean_nothing(name, tmp_path):
    found = read(put(tmp_path / name, f"{name} x/*"))
    assert found.classes == ANIMALS
    label = name.replace("/", "")
    assert read(put(tmp_path / "classes" / name, label, "other")).classes == tuple(sorted((label, "other")))


# --- a model's classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "found"), [(ANIMALS, ANIMALS), (("north", "south"), ("north", "south"))])
def test_the_classes_of_a_model_answer_the_question(classes, found, tmp_path, make_spec):
    import torch

    from catseye.data.prepare_evaluation import prepare_evaluation

    root = put(tmp_path, "north/*", "south/*")
    images, _, _ = prepare_evaluation(root, make_spec(), classes, device=torch.device("cpu"))
    assert images.classes == found
    with pytest.raises(DataError, match="--layout"):
        prepare_evaluation(root, make_spec(), ("a", "b"), device=torch.device("cpu"))


# --- the tree -----------------------------------------------------------------------------------------------------


def test_the_tree_counts_images_in_and_below_each_folder():
    root = grow_tree({"a/b": 2, "a": 1, "": 4, "c/d/e": 3}, ["f", "a/b", "c"])
    assert (root.total, root.direct) == (10, 4)
    assert [(child.name, child.total, child.direct) for child in root.full] == [("a", 3, 1), ("c", 3, 0)]
    assert [child.path for child in root.empty] == ["f"]
    assert root.full[1].core.path == "c/d"
    assert {folder.path for folder in root.walk()} == {"", "a", "a/b", "c", "c/d", "c/d/e", "f"}


def test_check_and_open_say_the_same(tmp_path):
    root = put(tmp_path, "Dataset/*", "Examples")
    titles = {one.severity: one.title for one in check(root).findings if one.rule in ("left-out", "reading")}
    assert titles == {"warning": read(root).notes[0]}
    (root / "Dataset" / "empty").mkdir()
    said = [one for one in check(root).findings if one.rule == "reading"]
    assert [one.severity for one in said] == ["note"]


@pytest.mark.parametrize("names", [
    ("HAM_images_part_1", "HAM_images_part_2"), ("images_001/images", "images_002/images"), ("fold1", "fold2", "fold3"),
    ("batch 1", "batch 2", "masks"),
])  # fmt: skip
def test_numbered_parts_are_no_classes_without_a_question(names, tmp_path):
    root = put(tmp_path, *names)
    with pytest.raises(DataError, match=r"are parts of one set and not classes.*--layout classes"):
        read(root)
    assert len(read(root, "classes").classes) == len(names)


@pytest.mark.parametrize("names", [("1", "2"), ("class 1", "class 2"), ("type_1", "type_2"), ("part_1", "whole")])
def test_numbered_classes_are_classes(names, tmp_path):
    assert read(put(tmp_path, *names)).classes == names


@pytest.mark.parametrize("beside", ["masks", "annotations/trimaps", "ground_truth", "Labels"])
def test_images_beside_their_masks_are_no_classes_without_a_question(beside, tmp_path):
    root = put(tmp_path, "images", beside)
    with pytest.raises(DataError, match=r"describes the images in 'images'.*--layout classes"):
        read(root)
    assert len(read(root, "classes").classes) == 2


@pytest.mark.parametrize("split", ["", "train/", "Dataset/"])
def test_masks_inside_class_folders_are_left_out(split, tmp_path):
    """COVID/images beside COVID/masks: every mask would be an image of the class."""
    root = put(tmp_path, *(f"{split}{name}/{kind}" for name in ANIMALS for kind in ("images", "masks", "masks/more")))
    found = read(root)
    assert found.classes == ANIMALS
    assert all("/images/" in name for name in found.names)
    assert "are left out as masks" in found.notes[0]
    assert "8 images" in found.notes[0]


def test_masks_inside_class_folders_without_images_beside_them_are_images(tmp_path):
    assert len(read(put(tmp_path, "fox/masks", "fox/full", "hare/masks", "hare"), "classes")) == 8


def test_masks_beside_another_class_are_a_class(tmp_path):
    """Of carnivals, for example."""
    assert read(put(tmp_path, "costumes", "masks")).classes == ("costumes", "masks")


def test_a_set_with_splits_is_found_beside_a_test_without_labels(tmp_path):
    found = read(put(tmp_path, "Plant Diseases/train/*", "Plant Diseases/valid/*", "test/test"))
    assert sides(found) == {TRAIN: set(ANIMALS), VAL: set(ANIMALS)}
    assert "test/ (2 images) beside it is left out" in found.notes[0]


def test_of_folders_with_the_same_classes_one_may_be_chosen(tmp_path):
    root = put(tmp_path, "color/*", "gray/*")
    with pytest.raises(DataError, match=f"To read one of them only, use {root}/color as DATA"):
        read(root)
