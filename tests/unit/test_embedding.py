"""Vectors of images: neighbours are the true ones, files keep what they are given, an interrupted call goes on."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import nn

from catseye.data.sources import open_source
from catseye.embedding import embed as embedding
from catseye.embedding import neighbours
from catseye.embedding.backbone import Backbone, embed_images
from catseye.embedding.embed import embed
from catseye.embedding.features import Features, read_features, write_features
from catseye.embedding.head import STRENGTH, draw_folds, out_of_fold, train_head
from catseye.embedding.neighbours import find_neighbours, norms_of, vote
from catseye.errors import DataError, UsageError
from catseye.preprocess import Preprocessing


class Tiny(nn.Module):
    """Six features of the mean colour and its square."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 6, 1)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    spec = Preprocessing(height_px=8, width_px=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Backbone(Tiny().eval(), spec, torch.device("cpu"), "tiny", "ab" * 32)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for kind, ink in (("apple", (200, 40, 40)), ("pear", (60, 190, 40))):
        folder = tmp_path / "photos" / kind
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = (np.array(ink) + rng.integers(-40, 40, (16, 20, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


def blobs(num=60, num_classes=3, width=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    centres = rng.normal(size=(num_classes, width)) * 3
    return (centres[labels] + rng.normal(size=(num, width))).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_neighbours_are_those_of_scikit_learn(monkeypatch, k):
    monkeypatch.setattr(neighbours, "BLOCK", 17)  # several blocks, the last one smaller
    monkeypatch.setattr(neighbours, "QUERIES", 4)
    rng = np.random.default_rng(0)
    table, queries = rng.normal(size=(83, 7)).astype(np.float32), rng.normal(size=(11, 7)).astype(np.float32)
    found = find_neighbours(table, queries, k)
    distances, rows = NearestNeighbors(n_neighbors=min(k, 83), metric="cosine").fit(table).kneighbors(queries)
    assert found.rows.tolist() == rows.tolist()
    np.testing.assert_allclose(found.cosines, 1 - distances, atol=1e-5)


def test_an_image_does_not_find_itself(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 10)
    table, _ = blobs(33)
    table[7] = table[20]  # a copy is found
    found = find_neighbours(table, table, 3, own=np.arange(33))
    assert not (found.rows == np.arange(33)[:, None]).any()
    assert found.rows[7, 0] == 20
    assert found.rows[20, 0] == 7


def test_a_vote_counts_near_ones_more():
    found = neighbours.Neighbours(np.array([[0, 1, 2]]), np.array([[0.99, 0.2, 0.2]], np.float32))
    shares = vote(found, np.array([1, 0, 0]), 2)[0]
    assert shares[1] > shares[0]
    assert shares.sum() == pytest.approx(1)


def plainly_scaled(features):
    rows = (features - features.mean(0)) / np.sqrt(features.var(0) + features.var(0).mean())
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.sqrt(features.shape[1])


@pytest.mark.parametrize("num_images", [18, 90])
def test_fewer_images_than_features_give_the_same_head(num_images):
    """The way through the span of the rows, and the plain one."""
    features, labels = blobs(num_images, 3, width=40)
    scaled = plainly_scaled(features)
    oracle = LogisticRegression(C=STRENGTH / features.shape[1], max_iter=500).fit(scaled, labels)
    head = train_head(features, labels, 3)
    np.testing.assert_allclose(head.weight, oracle.coef_, atol=2e-4)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_head_is_that_of_scikit_learn(num_classes):
    features, labels = blobs(80, num_classes)
    head = train_head(features, labels, num_classes)
    scaled = plainly_scaled(features)
    oracle = LogisticRegression(C=STRENGTH / features.shape[1], max_iter=500).fit(scaled, labels).predict_proba(scaled)
    np.testing.assert_allclose(head.probabilities(features), oracle, atol=1e-3)


def test_a_class_without_images_is_never_the_answer():
    features, labels = blobs(40, 2)
    found = train_head(features, labels * 2, 4).probabilities(features)
    assert found[:, [1, 3]].max() == 0
    assert (found.argmax(1) == labels * 2).mean() > 0.9


def test_one_class_is_no_head():
    with pytest.raises(UsageError, match="two classes"):
        train_head(np.ones((3, 2), np.float32), np.zeros(3, np.int64), 2)


def test_folds_keep_groups_and_spread_classes():
    labels = np.repeat([0, 1], [40, 10])
    groups = np.arange(50)
    groups[[3, 4, 5]] = 3
    fold = draw_folds(labels, groups, 5, 0)
    assert len(set(fold[[3, 4, 5]])) == 1
    assert set(np.bincount(fold[labels == 1], minlength=5)) == {2}
    assert (draw_folds(labels, groups, 5, 1) != fold).any()


def test_out_of_fold_answers_have_not_seen_the_label():
    """A random label cannot be known; a head that saw it would know it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 2000)).astype(np.float32)  # more features than images: all labels can be learnt
    labels = rng.integers(0, 2, 100)
    assert (train_head(features, labels, 2).probabilities(features).argmax(1) == labels).mean() > 0.95
    assert 0.3 < (out_of_fold(features, labels, 2).argmax(1) == labels).mean() < 0.7


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_gives_back_what_it_was_given(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    values, labels = blobs(9)
    labels[4] = -1
    given = Features(
        values, norms_of(values), [f"ä {n}.png" for n in range(9)], labels, np.full(9, -1, np.int8),
        [f"{n:032x}" for n in range(9)], ("one", "two", "three"), {"backbone": "tiny", "sha256": "00"},
    )  # fmt: skip
    path = tmp_path / f"features{suffix}"
    write_features(path, given)
    found = read_features(path)
    for name in ("values", "norms", "labels", "splits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert (list(found.names), list(found.digests)) == (given.names, given.digests)
    assert (found.classes, found.origin) == (given.classes, given.origin)
    assert isinstance(found.values, np.memmap) == (suffix == ".npz")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "flipped"])
def test_a_damaged_file_is_named(tmp_path, damage):
    values, labels = blobs(50, width=40)
    path = tmp_path / "features.npz"
    sides = np.full(50, -1, np.int8)
    write_features(path, Features(values, norms_of(values), ["a"] * 50, labels, sides, ["0"] * 50, ("a",), {}))
    whole = path.read_bytes()
    content = {"cut": whole[: len(whole) // 2], "empty": b"", "other": b"PK\x03\x04 no", "flipped": whole[:-40]}[damage]
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a file of features"):
        read_features(path)


def test_embed_writes_what_the_network_answers(photos, backbone, tmp_path):
    (photos / "pear" / "broken.png").write_bytes(b"\x89PNG\r\n no")
    images = open_source(photos)
    made = embed(images, backbone, tmp_path / "f.npz")
    found = read_features(made.path)
    assert (made.num_images, made.num_features, list(made.bad)) == (24, 6, [24])
    assert found.names == [name for name in images.names if "broken" not in name]
    np.testing.assert_array_equal(found.values, embed_images(backbone, images).features)
    np.testing.assert_allclose(found.norms, np.linalg.norm(found.values, axis=1), rtol=1e-6)
    assert [found.classes[label] for label in found.labels] == ["apple"] * 12 + ["pear"] * 12


def test_an_interrupted_call_goes_on_where_it_stood(photos, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "PORTION", 5)
    images, out = open_source(photos), tmp_path / "f.npz"
    embed(images, backbone, tmp_path / "whole.npz")
    seen = []
    honest = embedding.embed_portion

    def dying(backbone, images, indices):
        seen.extend(indices.tolist())
        if 12 in indices:
            raise KeyboardInterrupt
        return honest(backbone, images, indices)

    monkeypatch.setattr(embedding, "embed_portion", dying)
    with pytest.raises(KeyboardInterrupt):
        embed(images, backbone, out)
    assert not out.exists()
    monkeypatch.setattr(embedding, "embed_portion", lambda *words: (seen.append("next"), honest(*words))[1])
    assert embed(images, backbone, out).num_resumed == 10
    assert seen.count("next") == 3  # of five portions
    whole, again = read_features(tmp_path / "whole.npz"), read_features(out)
    np.testing.assert_array_equal(whole.values, again.values)
    assert whole.digests == again.digests
    assert not list(tmp_path.glob("*partial*"))


def test_other_images_begin_anew(photos, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "PORTION", 5)
    out, honest = tmp_path / "f.npz", embedding.embed_portion
    monkeypatch.setattr(
        embedding, "embed_portion", lambda b, i, n: honest(b, i, n) if 12 not in n else pytest.fail("stop")
    )
    with pytest.raises(pytest.fail.Exception):
        embed(open_source(photos), backbone, out)
    monkeypatch.setattr(embedding, "embed_portion", honest)
    (photos / "apple" / "00.png").unlink()
    assert embed(open_source(photos), backbone, out).num_resumed == 0


def test_out_names_its_formats(photos, backbone, tmp_path):
    with pytest.raises(UsageError, match=r"\.npz or \.parquet"):
        embed(open_source(photos), backbone, tmp_path / "f.csv")
