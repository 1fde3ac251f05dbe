import numpy as np
import pytest
import torch

from catseye.data.decode import decode_all
from catseye.data.loaders import MemoryLoader, StreamLoader, epoch_order
from catseye.data.sources import open_source
from catseye.preprocess import preprocess
from tests.conftest import encode, random_pixels

CPU = torch.device("cpu")


@pytest.fixture
def source(images):
    """21 images of 10 x 14 pixels in two classes."""
    return open_source(images({"cat": 11, "dog": 10}, height=10, width=14))


def memory(source, spec, indices=None, *, batch_size=4, shuffle=True, seed=0):
    pixels, good, bad = decode_all(source, np.arange(len(source)), spec)
    row = np.full(len(source), -1)
    row[good] = np.arange(len(good))
    labels = torch.from_numpy(source.labels[good])
    indices = good if indices is None else indices
    return MemoryLoader(torch.from_numpy(pixels), labels, row, indices, batch_size, shuffle=shuffle, seed=seed, bad=bad)


def stream(source, spec, indices=None, *, batch_size=4, shuffle=True, seed=0, workers=0, min_area=1.0):
    indices = np.arange(len(source)) if indices is None else indices
    return StreamLoader(source, spec, indices, batch_size, workers, CPU, shuffle=shuffle, seed=seed, min_area=min_area)


def same(first, second) -> bool:
    """Two epochs are equal to the pixel."""
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in ("pixels", "labels", "indices")
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_memory_and_stream_give_the_same_batches(source, make_spec, workers, shuffle):
    spec = make_spec(8, 12)
    first = memory(source, spec, shuffle=shuffle, seed=3)
    second = stream(source, spec, shuffle=shuffle, seed=3, workers=workers)
    assert same(first.epoch(5), second.epoch(5))
    assert first.num_batches == second.num_batches == len(list(first.epoch(0)))


def test_a_batch_holds_what_the_evaluation_preprocessing_gives(source, make_spec):
    spec = make_spec(8, 12)
    for batch in memory(source, spec).epoch(0):
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.shape[1:] == (3, 8, 12)
        assert batch.labels.dtype == torch.int64
        for index, pixels, label in zip(batch.indices.tolist(), batch.pixels, batch.labels, strict=True):
            expected = preprocess(source.read(index), spec)
            np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)
            assert label == source.labels[index]


@pytest.mark.parametrize("make", [memory, stream])
def test_every_image_comes_once_an_epoch_and_the_last_batch_is_kept(source, make_spec, make):
    loader = make(source, make_spec(), np.arange(18))
    sizes = [len(batch.indices) for batch in loader.epoch(0)]
    assert sizes == [4, 4, 4, 4, 2]
    assert sorted(i for batch in loader.epoch(0) for i in batch.indices.tolist()) == list(range(18))


@pytest.mark.parametrize("make", [memory, stream])
def test_a_single_left_over_image_is_dropped_in_training_only(source, make_spec, make):
    training, evaluation = make(source, make_spec()), make(source, make_spec(), shuffle=False)
    assert [len(batch.indices) for batch in training.epoch(0)] == [4] * 5
    assert training.num_batches == 5
    assert [len(batch.indices) for batch in evaluation.epoch(0)] == [4] * 5 + [1]
    assert evaluation.num_batches == 6


@pytest.mark.parametrize(
    ("count", "batch_size", "shuffle"), [(n, b, s) for n in (0, 1, 2, 5, 8, 9) for b in (1, 4, 8) for s in (0, 1)]
)
def test_the_number_of_batches_is_what_comes(count, batch_size, shuffle, source, make_spec):
    loader = stream(source, make_spec(), np.arange(count), batch_size=batch_size, shuffle=bool(shuffle))
    order = epoch_order(loader.indices, batch_size, shuffle=bool(shuffle), seed=0, epoch=0)
    assert loader.num_batches == len(order)
    dropped = count - sum(len(batch) for batch in order)
    assert dropped == int(bool(shuffle) and count > batch_size and count % batch_size == 1)


@pytest.mark.parametrize("make", [memory, stream])
@pytest.mark.parametrize("start", [0, 1, 3, 5, 9])
def test_start_skips_exactly(source, make_spec, make, start):
    loader = make(source, make_spec())
    assert same(list(loader.epoch(2))[start:], loader.epoch(2, start))


def test_the_order_depends_on_seed_and_epoch_alone(source, make_spec):
    def order(seed, epoch):
        batches = memory(source, make_spec(), np.arange(20), seed=seed).epoch(epoch)
        return [i for batch in batches for i in batch.indices.tolist()]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert order(0, 0) != sorted(order(0, 0))


def test_the_indices_given_are_not_shuffled_in_place():
    indices = np.arange(50)
    epoch_order(indices, 8, shuffle=True, seed=0, epoch=0)
    np.testing.assert_array_equal(indices, np.arange(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_in_a_stream_is_recorded_and_left_out(source, make_spec, tmp_path, workers):
    (tmp_path / "data" / source.names[2]).write_bytes(b"broken")
    loader = stream(source, make_spec(), np.arange(8), shuffle=False, workers=workers)
    batches = list(loader.epoch(0))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 3], [4, 5, 6, 7]]
    assert list(loader.bad) == [2]
    assert source.names[2] in loader.bad[2]


def test_a_batch_of_bad_images_only_is_left_out(source, make_spec, tmp_path):
    for index in range(4):
        (tmp_path / "data" / source.names[index]).write_bytes(b"broken")
    loader = stream(source, make_spec(), np.arange(8), shuffle=False)
    assert [batch.indices.tolist() for batch in loader.epoch(0)] == [[4, 5, 6, 7]]
    assert sorted(loader.bad) == [0, 1, 2, 3]


def test_random_crops_do_not_depend_on_the_workers(source, make_spec):
    epochs = [list(stream(source, make_spec(), min_area=0.3, workers=workers).epoch(1)) for workers in (0, 2)]
    assert same(*epochs)


def test_random_crops_differ_between_epochs_seeds_and_images(source, make_spec):
    def first(epoch, seed=0):
        loader = stream(source, make_spec(), np.arange(4), min_area=0.3, shuffle=False, seed=seed)
        return next(iter(loader.epoch(epoch))).pixels

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
    assert not torch.equal(first(0), first(0, seed=1))


def test_decode_all_keeps_the_order_and_tells_the_bad_ones(source, make_spec, tmp_path):
    (tmp_path / "data" / source.names[4]).write_bytes(b"broken")
    wanted = np.array([7, 4, 2, 20])
    pixels, good, bad = decode_all(source, wanted, make_spec())
    assert good.tolist() == [7, 2, 20]
    assert list(bad) == [4]
    assert source.names[4] in bad[4]
    for row, index in enumerate(good):
        np.testing.assert_array_equal(pixels[row], preprocess(source.read(index), make_spec()))


def test_decode_all_of_nothing(source, make_spec):
    pixels, good, bad = decode_all(source, np.array([], np.int64), make_spec())
    assert (pixels.shape, good.tolist(), bad) == ((0, 8, 8, 3), [], {})


def test_decode_all_works_across_its_portions(make_spec, monkeypatch):
    source = open_source("digits")
    indices = np.tile(np.arange(len(source)), 3)
    pixels, good, _ = decode_all(source, indices, make_spec(8, channels=1))
    assert len(good) == len(indices) > 4096
    np.testing.assert_array_equal(pixels, source.read.pixels[indices])


def test_grey_images_keep_one_channel(tmp_path, make_spec):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encode(random_pixels(ord(name), channels=1)))
    batch = next(iter(stream(open_source(tmp_path), make_spec(channels=1)).epoch(0)))
    assert batch.pixels.shape == (2, 1, 8, 8)
