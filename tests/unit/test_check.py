import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from catseye.data.check.check import check
from catseye.data.check.findings import MAX_PRINTED, Example, Finding, Verdict, name_classes
from catseye.data.check.page import SHOWN
from catseye.data.groups import group_by_name, join_overlapping
from catseye.errors import DataError, UsageError
from tests.conftest import encode
from tests.photos import as_jpeg, photo

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(verdict):
    """Rule -> names of the images that its examples start with."""
    return {one.rule: {verdict.names[case.images[0]] for case in one.examples if case.images}
            for one in verdict.findings}  # fmt: skip


def finding(verdict, rule):
    return next(one for one in verdict.findings if one.rule == rule)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """240 sound photos of 64 px on two sides, and faults of which we know where they are: root and rule -> names."""
    root = tmp_path_factory.mktemp("faulty")
    sound = {}
    for seed in range(240):
        side, name = ("train", "test")[seed % 4 == 0], ("ant", "bee", "fly")[seed % 3]
        sound[seed] = put(root / side / name / f"{seed:03d}.png", encode(photo(seed, 64, 64)))
    planted = {"leak-test-train": set(), "near-leak-test-train": set(), "two-labels": set()}
    train = [seed for seed in sound if seed % 4]
    for seed in train[:10]:  # copies across the split
        path = root / "test" / sound[seed].parent.name / f"copy{seed}.png"
        shutil.copy(sound[seed], path)
        planted["leak-test-train"].add(path.relative_to(root).as_posix())
    for seed in train[10:30]:  # saved again as JPEG, a little darker
        pixels = as_jpeg((photo(seed, 64, 64) * 0.9).astype(np.uint8), 70)
        path = put(root / "test" / sound[seed].parent.name / f"near{seed}.png", encode(pixels))
        planted["near-leak-test-train"].add(path.relative_to(root).as_posix())
    for seed in train[30:42]:  # a copy under another label
        label = {"ant": "bee", "bee": "fly", "fly": "ant"}[sound[seed].parent.name]
        shutil.copy(sound[seed], root / "train" / label / f"flipped{seed}.png")
        planted["two-labels"].add(f"flipped{seed}.png")
    planted["cut-off"] = set()
    rng = np.random.default_rng(0)
    for number, seed in enumerate(range(1000, 1016)):  # cut anywhere from just behind the head to near the end
        kind, suffix = (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("WEBP", "webp"))[number % 4]
        content = encode(photo(seed, 64, 64), kind)
        path = put(root / "train/ant" / f"cut{seed}.{suffix}", content[: int(len(content) * rng.uniform(0.4, 0.95))])
        planted["cut-off"].add(path.relative_to(root).as_posix())
    for rule, count, content in (("pointer", 5, POINTER), ("empty", 2, b""), ("no-image", 3, b"<html>404</html>")):
        paths = [put(root / "train/bee" / f"{rule}{number}.png", content) for number in range(count)]
        planted[rule] = {path.relative_to(root).as_posix() for path in paths}
    named = [put(root / "train/fly" / f"named{n}.jpg", encode(photo(2000 + n, 64, 64))) for n in range(4)]
    planted["misnamed"] = {path.relative_to(root).as_posix() for path in named}
    return root, planted


@pytest.fixture(scope="module")
def verdict(faulty):
    return check(faulty[0])


@pytest.mark.parametrize("rule", ["leak-test-train", "cut-off", "pointer", "empty", "no-image", "misnamed"])
def test_planted_faults_are_found_and_no_others(faulty, verdict, rule):
    """Precision 1, recall 1."""
    assert found(verdict)[rule] == faulty[1][rule]
    assert finding(verdict, rule).count == len(faulty[1][rule])


def test_near_copies_across_the_split_are_found(faulty, verdict):
    """Recall at least 0.95 of 20, precision 1."""
    right = faulty[1]["near-leak-test-train"]
    names = found(verdict)["near-leak-test-train"]
    assert names <= right
    assert len(names) >= 0.95 * len(right)


def test_one_image_under_two_labels(faulty, verdict):
    """Precision 1, recall 1: each pair names the copy and the original, and both labels."""
    one = finding(verdict, "two-labels")
    assert one.count == 2 * len(faulty[1]["two-labels"])
    named = {verdict.names[index].split("/")[-1] for case in one.examples for index in case.images}
    assert faulty[1]["two-labels"] <= named
    assert len(one.examples) == len(faulty[1]["two-labels"])
    assert all(" and " in case.note for case in one.examples)


def test_the_verdict_has_nothing_else_to_say(verdict):
    rules = {one.rule for one in verdict.findings}
    assert rules == {
        "leak-test-train", "near-leak-test-train", "two-labels", "cut-off", "pointer", "empty", "no-image",
        "misnamed", "duplicates",
    }  # fmt: skip
    severities = [one.severity for one in verdict.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_sound_images_have_a_clean_verdict(tmp_path):
    for seed in range(60):
        put(tmp_path / ("train", "test")[seed % 3 == 0] / "ab"[seed % 2] / f"{seed}.png", encode(photo(seed, 40, 40)))
    verdict = check(tmp_path)
    assert verdict.findings == []
    assert verdict.to_json()["verdict"] == "clean"
    assert not verdict.fails("warning")
    assert verdict.headline() == "nothing found"


def odd(tmp_path, name, content, count=30):
    for seed in range(count):
        put(tmp_path / "ab"[seed % 2] / f"{seed}.png", encode(photo(seed, 72, 72)))
    put(tmp_path / "a" / name, content)
    return check(tmp_path)


def turned(pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(pixels, "JPEG", exif=exif)


def drawing():
    pixels = np.full((72, 72, 3), 255, np.uint8)
    pixels[20:40, 10:60] = (200, 0, 0)
    return encode(pixels)


@pytest.mark.parametrize(
    ("rule", "name", "content"),
    [
        ("blank", "x.png", encode(np.full((72, 72, 3), 128, np.uint8))),
        ("few-colours", "x.png", drawing()),
        ("few-colours", "x.gif", encode(photo(99, 72, 72), "GIF")),
        ("few-colours", "x.png", encode(photo(99, 72, 72)[..., 0] // 6)),  # 43 tones of grey
        ("tiny", "x.png", encode(photo(99, 20, 20))),
        ("odd-shape", "x.png", encode(photo(99, 72, 300))),
        ("grey", "x.png", encode(photo(99, 72, 72)[..., 0])),
        ("grey", "x.png", encode(np.repeat(photo(99, 72, 72)[..., :1], 3, 2))),
        ("transparent", "x.png", encode(np.dstack([photo(99, 72, 72), np.full((72, 72), 90, np.uint8)]))),
        ("turned", "x.jpg", turned(photo(99, 72, 72))),
        ("misnamed", "x.png", encode(photo(99, 72, 72), "JPEG")),
    ],
)
def test_a_image_that_stands_out(tmp_path, rule, name, content):
    verdict = odd(tmp_path, name, content)
    assert found(verdict)[rule] == {f"a/{name}"}


def test_an_opaque_alpha_channel_is_not_transparent(tmp_path):
    opaque = encode(np.dstack([photo(99, 72, 72), np.full((72, 72), 255, np.uint8)]))
    assert "transparent" not in found(odd(tmp_path, "x.png", opaque))


def test_what_all_are_is_not_odd(tmp_path):
    for seed in range(40):
        pixels = (photo(seed, 72, 72)[..., 0] // 64 * 64).astype(np.uint8)
        put(tmp_path / "ab"[seed % 2] / f"{seed}.png", encode(pixels))
    assert not {"grey", "few-colours", "tiny"} & found(check(tmp_path)).keys()


def test_the_share_that_a_centre_crop_loses(tmp_path):
    for seed in range(40):
        put(tmp_path / "ab"[seed % 2] / f"{seed}.png", encode(photo(seed, 60, 80)))
    one = finding(check(tmp_path), "centre-crop")
    assert "25.0% of all pixels" in one.title
    assert one.count == 40


def write_classes(root, counts):
    seed = 0
    for name, count in counts.items():
        for _ in range(count):
            seed += 1
            put(root / name / f"{seed}.png", encode(photo(seed, 32, 32)))
    return root


@pytest.mark.parametrize(
    ("names", "severity"), [(("cat", "Cat"), "error"), (("big cat", "bigcat"), "error"), (("a", "A"), "warning")]
)
def test_classes_that_differ_by_case_or_white_space(tmp_path, names, severity):
    one = finding(check(write_classes(tmp_path, {**dict.fromkeys(names, 12), "dog": 12})), "class-twins")
    assert one.severity == severity
    assert all(repr(name) in one.examples[0].note for name in names)


@pytest.mark.parametrize("names", [("1", "1.0"), ("7", "07"), ("tabby cat", "tabby_cat"), ("tabby-cat", "Tabbycat")])
def test_classes_that_differ_by_their_spelling(tmp_path, names):
    one = finding(check(write_classes(tmp_path, {**dict.fromkeys(names, 12), "dog": 12})), "class-spellings")
    assert (one.severity, one.count) == ("warning", 1)
    assert all(repr(name) in one.examples[0].note for name in names)


@pytest.mark.parametrize("names", [("c+", "c-"), ("1234567", "1234568"), ("0.5", "5"), ("1-2", "12"), ("a_1", "a1")])
def test_classes_with_similar_names_may_differ(tmp_path, names):
    codes = {each.rule for each in check(write_classes(tmp_path, dict.fromkeys(names, 12))).findings}
    assert not codes & {"class-spellings", "class-twins"}


@pytest.mark.parametrize(("count", "severity"), [(60, "note"), (130, "warning")])
def test_imbalance(tmp_path, count, severity):
    one = finding(check(write_classes(tmp_path, {"cat": count, "dog": 12})), "imbalance")
    assert one.severity == severity
    assert f"{count / 12:.1f} times" in one.title


def test_few_images_and_one_class(tmp_path):
    rules = found(check(write_classes(tmp_path, {"cat": 4})))
    assert {"few-images", "one-class"} <= rules.keys()


def test_a_class_that_a_side_lacks(tmp_path):
    verdict = check(write_classes(tmp_path, {"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/bird": 3}))
    assert finding(verdict, "class-without-images").examples[0].note == "bird"
    assert finding(verdict, "class-missing-in-test").examples[0].note == "dog"


def test_groups_that_a_split_tears_apart(tmp_path):
    write_classes(tmp_path, {"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/dog": 3})
    put(tmp_path / "train/cat/p7_left.png", encode(photo(500, 32, 32)))
    put(tmp_path / "test/dog/p7_right.png", encode(photo(501, 32, 32)))
    assert "group-leak-test-train" not in found(check(tmp_path))
    verdict = check(tmp_path, group_by=r"^(p\d+)_")
    assert found(verdict)["group-leak-test-train"] == {"test/dog/p7_right.png"}


def test_near_duplicates_of_data_without_a_split(tmp_path):
    write_classes(tmp_path, {"cat": 12, "dog": 12})
    put(tmp_path / "dog/again.png", encode(as_jpeg(photo(1, 32, 32), 80)))
    verdict = check(tmp_path)
    assert finding(verdict, "near-duplicates").severity == "warning"
    assert finding(verdict, "near-two-labels").count == 1


def test_nothing_readable_is_a_verdict_too(tmp_path):
    put(tmp_path / "a" / "1.png", POINTER)
    put(tmp_path / "b" / "1.png", b"")
    assert {"pointer", "empty", "class-without-images"} <= found(check(tmp_path)).keys()


def test_arrays_are_checked_like_files():
    assert check("digits").counts["error"] == 0


# --- groups -------------------------------------------------------------------------------------------------------


def test_groups_by_name():
    names = ["a/x_aug1.png", "b/x_aug2.png", "a/y.png", "y_aug9.png", "z_aug/q.png"]
    assert group_by_name(names, "^(.*)_aug").tolist() == [0, 0, 2, 3, 4]
    assert group_by_name(names, "").tolist() == [0, 1, 2, 3, 4]
    assert group_by_name(["ab1.png", "cb1.png"], r"b\d").tolist() == [0, 0]


def test_a_pattern_that_is_wrong_or_fits_nothing():
    with pytest.raises(UsageError, match="regular expression"):
        group_by_name(["a.png"], "(")
    with pytest.raises(DataError, match=r"matches none of 1 file names, e\.g\. 'a\.png'"):
        group_by_name(["x/a.png"], r"\d+")


def test_groups_join_overlapping():
    assert join_overlapping(np.array([0, 0, 2, 3]), np.array([0, 1, 1, 3])).tolist() == [0, 0, 0, 3]


# --- the verdict --------------------------------------------------------------------------------------------------


def verdict_of(*severities):
    findings = [Finding("r", each, 2, "2 images are odd", "look", [Example((1,), "why")]) for each in severities]
    return Verdict("data", ["x.png", "y.png"], ["a", "b"], {"train": [1, 1]}, findings, 0.5)


@pytest.mark.parametrize(
    ("severities", "on_error", "on_warning"),
    [((), False, False), (("note",), False, False), (("warning", "note"), False, True), (("error",), True, True)],
)
def test_what_fails(severities, on_error, on_warning):
    assert verdict_of(*severities).fails("error") == on_error
    assert verdict_of(*severities).fails("warning") == on_warning


def test_train_says_every_finding_once_and_one_next_step():
    assert verdict_of("error", "note").lines() == [
        "check: 1 error, 0 warnings, 1 note",
        "check: error: 2 images are odd (e.g. y.png: why)",
        "check: note: 2 images are odd (e.g. y.png: why)",
        "check: next: look",
    ]
    assert verdict_of().lines() == ["check: nothing found", "check: next: catseye check DATA looks at every image too"]


def test_many_findings_are_not_all_listed():
    lines = verdict_of(*["warning"] * 20).lines()
    assert len(lines) == MAX_PRINTED + 3
    assert "8 more findings" in lines[-2]


def test_a_refusal_says_rule_value_and_next_step():
    verdict = verdict_of("error")
    verdict.refuse()
    stopping = replace(verdict.findings[0], stops="images must be even")
    with pytest.raises(DataError) as refusal:
        replace(verdict, findings=[stopping]).refuse()
    assert str(refusal.value).startswith("data: images must be even; 2 images are odd (e.g. y.png: why); look;")


def test_class_names_in_one_line():
    assert name_classes(["ant"]) == "1 class: ant"
    many = name_classes([f"c{number}" for number in range(1000)])
    assert many.startswith("1,000 classes: c0, c1")
    assert many.endswith("c19 and 980 more")
    long = name_classes(["x" * 255 for _ in range(300)])
    assert long.startswith("300 classes: " + "x" * 39 + "…, ")
    assert len(long) < 20 * 42 + 40


# --- the files ----------------------------------------------------------------------------------------------------


def test_the_page_is_inert_and_whole(tmp_path):
    evil = '<img src=x onerror=alert(1)>"'
    root = write_classes(tmp_path / "data", {evil: 12, "dog": 12})
    shutil.copy(root / "dog" / "13.png", root / evil / "'onload=alert(2) .png")
    put(root / evil / "<script>alert(3)<.png", b"cut")
    out = tmp_path / "out"
    verdict = check(root, out=out)
    page = (out / "check.html").read_text()
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert page.count("data:image/png;base64,") >= 2
    assert "http://" not in page
    assert "https://" not in page
    assert json.loads((out / "check.json").read_text()) == verdict.to_json()


def page_of(root, out):
    check(root, out=out)
    return (out / "check.html").read_text()


@pytest.mark.parametrize("pairs", [1, 3, SHOWN, SHOWN + 1, SHOWN + 5])
def test_the_page_counts_pairs_as_pairs(tmp_path, pairs):
    root = write_classes(tmp_path / "data", {"cat": 40, "dog": 40})
    for number in range(1, pairs + 1):
        shutil.copy(root / "cat" / f"{number}.png", root / "dog" / f"copy{number}.png")
    page = page_of(root, tmp_path / "out")
    assert f"{2 * pairs} equal images have different labels" in page
    more = [line for line in page.splitlines() if "… and" in line]
    left = pairs - SHOWN
    assert len(more) == (2 if left > 0 else 0)  # under two labels, and duplicates
    assert all(f"… and {left} more pair{'s' * (left > 1)}; check.json lists them." in line for line in more)


def test_the_page_counts_images_as_images(tmp_path):
    root = write_classes(tmp_path / "data", {"cat": 40, "dog": 40})
    for number in range(SHOWN + 7):
        put(root / "cat" / f"empty{number}.png", b"")
    page = page_of(root, tmp_path / "out")
    assert f"{SHOWN + 7} files are empty" in page
    assert "… and 7 more images; check.json lists them." in page


@pytest.mark.parametrize(("number", "said"), [(1, "1 image is blank"), (2, "2 images are blank")])
def test_verbs_agree_with_the_count(tmp_path, number, said):
    root = write_classes(tmp_path / "data", {"cat": 12, "dog": 12})
    for index in range(number):
        put(root / "cat" / f"blank{index}.png", encode(np.full((32, 32 + index, 3), 128, np.uint8)))
    assert said in finding(check(root), "blank").title


def test_a_folder_that_cannot_be_written_to(tmp_path):
    root = write_classes(tmp_path / "data", {"cat": 2, "dog": 2})
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="choose a different folder"):
        check(root, out=tmp_path / "file")
