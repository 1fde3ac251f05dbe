import csv
import errno
import json
import os

import numpy as np
import pytest

from catseye.classifier import Classifier
from catseye.errors import CatseyeError, DataError
from catseye.manifest import Architecture, Manifest
from catseye.prediction.paths import PredictionRow, list_images, neutral, predict_files, write_csv
from catseye.preprocess import Preprocessing
from tests.conftest import encode, random_pixels

PNG = encode(random_pixels(0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """b.png, a.JPG, notes.txt, sub/c.png; the working directory is its parent."""
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "sub/c.png"):
        (tmp_path / "photos" / name).write_bytes(PNG)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_a_folder_is_all_images_in_it(folder):
    assert list_images(["photos"]) == ["photos/a.JPG", "photos/b.png", "photos/sub/c.png"]


def test_hidden_files_in_a_folder_are_left_out_as_in_training(folder):
    (folder / "._b.png").write_bytes(b"a Mac's shadow of an image")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "b.png").write_bytes(PNG)
    assert list_images(["photos"]) == ["photos/a.JPG", "photos/b.png", "photos/sub/c.png"]


def test_a_folder_whose_name_ends_like_a_image_is_no_image(folder):
    (folder / "album.png").mkdir()
    assert "photos/album.png" not in list_images(["photos"])


def test_globs_are_expanded_and_the_order_is_kept(folder):
    assert list_images(["photos/sub/c.png", "photos/*.png", "photos/**/c.png"]) == [
        "photos/sub/c.png",
        "photos/b.png",
        "photos/sub/c.png",
    ]


def test_a_glob_that_meets_a_folder_takes_the_images_in_it(folder):
    assert list_images(["photos/s*"]) == ["photos/sub/c.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder):
    (folder / "[1].png").write_bytes(PNG)
    assert list_images(["photos/[1].png"]) == ["photos/[1].png"]


def test_a_missing_file_stays_in_the_list_to_become_a_row(folder):
    assert list_images(["photos/none.png", "photos/b.png"]) == ["photos/none.png", "photos/b.png"]


@pytest.mark.parametrize(("path", "reason"), [("empty", "holds no images"), ("photos/*.bmp", "nothing matches")])
def test_nothing_found_is_an_error(folder, path, reason):
    (folder.parent / "empty").mkdir()
    with pytest.raises(DataError, match=reason):
        list_images([path])


def test_linked_folders_are_followed_as_in_training_and_loops_end(folder):
    (folder.parent / "more").mkdir()
    (folder.parent / "more" / "d.png").write_bytes(PNG)
    (folder / "linked").symlink_to(folder.parent / "more")
    (folder / "sub" / "up").symlink_to(folder)
    (folder.parent / "more" / "back").symlink_to(folder / "sub")
    assert list_images(["photos"]) == [
        "photos/a.JPG",
        "photos/b.png",
        "photos/linked/back/c.png",
        "photos/linked/d.png",
        "photos/sub/c.png",
    ]


def test_a_link_that_is_given_itself_is_followed(folder):
    (folder.parent / "album").symlink_to(folder)
    assert list_images(["album"]) == ["album/a.JPG", "album/b.png", "album/sub/c.png"]


def test_what_systems_leave_is_no_image(folder):
    for place in ("@eaDir/b.png", "__MACOSX", "$RECYCLE.BIN", "sub/.ipynb_checkpoints"):
        (folder / place).mkdir(parents=True)
        (folder / place / "thumb.jpg").write_bytes(PNG)
    assert list_images(["photos"]) == ["photos/a.JPG", "photos/b.png", "photos/sub/c.png"]


def test_a_folder_that_may_not_be_read_is_a_row_with_its_error(folder, monkeypatch):
    list_folder = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", refuse)
    names = list_images(["photos", "photos/sub"])
    assert names == ["photos/a.JPG", "photos/b.png", "photos/sub", "photos/sub"]
    errors = [row.error for row in rows(names)]
    assert errors[:2] == [None, None]
    assert errors[2] == "folder photos/sub cannot be listed (Permission denied); its images are missing here"


def test_a_folder_in_a_list_of_files_is_an_error_that_says_so(folder):
    assert "is a folder" in rows(["photos/sub"])[0].error


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("test.csv", ["id_code", "b", "a", "sub/c"]),  # as on Kaggle
        ("test.csv", ["b", "a", "sub/c"]),
        ("test.csv", ["id,site", "b,3", "a,3", "sub/c,4"]),
        ("test.csv", ["width,file", "3,b.png", "4,a.JPG", "5,sub/c.png"]),
        ("test.txt", ["photos/b.png", "photos/a.JPG", "photos/sub/c.png"]),
        ("test.txt", ["photos/b.png cat", "photos/a.JPG dog", "photos/sub/c.png 0"]),
        ("photos/test.txt", ["# all", "b 1 2", "a 1 3", "sub/c 2 2"]),
        ("test.jsonl", ['{"file_name": "b.png"}', '{"file_name": "a.JPG"}', '{"file_name": "sub/c.png"}']),
    ],
)
def test_a_list_is_the_images_that_it_names(name, lines, folder):
    (folder.parent / name).write_text("\n".join(lines) + "\n")
    assert list_images([name]) == ["photos/b.png", "photos/a.JPG", "photos/sub/c.png"]


def test_an_image_of_a_list_that_is_gone_is_a_row(folder):
    (folder / "all.txt").write_text("b.png\nmy gone.png\n")
    answers = rows(list_images(["photos/all.txt"]))
    assert [row.path for row in answers] == ["photos/b.png", "photos/my gone.png"]
    assert [row.error is None for row in answers] == [True, False]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", "seen in June", "names no images: none of its columns does"),
        ("notes.txt", "seen\nheard\n", "names no images: it begins with 'seen'"),
        ("empty.csv", "", "lists no images"),
        ("cut.csv", 'path,label\n"b.png,3\n', "cannot be read as UTF-8 CSV"),
        ("digits.csv", "\n".join([",".join(f"p{n}" for n in range(64)), ",".join(["7"] * 64)]), "hold pixels"),
    ],
)
def test_a_file_that_lists_no_images_is_a_row_that_says_so(name, content, reason, folder):
    (folder / name).write_text(content)
    answers = rows(list_images([f"photos/{name}", "photos/b.png"]))
    assert [row.path for row in answers] == [f"photos/{name}", "photos/b.png"]
    assert reason in answers[0].error
    assert answers[1].error is None


def test_an_archive_is_a_row_that_says_what_to_do(folder):
    (folder / "all.zip").write_bytes(b"PK")
    assert rows(["photos/all.zip"])[0].error == "photos/all.zip is an archive; unpack it and give the folder"


def test_a_list_behind_a_link_is_beside_what_it_names(folder):
    """other/lists is photos/sub: its ../b.png is photos/b.png and not other/b.png."""
    (folder / "sub" / "up.txt").write_text("../b.png\n")
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "lists").symlink_to(folder / "sub")
    (answer,) = rows(list_images(["other/lists/up.txt"]))
    assert answer.error is None


def test_a_link_to_an_image_that_is_gone_is_an_error_as_in_training(folder):
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert list_images(["photos"])[2] == "photos/gone.png"
    assert rows(["photos/gone.png"])[0].error


def rows(paths: list[str], *, top: int = 1, threshold: float | None = None) -> list[PredictionRow]:
    manifest = Manifest(
        classes=("=cmd()", "dög, big"),
        preprocessing=Preprocessing(height_px=4, width_px=4, mean=(0.5,) * 3, std=(0.5,) * 3),
        architecture=Architecture(name="fake"),
        unknown_threshold=threshold,
    )

    def logits(pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.log(np.array([0.75, 0.25], np.float32)), (len(pixels), 1))

    return list(predict_files(Classifier(manifest, logits), paths, top=top))


def test_one_row_per_image_in_order_with_errors_in_place(folder):
    (folder / "bad.png").write_bytes(b"broken")
    found = rows(["photos/b.png", "photos/bad.png", "photos/a.JPG", "photos/none.png"])
    assert [row.path for row in found] == ["photos/b.png", "photos/bad.png", "photos/a.JPG", "photos/none.png"]
    assert [row.error is None for row in found] == [True, False, True, False]
    assert "bad.png" in found[1].error


def test_json_is_exact(folder):
    good, bad = (row.to_json() for row in rows(["photos/b.png", "photos/none.png"], top=2, threshold=0.9))
    assert json.loads(json.dumps(good)) == {
        "path": "photos/b.png",
        "class": "=cmd()",
        "unknown": True,
        "top": [
            {"class": "=cmd()", "probability": pytest.approx(0.75)},
            {"class": "dög, big", "probability": pytest.approx(0.25)},
        ],
    }
    assert set(bad) == {"path", "error"}


def test_text_is_one_line(folder):
    good, bad = (row.to_text() for row in rows(["photos/b.png", "photos/none.png"], top=2))
    assert good == "photos/b.png: =cmd() 75.0%, dög, big 25.0%"
    assert bad.startswith("photos/none.png: error: ")


def read_csv(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table(folder, tmp_path):
    write_csv(rows(["photos/b.png", "photos/none.png"], top=2, threshold=0.9), tmp_path / "out.csv")
    good, bad = read_csv(tmp_path / "out.csv")
    assert good == {
        "path": "photos/b.png",
        "class": "'=cmd()",
        "probability": "0.750000",
        "class_2": "dög, big",
        "probability_2": "0.250000",
        "unknown": "true",
        "error": "",
    }
    assert bad["path"] == "photos/none.png"
    assert "none.png" in bad["error"]
    assert (bad["class"], bad["probability_2"], bad["unknown"]) == ("", "", "")


def test_a_table_of_errors_or_of_nothing_has_its_header(folder, tmp_path):
    for number, found in enumerate((rows(["photos/none.png"]), [])):
        write_csv(found, tmp_path / f"{number}.csv")
        header = (tmp_path / f"{number}.csv").read_text().splitlines()[0]
        assert header == "path,class,probability,unknown,error"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_starts_a_formula(start, tmp_path):
    text = f"{start}1+1|cmd"
    write_csv([PredictionRow(text, [(text, 1.0)]), PredictionRow(text, [], error=text)], tmp_path / "out.csv")
    for row in read_csv(tmp_path / "out.csv"):
        assert not any(cell.startswith(start) for cell in row.values())
        assert row["path"] == "'" + text
    assert neutral("cat") == "cat"


def test_a_name_that_is_no_utf_8_is_written_all_the_same(tmp_path):
    write_csv([PredictionRow("caf\udce9.png", [("cat", 1.0)])], tmp_path / "out.csv")
    assert b"caf" in (tmp_path / "out.csv").read_bytes()


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(CatseyeError, match=r"--csv .* cannot be written \(No such file or directory\)"):
        write_csv([], tmp_path / "none" / "out.csv")


def test_a_stranger_is_unknown_and_its_familiarity_is_told(folder, tmp_path):
    """A model that finds dark images familiar; its threshold lies between a dark and a light one."""
    spec = Preprocessing(height_px=8, width_px=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    manifest = Manifest(
        classes=("a", "b"),
        preprocessing=spec,
        architecture=Architecture(name="fake"),
        familiarity_threshold=0.5,
    )

    def ask(pixels):
        return np.array([[9.0, 0.0]] * len(pixels), np.float32), (1 - pixels.mean((1, 2, 3)) / 255).astype(np.float32)

    for name, value in (("dark", 20), ("light", 230)):
        (tmp_path / f"{name}.png").write_bytes(encode(np.full((8, 8, 3), value, np.uint8)))
    classifier = Classifier(manifest, lambda pixels: ask(pixels)[0], ask)
    dark, light = predict_files(classifier, [str(tmp_path / "dark.png"), str(tmp_path / "light.png")])
    assert (dark.to_json()["unknown"], dark.to_json()["familiarity"]) == (False, 0.9216)
    assert (light.to_json()["unknown"], light.to_json()["familiarity"]) == (True, 0.098)
    assert light.to_text().startswith(f"{tmp_path / 'light.png'}: unknown; a ")
    write_csv([dark, light], tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as stream:
        assert [row["unknown"] for row in csv.DictReader(stream)] == ["false", "true"]


def test_arrays_beside_images_are_features_and_are_not_classified(tmp_path):
    (tmp_path / "arrays").mkdir()
    for name in ("a.png", "a.npy", "arrays/b.npy", "arrays/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert list_images([str(tmp_path)]) == [str(tmp_path / "a.png"), str(tmp_path / "arrays" / "b.npy")]
