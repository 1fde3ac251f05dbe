"""Lists of images as people and programs write them."""

import json
import shutil
from pathlib import Path

import pytest

from catseye.data.check.check import check
from catseye.data.groups import related_groups
from catseye.data.prepare import prepare
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL, ImageSet, open_source
from catseye.data.sources.folders import lists_beside
from catseye.data.sources.lists.labels import note_on_numbers, note_on_several_labels
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.errors import DataError, ImageError, UsageError
from catseye.settings.schema import DataSettings
from tests.conftest import encode, random_pixels

NUM = 12
LABELS = ["oak" if number % 3 else "elm" for number in range(NUM)]


@pytest.fixture
def root(tmp_path):
    """leaves/00.png … 11.png, each another image."""
    (tmp_path / "leaves").mkdir()
    for number in range(NUM):
        (tmp_path / "leaves" / f"{number:02d}.png").write_bytes(encode(random_pixels(number)))
    return tmp_path


def listed(root: Path, lines: list[str], name: str = "list.csv", encoding: str = "utf-8", **settings: str) -> ImageSet:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return open_source(path, settings=DataSettings(**settings))


def rows(line: str) -> list[str]:
    """The line once for each image; `{n}` is its number in two digits, `{label}` its label."""
    return [line.format(n=f"{number:02d}", number=number, label=LABELS[number]) for number in range(NUM)]


def assert_all(found: ImageSet, root: Path) -> None:
    assert [found.classes[label] for label in found.labels] == LABELS
    for number in range(NUM):
        assert found.read(number) == (root / "leaves" / f"{number:02d}.png").read_bytes()
        assert found.read.size_bytes(number) == (root / "leaves" / f"{number:02d}.png").stat().st_size


@pytest.mark.parametrize(("header", "line"), [
    ("filename,label", "leaves/{n}.png,{label}"),
    ("species,image_path", "{label},leaves/{n}.png"),
    ("Class Name,File Name", "{label},leaves/{n}.png"),
    (",file,category", "{number},leaves/{n}.png,{label}"),  # as pandas writes its index
    ("id,height,photo,diagnosis", "{number},3.5,leaves/{n}.png,{label}"),
    ("path;label", "leaves/{n}.png;{label}"),
    ("path\tlabel", "leaves/{n}.png\t{label}"),
    ("path|label", "leaves/{n}.png|{label}"),
    ('"path","label"', '"leaves/{n}.png","{label}"'),
    ("path, label", 'leaves/{n}.png, "{label}"'),
    ("sep=;\npath;label", "leaves/{n}.png;{label}"),
    ("path,label,,", "leaves/{n}.png,{label},,"),  # as spreadsheets leave them
    ("path,label\n", "\nleaves/{n}.png,{label}"),
    ("path,label", "leaves\\{n}.png,{label}"),
    ("path,label", "leaves\\\\{n}.png,{label}"),
    ("path,label", ".\\leaves\\{n}.png,{label}"),
    ("path,label", "C:\\Users\\me\\data\\leaves\\{n}.png,{label}"),
    ("path,label", "/home/somebody/work/leaves/{n}.png,{label}"),
    ("path,label", "data/leaves/{n}.png,{label}"),
    ("image_id,label", "leaves/{n},{label}"),
    ("image_id,label", "{n},{label}"),
    ("img,y", "{n}.PNG,{label}"),
    ("id,breed", "{n},{label}"),
    ("first,second", "leaves/{n}.png,{label}"),
    ("image,size,weight,plant class", "{n},3,7,{label}"),
])  # fmt: skip
def test_lists_as_people_have_them(header, line, root):
    assert_all(listed(root, [header, *rows(line)]), root)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_other_systems(encoding, root):
    assert_all(listed(root, ["path,label", *rows("leaves/{n}.png,{label}")], encoding=encoding), root)


def test_absolute_paths(root):
    assert_all(listed(root, ["path,label", *rows(f"{root}/leaves/{{n}}.png,{{label}}")], name="lists/a.csv"), root)


def test_a_list_beside_the_folder_of_images(root):
    found = listed(root, ["file,label", *rows("{n}.png,{label}")], name="labels/train.csv")
    assert_all(found, root)
    assert "the files of the list are in ../leaves/" in found.remarks


def test_a_list_without_a_first_line(root):
    found = listed(root, rows("leaves/{n}.png,{label}"))
    assert_all(found, root)
    assert "names no columns" in found.remarks[0]


def test_a_list_with_tabs_may_be_called_tsv(root):
    assert_all(listed(root, ["path\tlabel", *rows("leaves/{n}.png\t{label}")], name="list.tsv"), root)


def test_masks_with_the_same_names_are_not_taken_for_the_images(root):
    shutil.copytree(root / "leaves", root / "a masks")
    for file in (root / "a masks").iterdir():
        file.write_bytes(b"mask")
    assert_all(listed(root, ["id,label", *rows("{n},{label}")]), root)


def test_files_in_two_folders_are_all_found(root):
    (root / "more").mkdir()
    for number in range(6):
        (root / "leaves" / f"{number:02d}.png").rename(root / "more" / f"{number:02d}.png")
    found = listed(root, ["id,label", *rows("{n},{label}")])
    assert found.names == [f"{'more' if number < 6 else 'leaves'}/{number:02d}.png" for number in range(NUM)]


def test_a_file_that_is_not_there_is_an_error_of_its_own(root):
    (root / "leaves" / "03.png").unlink()
    (root / "other").mkdir()
    (root / "other" / "03.png").write_bytes(b"another image that has the same name")
    found = listed(root, ["path,label", *rows("leaves/{n}.png,{label}")])
    with pytest.raises(ImageError, match=r"leaves/03\.png"):
        found.read(3)
    assert found.read(4)


# --- columns ------------------------------------------------------------------------------------------------------


def test_what_was_guessed_and_what_is_not_used_is_said(root):
    found = listed(root, ["photo,species,height", *rows("leaves/{n}.png,{label},3")])
    assert found.remarks == ("columns: image 'photo', label 'species'; not used: 'height'",)
    assert listed(root, ["path,label", *rows("leaves/{n}.png,{label}")]).remarks == ()


def test_an_unclear_label_is_asked_about_and_the_option_answers(root):
    lines = ["file,genus,colour", *rows("leaves/{n}.png,{label},green")]
    with pytest.raises(DataError, match="which column is the label\\? 'genus', 'colour'; use --label-column NAME"):
        listed(root, lines)
    assert_all(listed(root, lines, label_column="genus"), root)
    assert_all(listed(root, lines, label_column="Genus"), root)
    assert_all(listed(root, lines, label_column="2"), root)


def test_every_column_can_be_chosen(root):
    header = "path,label,where,split,patient,thing"
    lines = [header, *rows("nothing.png,wrong,leaves/{n}.png,odd,7,{label}")]
    chosen = {"image_column": "where", "label_column": "thing", "split_column": "none", "group_column": "none"}
    found = listed(root, lines, **chosen)
    assert_all(found, root)
    assert found.groups is None
    assert set(found.splits.tolist()) == {NOT_SPLIT}


@pytest.mark.parametrize("key", ["image_column", "label_column", "split_column", "group_column"])
def test_a_column_that_is_not_there_lists_those_that_are(key, root):
    with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} is one of the columns .*'path', 'label'; got 'x'"):
        listed(root, ["path,label", *rows("leaves/{n}.png,{label}")], **{key: "x"})


@pytest.mark.parametrize(("name", "values"), [
    ("split", ("Train", "valid", "hold out")),
    ("Set", ("training_set", "validation_set", "test_set")),
    ("phase", ("TRAIN", "DEV", "TEST")),
    ("Usage", ("Training", "dev", "PrivateTest")),
])  # fmt: skip
def test_columns_of_splits(name, values, root):
    lines = [f"path,label,{name}"]
    lines += [f"leaves/{number:02d}.png,{LABELS[number]},{values[number % 3]}" for number in range(NUM)]
    found = listed(root, lines)
    assert found.splits.tolist() == [TRAIN, VAL, TEST] * 4


def test_a_column_that_is_called_like_a_split_and_holds_something_else_is_none(root):
    found = listed(root, ["path,label,set", *rows("leaves/{n}.png,{label},garden")])
    assert set(found.splits.tolist()) == {NOT_SPLIT}
    assert "not used: 'set'" in found.remarks[0]


def test_a_list_of_training_images_is_the_whole_set(root):
    found = listed(root, ["path,label,split", *rows("leaves/{n}.png,{label},train")])
    assert set(found.splits.tolist()) == {NOT_SPLIT}
    assert "every image of the list is in train" in found.remarks[0]


# --- groups -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["group", "Patient", "patient_id", "PlantID", "video", "subject", "lesion_id", "session no", "subjectId"]
)
def test_a_column_of_groups_is_used_and_said(name, root):
    lines = [f"path,label,{name}", *(f"leaves/{n:02d}.png,{LABELS[n]},p{n // 4}" for n in range(NUM))]
    found = listed(root, lines)
    assert found.groups.tolist() == [0] * 4 + [4] * 4 + [8] * 4
    assert found.group_name == name
    assert found.remarks[-1].startswith(f"column '{name}' names 3 groups: the images of a group stay in one split")
    assert "--group-column none" in found.remarks[-1]
    assert listed(root, lines, group_column="none").groups is None


def test_groups_stay_on_one_side_of_the_split(root):
    import torch

    path = root / "list.csv"
    lines = [f"leaves/{n:02d}.png,{LABELS[n]},p{n // 2}" for n in range(NUM)]
    path.write_text("\n".join(["path,label,patient", *lines]))
    for seed in range(5):
        settings = DataSettings(val_fraction=0.3, test_fraction=0.3)
        done = prepare(open_source(path), settings, batch_size=4, seed=seed, device=torch.device("cpu"))
        assert set(done.splits.tolist()) == {TRAIN, VAL, TEST}
        assert (done.splits[::2] == done.splits[1::2]).all()
        assert any("column 'patient' names 6 groups" in note for note in done.verdict.lines())


def test_groups_that_a_given_split_tears_apart_are_an_error_of_the_check(root):
    lines = ["path,label,split,patient"]
    lines += [f"leaves/{n:02d}.png,{LABELS[n]},{('train', 'test')[n % 2]},p{n // 2}" for n in range(NUM)]
    listed(root, lines)
    torn = [one for one in check(root / "list.csv").findings if one.rule == "group-leak-test-train"]
    assert [(one.severity, one.count) for one in torn] == [("error", 6)]


def test_groups_of_the_list_and_of_names_are_joined(root):
    lines = ["path,label,patient", *(f"leaves/{n:02d}.png,{LABELS[n]},{n // 4 if n < 8 else ''}" for n in range(NUM))]
    found = listed(root, lines)
    assert related_groups(found, "").tolist() == [0] * 4 + [4] * 4 + [8, 9, 10, 11]
    assert related_groups(found, r"^(0[34])").tolist() == [0] * 4 + [4] * 4 + [8, 9, 10, 11]
    assert related_groups(found, r"^(?:03|04|11)()").tolist() == [0] * 8 + [8, 9, 10, 0]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["same"] * NUM, "has only one value"),
        ([f"p{n}" for n in range(NUM)], "has a different value in every row"),
        (LABELS, "has one value per class"),
    ],
)
def test_groups_that_group_nothing_are_not_used_and_said(cells, said, root):
    lines = ["path,label,patient", *(f"leaves/{n:02d}.png,{LABELS[n]},{cells[n]}" for n in range(NUM))]
    found = listed(root, lines)
    assert found.groups is None
    assert any(said in each for each in (*found.notes, *found.remarks))


def test_a_group_is_the_label_where_there_is_no_other(root):
    assert_all(listed(root, ["file,plant", *rows("leaves/{n}.png,{label}")]), root)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "N/A", "#N/A", "<NA>", "null"])
def test_rows_without_a_label_are_left_out_and_listed(cell, root):
    lines = ["path,label", *rows("leaves/{n}.png,{label}")]
    lines[3], lines[7] = f"leaves/02.png,{cell}", f"leaves/06.png,{cell}"
    found = listed(root, lines)
    assert found.classes == ("elm", "oak")
    assert len(found) == NUM - 2
    assert found.notes == ("2 rows have no label (empty or nan) and are left out: lines 4, 8",)


def test_two_forms_of_one_label_are_one_class(root):
    labels = ("h\u00eatre", "he\u0302tre", "elm")
    lines = ["path,label", *(f"leaves/{n:02d}.png,{labels[n % 3]}" for n in range(NUM))]
    assert listed(root, lines).classes == ("elm", "h\u00eatre")


def test_none_may_be_a_class(root):
    lines = ["path,label", *(f"leaves/{n:02d}.png,{('none', 'crack')[n % 2]}" for n in range(NUM))]
    assert listed(root, lines).classes == ("crack", "none")


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1", "")])
def test_a_column_for_each_class(yes, no, root):
    lines = ["image_id,elm,oak"]
    lines += [f"{n:02d},{yes if LABELS[n] == 'elm' else no},{yes if LABELS[n] == 'oak' else no}" for n in range(NUM)]
    assert_all(listed(root, lines), root)
    lines[4] = f"03,{no},{no}"
    assert listed(root, lines).notes == ("1 row has no label (empty or nan) and is left out: line 5",)
    lines[6] = f"05,{yes},{yes}"
    with pytest.raises(DataError, match=r"1 row with a 1 in more than one .*\(line 7\).*not supported yet"):
        listed(root, lines)


@pytest.mark.parametrize("labels", [
    ("red", "green", "red|green"),
    ("a;b", "b;c", "a;c"),
    ("red", "green", "blue", "red, green", "green, blue"),
    ("scab", "rust", "scab rust"),
    ("['a', 'b']", "['a']", "['b']"),
    ("cat", "dog", "cat+dog"),
])  # fmt: skip
def test_several_labels_in_a_cell_are_said(labels, root):
    lines = ["path,label", *(f'leaves/{n:02d}.png,"{labels[n % len(labels)]}"' for n in range(NUM))]
    (note,) = listed(root, lines).notes
    assert "multi-label" in note
    assert "not supported yet" in note
    assert [one.severity for one in check(root / "list.csv").findings if "multi-label" in one.title] == ["warning"]


def test_one_image_in_rows_of_different_labels_is_said(root):
    found = listed(root, ["path,label", *rows("leaves/{n}.png,{label}"), "leaves/00.png,oak", "leaves/01.png,oak"])
    assert found.notes[0].startswith("1 image is in several rows with different labels, e.g. 'leaves/00.png'")


def test_boxes_are_said_to_be_no_classes(root):
    found = listed(root, ["filename,class,xmin,ymin,xmax,ymax", *rows("leaves/{n}.png,{label},1,2,3,4")])
    assert_all(found, root)
    assert "object detection is not supported" in found.notes[0]


@pytest.mark.parametrize("name", ["list.xlsx", "list.json"])
def test_other_tables_are_named(name, root):
    with pytest.raises(DataError, match=r"save it as a \.csv"):
        listed(root, ["path,label"], name=name)


@pytest.mark.parametrize("labels", [
    ("apple scab", "apple rust", "pear scab", "pear rust"),
    ("New York", "New Delhi"),
    ("cat, domestic", "dog, domestic", "dog"),
    ("T-shirt/top", "Trouser"),
    ("salt & pepper", "salt"),
])  # fmt: skip
def test_names_of_classes_with_such_signs_are_no_lists(labels):
    assert note_on_several_labels(labels * 4) == ""


@pytest.mark.parametrize(
    "labels", [["0.5", "1.25", "-3.75"], ["1,5", "2,25", "3,1"], [f"{n / 7:.3f}" for n in range(60)]]
)
def test_measurements_are_said_to_look_like_regression(labels):
    assert "regression" in note_on_numbers(labels)


@pytest.mark.parametrize(
    "labels", [["1", "2", "3"], ["1.0", "2.0"], ["v1.5", "v2.5"], ["0.5", "1.5"] * 30, ["oak", "1.5"]]
)
def test_numbers_that_are_classes_are_not(labels):
    assert note_on_numbers(labels) == ""


# --- finding files ------------------------------------------------------------------------------------------------


def test_case_and_unicode_form_of_other_systems(tmp_path):
    (tmp_path / "Bilder").mkdir()
    (tmp_path / "Bilder" / "Ka\u0308fer.JPG").write_bytes(b"1")
    files = ListedFiles(tmp_path)
    assert files.learn(["Bilder/k\u00e4fer.jpg"]) == 1
    assert files.name("Bilder/k\u00e4fer.jpg") == "Bilder/Ka\u0308fer.JPG"
    assert files.name("Bilder/other.jpg") == "Bilder/other.jpg"


def test_a_name_with_a_backslash_in_it_is_that_file(tmp_path):
    (tmp_path / "a\\b.png").write_bytes(b"1")
    files = ListedFiles(tmp_path)
    files.learn(["a\\b.png"])
    assert files.name("a\\b.png") == "a\\b.png"


def test_nothing_is_looked_for_far_from_the_list(tmp_path):
    (tmp_path / "list" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "list" / "a" / "b" / "c" / "x.png").write_bytes(b"1")
    files = ListedFiles(tmp_path / "list")
    assert files.learn(["x.png"]) == 0
    assert files.learn(["c/x.png"]) == 1


def test_a_long_list_is_read_in_little_time(tmp_path):
    import time

    (tmp_path / "img").mkdir()
    for number in range(2_000):
        (tmp_path / "img" / f"{number}.png").write_bytes(b"")
    lines = ["id,label", *(f"{number % 2000},c{number % 9}" for number in range(40_000))]
    begun = time.process_time()
    found = listed(tmp_path, lines)
    assert time.process_time() - begun < 3  # a fifth of it on an idle machine
    assert len(found) == 40_000
    assert found.names[1_999] == "img/1999.png"


# JSON Lines


def json_rows(**more):
    return [
        json.dumps({"file_name": f"leaves/{number:02d}.png", "label": LABELS[number], **more}) for number in range(NUM)
    ]


def test_json_lines_as_an_image_folder_of_hugging_face_has_them(root):
    found = listed(root, json_rows(), "metadata.jsonl")
    assert_all(found, root)
    assert "columns: image 'file_name', label 'label'" in found.remarks


def test_json_lines_with_splits_gaps_other_keys_and_a_byte_order_mark(root):
    lines = [json.loads(line) for line in json_rows(boxes=[1, 2], note=None)]
    for number, line in enumerate(lines):
        line["split"] = ["train", "val", "test"][number % 3]
    lines[4]["label"] = None
    del lines[5]["note"]
    found = listed(root, [json.dumps(line) + "\n" for line in lines], "list.jsonl", "utf-8-sig")
    assert len(found) == NUM - 1
    assert [found.splits[number] for number in (0, 1, 2)] == [TRAIN, VAL, TEST]
    assert any("1 row has no label" in note for note in found.notes)


def test_numbers_are_labels_of_json_lines_too(root):
    lines = [json.dumps({"image": f"leaves/{number:02d}.png", "y": number % 2}) for number in range(NUM)]
    assert listed(root, lines, "list.jsonl", label_column="y").classes == ("0", "1")


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "cannot be read as JSON Lines"), ("[1]", "line 13 should be a JSON object"), ("[" * 100_000, "JSON Lines")],
    ids=["cut off", "list", "deep"],
)
def test_json_lines_that_are_none(root, line, said):
    with pytest.raises(DataError, match=said):
        listed(root, [*json_rows(), line], "list.jsonl")


def test_empty_json_lines_name_an_example(root):
    with pytest.raises(DataError, match="each line is an object such as"):
        listed(root, [""], "list.jsonl")


@pytest.mark.parametrize(("line", "encoding"), [
    ("leaves/{n}.png {label}", "utf-8"),
    ("leaves/{n}.png   {label}  ", "utf-8-sig"),
    ("leaves/{n}.png\t{label}", "utf-8"),
    ("leaves/{n}.png,{label}", "utf-8"),
    ('"leaves/{n}.png" {label}', "utf-16"),
])  # fmt: skip
def test_a_text_file_of_paths_and_labels(line, encoding, root):
    assert_all(listed(root, rows(line), name="train.txt", encoding=encoding), root)


def test_spaces_in_paths_and_labels_of_a_text_file(root):
    (root / "my leaves").mkdir()
    for number in range(NUM):
        (root / "leaves" / f"{number:02d}.png").rename(root / "my leaves" / f"leaf {number}.PNG")
    found = listed(root, rows("my leaves/leaf {number}.PNG {label} tree"), name="train.txt")
    assert found.classes == ("elm tree", "oak tree")
    assert len(found.labels) == NUM


def test_a_line_of_a_text_file_without_a_label_is_named(root):
    with pytest.raises(DataError, match=r"train\.txt line 2: .* got 'leaves/01\.png'"):
        listed(root, ["leaves/00.png oak", "leaves/01.png"], name="train.txt")


def test_of_many_texts_beside_images_only_a_few_are_opened(root, monkeypatch):
    for label in ("elm", "oak"):
        (root / label).mkdir()
        (root / "leaves" / ("00.png" if label == "elm" else "01.png")).rename(root / label / "1.png")
        for number in range(25):
            (root / label / f"{number}.txt").write_text("a caption")
    opened = []
    monkeypatch.setattr(lists_beside, "lists_images", lambda head: opened.append(head))
    assert open_source(root).classes == ("elm", "leaves", "oak")
    assert len(opened) == lists_beside.MOST_TEXTS


def test_other_text_files_beside_images_are_no_lists(root):
    (root / "classes.txt").write_text("elm\noak\n")
    assert open_source(root).classes == ("leaves",)


@pytest.mark.parametrize("name", ["labels.csv", "metadata.jsonl"])
def test_one_folder_of_images_beside_a_list_names_the_list(root, name):
    """The folder is not the only class: the labels are in the list."""
    (root / name).write_text("file_name,label\n")
    with pytest.raises(
        DataError, match=rf"one folder with images, 'leaves'; {name} in it .* use {root}/{name} as DATA"
    ):
        open_source(root)


def test_of_several_lists_the_one_of_the_training_images_is_named(root):
    for name in ("sample_submission.csv", "test.csv", "train_labels.csv", "sizes.csv"):
        (root / name).write_text("id,label\n")
    with pytest.raises(DataError, match=r"train_labels\.csv in it may contain the labels"):
        open_source(root)


def test_one_folder_of_images_beside_a_text_list_names_the_list(root):
    (root / "train.txt").write_text("leaves/00.png 0\n")
    with pytest.raises(DataError, match=r"train\.txt in it may contain the labels"):
        open_source(root)


def split_sets(root, *folders, listed="metadata.csv", header="file_name,note,label", line="{n}.png,seen,{label}"):
    """Images 0.png … in each folder, and a list beside them, as Hugging Face's image folders have it."""
    for side, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for number in range(6):
            (root / folder / f"{number}.png").write_bytes(encode(random_pixels(10 * side + number)))
        lines = [line.format(n=number, label=("elm", "oak")[number % 2]) for number in range(6)]
        (root / folder / listed).write_text("\n".join([header, *lines] if header else lines) + "\n")
    return root


def sides_of(found):
    return {name: int(side) for name, side in zip(found.names, found.splits, strict=True)}


@pytest.mark.parametrize("above", ["", "data/"])
def test_a_list_in_each_split_folder_is_read(above, tmp_path):
    root = split_sets(tmp_path, *(f"{above}{name}" for name in ("train", "validation", "test")))
    found = open_source(root)
    assert found.classes == ("elm", "oak")
    assert sides_of(found) == {
        f"{above}{name}/{n}.png": side
        for name, side in (("train", TRAIN), ("validation", VAL), ("test", TEST))
        for n in range(6)
    }
    assert [found.classes[label] for label in found.labels[:3]] == ["elm", "oak", "elm"]
    assert found.read(0) == (root / found.names[0]).read_bytes()
    assert found.remarks[0].startswith(f"labels and splits are read from '{above}train/metadata.csv'")


def test_the_columns_of_such_lists_may_be_in_another_order_or_missing(tmp_path):
    root = split_sets(tmp_path, "train", "valid", "test")
    (root / "valid" / "metadata.csv").write_text("label,file_name\noak,3.png\nelm,4.png\n")
    (root / "test" / "metadata.csv").write_text("file_name\n0.png\n1.png\n")
    found = open_source(root)
    assert {
        name: found.classes[label] for name, label in zip(found.names, found.labels, strict=True) if "valid" in name
    } == {
        "valid/3.png": "oak",
        "valid/4.png": "elm",
    }
    assert set(found.splits.tolist()) == {TRAIN, VAL}
    assert "2 rows have no label" in found.notes[0]


def test_a_column_per_class_in_each_split_folder_is_read(tmp_path):
    """As exports of Roboflow."""
    root = split_sets(
        tmp_path, "train", "test", listed="_classes.csv", header="filename, elm, oak", line="{n}.png, 0, 1"
    )
    (root / "train" / "_classes.csv").write_text("filename, elm, oak\n0.png, 1, 0\n1.png, 0, 1\n2.png, 1, 0\n")
    found = open_source(root)
    assert found.classes == ("elm", "oak")
    assert list(sides_of(found).values()).count(TEST) == 6


def test_a_row_without_an_image_in_such_a_list_is_named(tmp_path):
    root = split_sets(tmp_path, "train", "test")
    (root / "test" / "metadata.csv").write_text("note,label,file_name\nseen,elm,0.png\nseen,oak\n")
    with pytest.raises(DataError, match=r"line 3: the name of the image must not be empty"):
        open_source(root)


@pytest.mark.parametrize("chosen", ["copy_of", "Copy Of", "2"])
def test_the_column_of_images_in_such_lists_may_be_chosen(chosen, tmp_path):
    root = split_sets(tmp_path, "train", "test", header="file_name,copy_of,label", line="{n}.png,0.png,{label}")
    found = open_source(root, settings=DataSettings(image_column=chosen))
    assert set(found.names) == {"train/0.png", "test/0.png"}


def test_a_split_folder_without_a_list_is_named(tmp_path):
    root = split_sets(tmp_path, "train", "test")
    (root / "test" / "metadata.csv").unlink()
    found = open_source(root)
    assert set(found.splits.tolist()) == {NOT_SPLIT}
    assert "test/ has no list of labels and is left out" in found.remarks


def test_a_list_in_a_split_folder_needs_names_of_columns(tmp_path):
    with pytest.raises(DataError, match=r"train/metadata\.csv: the first line must name the columns"):
        open_source(split_sets(tmp_path, "train", "test", header=""))


def test_class_folders_below_splits_count_more_than_lists_beside_them(tmp_path):
    for side in ("train", "test"):
        for name in ("elm", "oak"):
            place = tmp_path / side / name / f"{side}.png"
            place.parent.mkdir(parents=True)
            place.write_bytes(encode(random_pixels(0)))
        (tmp_path / side / "metadata.csv").write_text("file_name,label\nelm/1.png,elm\n")
    assert sides_of(open_source(tmp_path))["test/oak/test.png"] == TEST


def sorted_by(root, names, label_of, *, listed="labels.csv", column="diagnosis"):
    """24 images in folders of these names, and a list that gives each another kind of label."""
    rows = [f"file,{column}"]
    for number in range(24):
        place = root / names[number % len(names)] / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(random_pixels(number)))
        rows.append(f"{place.relative_to(root).as_posix()},{label_of(number)}")
    (root / listed).write_text("\n".join(rows) + "\n")
    return root


def every_third(number):
    return "sick" if number % 3 else "well"


def test_folders_that_a_list_contradicts_are_asked_about(tmp_path):
    """Images in a folder per hospital, diagnoses in a list."""
    root = sorted_by(tmp_path, ("north", "south"), every_third)
    with pytest.raises(DataError) as caught:
        open_source(root)
    for each in ("north/00.png", "'north'", "'diagnosis' is 'well'", f"use {root}/labels.csv as DATA"):
        assert each in str(caught.value)
    assert "--layout classes" in str(caught.value)
    assert open_source(root, settings=DataSettings(layout="classes")).classes == ("north", "south")
    assert open_source(root / "labels.csv").classes == ("sick", "well")


@pytest.mark.parametrize("listed", ["metadata.csv", "annotations/labels.csv"])
def test_such_a_list_may_have_any_usual_name_and_place(listed, tmp_path):
    (tmp_path / "annotations").mkdir()
    with pytest.raises(DataError, match=f"use {tmp_path}/{listed} as DATA"):
        open_source(sorted_by(tmp_path, ("north", "south"), every_third, listed=listed, column="class"))


def test_such_a_list_may_be_a_text_without_names_of_columns(tmp_path):
    root = sorted_by(tmp_path, ("north", "south"), every_third)
    rows = (root / "labels.csv").read_text().splitlines()[1:]
    (root / "labels.csv").unlink()
    (root / "labels.txt").write_text("\n".join(row.replace(",", " ") for row in rows) + "\n")
    with pytest.raises(DataError, match=r"the folders and labels\.txt label the images differently"):
        open_source(root)


def test_below_splits_the_question_offers_the_splits(tmp_path):
    folders = [f"{side}/{name}" for side in ("train", "test") for name in ("north", "south")]
    root = sorted_by(tmp_path, folders, every_third)
    with pytest.raises(DataError, match=r"label the images differently.*use --layout splits"):
        open_source(root)
    assert open_source(root, settings=DataSettings(layout="splits")).classes == ("north", "south")


@pytest.mark.parametrize(
    ("label_of", "listed", "column"),
    [
        (lambda number: number % 2, "labels.csv", "label"),  # the classes of the folders under other names
        (lambda number: number % 4, "labels.csv", "label"),  # finer ones
        (lambda number: "plant", "labels.csv", "label"),  # coarser ones
        (every_third, "labels.csv", "weather"),  # no usual name for a label
        (every_third, "predictions.csv", "label"),
        (every_third, "sampleSubmission.csv", "label"),
        (lambda number: f"{every_third(number)},0.9", "answers.csv", "class,probability"),
        (lambda number: "" if number > 4 else every_third(number), "labels.csv", "label"),  # too few to say
    ],
)
def test_a_list_that_does_not_contradict_the_folders_is_left_alone(label_of, listed, column, tmp_path):
    images = open_source(sorted_by(tmp_path, ("elm", "oak"), label_of, listed=listed, column=column))
    assert images.classes == ("elm", "oak")
    assert f"not from '{listed}'" in images.remarks[-1]


def test_a_long_list_is_compared_by_its_beginning(tmp_path, monkeypatch):
    """The last line that was read is cut off, and is not used."""
    root = sorted_by(tmp_path, ("north", "south"), every_third)
    text = (root / "labels.csv").read_bytes()
    monkeypatch.setattr(lists_beside, "COMPARED_BYTES", len(text) // 2)
    with pytest.raises(DataError, match="label the images differently"):
        open_source(root)


def test_a_damaged_list_beside_class_folders_is_left_alone(tmp_path):
    root = sorted_by(tmp_path, ("elm", "oak"), every_third)
    (root / "labels.csv").write_bytes(b'file,label\n"elm/00.png,well\n')
    assert open_source(root).classes == ("elm", "oak")


def test_a_text_list_without_suffixes_may_have_columns_of_numbers_and_comments(root):
    """As the lists of the Oxford pets."""
    rows = [
        "#Image CLASS-ID SPECIES BREED ID",
        "#ID: 1:2 classes",
        *(f"{n:02} {n % 2 + 1} 1 {n % 3 + 1}" for n in range(NUM)),
    ]
    with pytest.raises(DataError, match="which column is the label"):
        listed(root, rows, name="list.txt")
    found = listed(root, rows, name="list.txt", label_column="column 2")
    assert found.classes == ("1", "2")
    assert list(found.names) == [f"leaves/{n:02}.png" for n in range(NUM)]


def test_a_path_in_a_text_list_may_contain_a_comma(tmp_path):
    for number in range(3):
        (tmp_path / f"oak, old {number}.png").write_bytes(encode(random_pixels(number)))
    found = listed(tmp_path, [f"oak, old {n}.png {('young', 'old')[n % 2]}" for n in range(3)], name="train.txt")
    assert (found.classes, list(found.names)) == (("old", "young"), [f"oak, old {n}.png" for n in range(3)])


def test_a_first_row_with_a_number_as_its_label_is_no_header(root):
    assert len(listed(root, [f"{n:02},{n % 2}" for n in range(NUM)]).labels) == NUM


def test_images_in_many_folders_are_found_by_names_that_occur_once(tmp_path):
    """A download in 20 parts, and a list of names without folders."""
    for number in range(60):
        place = tmp_path / f"parts/part_{number % 20:02}/images" / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(random_pixels(number)))
    (tmp_path / "parts/part_00/images/59.jpg").write_bytes(b"")
    (tmp_path / "parts/masks").mkdir()
    (tmp_path / "parts/masks/00.png").write_bytes(encode(random_pixels(0)))
    found = listed(tmp_path, ["Image Index,label", *(f"{n:02}.png,{n % 2}" for n in range(58)), "58,1", "59,1"])
    assert list(found.names)[:59] == [f"parts/part_{n % 20:02}/images/{n:02}.png" for n in range(59)]
    assert found.names[59] == "59"  # two files have this name
    assert any("folders where each name occurs once" in remark for remark in found.remarks)


def test_a_missing_image_is_not_searched_by_its_name(root):
    """A few files are missing: an image of the same name in another folder is another one."""
    (root / "old").mkdir()
    for number in range(NUM, NUM + 3):
        (root / "old" / f"{number:02}.png").write_bytes(encode(random_pixels(number)))
    rows = [f"leaves/{n % NUM:02}.png,{n % 2}" for n in range(4 * NUM)]
    found = listed(root, ["path,label", *rows, "leaves/12.png,0"])
    assert found.names[-1] == "leaves/12.png"


@pytest.mark.parametrize("columns", [["id"], []])
@pytest.mark.parametrize("wide", [True, False])
def test_a_list_of_pixels_is_called_so(columns, wide, tmp_path):
    """As those of digits and faces on Kaggle: a column per pixel, or a cell with all of them."""
    names = [*columns, "label", *([f"pixel{n}" for n in range(64)] if wide else ["pixels"])]
    pixels = [str(n % 256) for n in range(64)]
    cells = [str(7)] * (len(columns) + 1) + (pixels if wide else [" ".join(pixels)])
    with pytest.raises(DataError, match=r"'pixel.*not the names of image files.*catseye\.train\(images, labels\)"):
        listed(tmp_path, [",".join(names), *[",".join(cells)] * 3])


def test_a_long_caption_is_no_image(root):
    """Of missing images, the names are reported and not the captions."""
    found = listed(root, ["id,text,label", *(f"gone{n},{'a leaf ' * 40},{n % 2}" for n in range(NUM))])
    assert list(found.names)[:2] == ["gone0", "gone1"]


def test_many_columns_of_numbers_beside_names_of_images_are_no_pixels(root):
    names = ",".join(f"size{n}" for n in range(70))
    found = listed(root, [f"id,label,{names}", *(f"{n:02},{n % 2}," + ",".join("7" * 70) for n in range(NUM))])
    assert list(found.names) == [f"leaves/{n:02}.png" for n in range(NUM)]


@pytest.mark.parametrize("name", ["digits.npz", "faces.mat", "all.pkl"])
def test_a_file_of_arrays_is_called_so(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=r"arrays.*catseye\.train\(images, labels\)"):
        open_source(tmp_path / name)


def test_masks_are_not_mistaken_for_the_images_of_a_list(root):
    """Masks have the names of their images and may be nearer to the list."""
    (root / "annotations" / "trimaps").mkdir(parents=True)
    for number in range(NUM):
        (root / "annotations" / "trimaps" / f"{number:02}.png").write_bytes(encode(random_pixels(number)))
    found = listed(root, ["id,label", *(f"{n:02},{n % 2}" for n in range(NUM))], name="annotations/list.csv")
    assert list(found.names) == [f"../leaves/{n:02}.png" for n in range(NUM)]
