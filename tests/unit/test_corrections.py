"""Decisions about labels: what a file of them means, and what it makes of images."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from catseye.data.sources import open_source
from catseye.data.sources.corrections import HEADER, Correction, parse_corrections, standing
from catseye.data.sources.image_set import content_digest
from catseye.errors import DataError, SaveError, UsageError
from catseye.review.log import CorrectionLog
from catseye.settings.schema import DataSettings

NOW = "2026-11-26T10:00:00+00:00"


@pytest.fixture
def fruit(tmp_path):
    for kind in ("apple", "pear", "plum"):
        folder = tmp_path / "fruit" / kind
        folder.mkdir(parents=True)
        for number in range(3):
            value = ["apple", "pear", "plum"].index(kind) * 80 + number
            Image.new("RGB", (9, 7), (value, 255 - value, 40)).save(folder / f"{number}.png")
    return tmp_path / "fruit"


def about(path, kind, new="", old="?"):
    content = path.read_bytes()
    digest = content_digest(content).hex()
    return Correction(f"{path.parent.name}/{path.name}", digest, len(content), old, new, kind, "ann", NOW)


def merge(old, new, kind="merge"):
    return Correction("", "", 0, old, new, kind, "ann", NOW)


@pytest.fixture
def corrected(fruit, tmp_path):
    """`corrected(row, …)`: name -> class of what is left, and the images."""

    def apply(*rows):
        path = tmp_path / "corrections.csv"
        path.write_bytes(HEADER + b"".join(row.row() for row in rows))
        images = open_source(fruit, settings=DataSettings(corrections=str(path)))
        out = images.corrected.left_out
        return {n: images.classes[k] for n, k, gone in zip(images.names, images.labels, out, strict=True) if not gone}

    apply.images = lambda: open_source(fruit, settings=DataSettings(corrections=str(tmp_path / "corrections.csv")))
    return apply


def test_a_relabelled_image_has_its_new_class(fruit, corrected):
    found = corrected(about(fruit / "apple" / "1.png", "relabel", "pear"))
    assert found["apple/1.png"] == "pear"
    assert sum(name == "apple" for name in found.values()) == 2


def test_a_renamed_image_and_its_copies_are_recognised(fruit, corrected):
    row = about(fruit / "apple" / "1.png", "relabel", "pear")
    (fruit / "apple" / "copy.png").write_bytes((fruit / "apple" / "1.png").read_bytes())
    (fruit / "apple" / "1.png").rename(fruit / "plum" / "moved.png")
    found = corrected(row)
    assert (found["plum/moved.png"], found["apple/copy.png"]) == ("pear", "pear")
    assert corrected.images().corrected.num_unmatched == 0


def test_an_image_of_the_same_size_and_another_content_is_not(fruit, corrected):
    row = about(fruit / "apple" / "1.png", "relabel", "pear")
    (fruit / "apple" / "1.png").write_bytes(b"\0" * row.size_bytes)
    assert corrected(row)["apple/1.png"] == "apple"
    assert corrected.images().corrected.num_unmatched == 1


def test_the_last_decision_counts_and_undo_brings_back_the_one_before(fruit, corrected):
    path = fruit / "apple" / "1.png"
    rows = [about(path, "relabel", "pear"), about(path, "relabel", "plum")]
    assert corrected(*rows)["apple/1.png"] == "plum"
    assert corrected(*rows, about(path, "undo"))["apple/1.png"] == "pear"
    assert corrected(*rows, about(path, "undo"), about(path, "undo"))["apple/1.png"] == "apple"
    assert corrected(*rows, *[about(path, "undo")] * 5)["apple/1.png"] == "apple"


def test_left_out_kept_and_unsure(fruit, corrected):
    rows = [about(fruit / "apple" / f"{n}.png", kind, new) for n, (kind, new) in enumerate(
        [("drop", ""), ("keep", "apple"), ("unsure", "")])]  # fmt: skip
    found = corrected(*rows)
    assert "apple/0.png" not in found
    assert (found["apple/1.png"], found["apple/2.png"]) == ("apple", "apple")


def test_classes_are_merged_in_the_order_of_the_decisions(fruit, corrected):
    one = about(fruit / "plum" / "0.png", "relabel", "pear")
    assert set(corrected(merge("pear", "plum")).values()) == {"apple", "plum"}
    assert corrected(one, merge("pear", "plum"))["plum/0.png"] == "plum"  # the merge came later
    assert corrected(merge("pear", "plum"), one)["plum/0.png"] == "pear"  # the person saw the merged class
    assert set(corrected(merge("pear", "plum"), merge("pear", "plum", "undo")).values()) == {"apple", "pear", "plum"}
    assert set(corrected(merge("pear", "plum"), merge("plum", "apple")).values()) == {"apple"}


def test_a_class_without_images_is_gone_and_a_new_one_sorted_in(fruit, corrected):
    rows = [about(fruit / "apple" / f"{n}.png", "relabel", "orange") for n in range(3)]
    corrected(*rows)
    assert corrected.images().classes == ("orange", "pear", "plum")


def test_given_labels_are_kept_beside(fruit, corrected):
    corrected(about(fruit / "apple" / "1.png", "relabel", "pear"))
    told = corrected.images().corrected
    assert [told.given_classes[k] for k in told.given_labels] == ["apple"] * 3 + ["pear"] * 3 + ["plum"] * 3
    assert told.num_relabelled == 1


@pytest.mark.parametrize("name", ["a,b.png", 'say "x".png', "two\nlines.png", "caf\udce9.png", "ä.png", " x .png"])
def test_a_row_is_read_as_it_was_written(name):
    row = Correction(f"c/{name}", "0" * 32, 7, "old, er", "new", "relabel", "ann", NOW)
    assert parse_corrections(HEADER + row.row() + row.row(), "f") == ([row, row], len(HEADER) + 2 * len(row.row()))


@pytest.mark.parametrize("name", ["plain.png", "two\nlines.png"])
def test_wherever_a_kill_cuts_the_rows_before_are_whole(name):
    rows = [Correction(f"c/{n}{name}", "0" * 32, n, "old", "new", "relabel", "ann", NOW) for n in range(3)]
    parts = [HEADER, *(row.row() for row in rows)]
    content = b"".join(parts)
    ends = np.cumsum([len(part) for part in parts]).tolist()
    for cut in range(len(content) + 1):
        found, end = parse_corrections(content[:cut], "f")
        whole = sum(each <= cut for each in ends)
        assert found == rows[: max(0, whole - 1)], cut
        assert end == ([0, *ends][whole]), cut


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"path,label\na.png,cat\n", "not a file of corrections"),
        (HEADER + b"a,b,c\n" + merge("a", "b").row(), "8 cells; got 3"),
        (HEADER + b"a," + b"0" * 32 + b",1,x,y,rename,ann,now\n", "one of keep"),
        (HEADER + b"a,12,1,x,y,relabel,ann,now\n", "32 hexadecimal"),
        (HEADER + b"a," + b"0" * 32 + b",many,x,y,relabel,ann,now\n", "number of bytes"),
        (HEADER + b"a," + b"0" * 32 + b",1,x,,relabel,ann,now\n", "needs a new label"),
    ],
)
def test_what_is_no_decision_is_named(text, says, tmp_path, fruit):
    (tmp_path / "c.csv").write_bytes(text)
    with pytest.raises(DataError, match=says):
        open_source(fruit, settings=DataSettings(corrections=str(tmp_path / "c.csv")))


def test_a_missing_file_is_named(fruit, tmp_path):
    with pytest.raises(DataError, match="catseye review"):
        open_source(fruit, settings=DataSettings(corrections=str(tmp_path / "none.csv")))


# --- the writer -------------------------------------------------------------------------------------------------------


def test_the_log_goes_on_and_cuts_what_a_kill_left(tmp_path):
    path = tmp_path / "c.csv"
    row = Correction("a.png", "0" * 32, 1, "x", "y", "relabel", "ann", NOW)
    log = CorrectionLog(path, "ann")
    log.append([row])
    log.close()
    with path.open("ab") as stream:
        stream.write(row.row()[:-3])
    log = CorrectionLog(path)
    assert log.rows == [row]
    log.append([row])
    log.close()
    assert path.read_bytes() == HEADER + 2 * row.row()


def test_a_second_writer_is_refused(tmp_path):
    log = CorrectionLog(tmp_path / "c.csv")
    with pytest.raises(UsageError, match="another page writes"):
        CorrectionLog(tmp_path / "c.csv")
    log.close()
    CorrectionLog(tmp_path / "c.csv").close()


def test_a_full_disk_leaves_the_rows_before(tmp_path, monkeypatch):
    log = CorrectionLog(tmp_path / "c.csv")
    row = Correction("a.png", "0" * 32, 1, "x", "y", "relabel", "ann", NOW)
    log.append([row])
    before = (tmp_path / "c.csv").read_bytes()
    write = os.write

    def full(descriptor, content):
        if len(content) > 5:
            return write(descriptor, content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SaveError, match="not kept"):
        log.append([row])
    monkeypatch.undo()
    assert (tmp_path / "c.csv").read_bytes() == before
    assert len(log.rows) == 1
    log.close()


def test_a_file_that_is_something_else_is_not_written_to(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label\na.png,cat\n")
    with pytest.raises(DataError, match="not a file of corrections"):
        CorrectionLog(path)
    assert path.read_text() == "path,label\na.png,cat\n"


WRITER = """
import sys
from pathlib import Path
from catseye.data.sources.corrections import Correction
from catseye.review.log import CorrectionLog
log = CorrectionLog(Path(sys.argv[1]), "ann")
for number in range(10**6):
    log.append([Correction("n" * 500, f"{number:032x}", number, "x", "y", "relabel", "ann", log.stamp())])
    print(number, flush=True)
"""


def test_kill_9_loses_at_most_the_decision_being_written(tmp_path):
    path = tmp_path / "c.csv"
    begun = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        confirmed = -1
        for line in process.stdout:
            confirmed = int(line)
            if confirmed > 20:
                process.kill()
                break
        confirmed = max([confirmed, *(int(line) for line in process.stdout.read().split()[:-1])])
        process.wait()
        process.stdout.close()
        rows, _ = parse_corrections(path.read_bytes(), "f")
        assert confirmed + 1 <= len(rows) - begun <= confirmed + 3
        assert len(standing(rows).by_digest) >= confirmed + 1
        begun = len(rows)
