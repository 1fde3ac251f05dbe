"""What a GPU needs of the server, with the CPU provider in its place: few batch shapes, all warm, mixed sizes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest

from catseye.http.logs import Log
from catseye.runtimes.model_file import OpenSettings
from catseye.runtimes.onnx import cuda_options, open_onnx
from catseye.runtimes.onnx_bound import BoundSession
from catseye.serving import gpu_session, runtimes, server, tuning
from catseye.serving.gpu_session import choose_gpu_session
from catseye.serving.reload import open_version
from catseye.serving.served_model import ServedModel, pad_rows, padded_sizes
from catseye.serving.settings import ServerSettings
from tests.server import models

TOLERANCE = 1e-5


@pytest.fixture
def path(tmp_path):
    return models.write(tmp_path / "tints.onnx", models.with_familiarity(0.4, cam=True))


@pytest.fixture
def asked():
    return []


@pytest.fixture
def padded(path, asked):
    """The model as a GPU would serve it, and a list of (images, outputs) of every call of the runtime."""
    plain = runtimes.load_served(path)

    def ask(rows, names):
        asked.append((len(rows), tuple(names)))
        return plain.ask(rows, names)

    return replace(plain, ask=ask, padded=True)


def rows(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)


def bound(path, **more):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    opened = open_onnx(path)
    return BoundSession(session, opened.inputs, opened.outputs, device="cpu", **more)


# --- few shapes ---------------------------------------------------------------------------------------------------


def test_only_powers_of_two_are_asked(padded, asked):
    for count in range(1, 66):
        padded.compute(rows(count), count % 2 == 0)
    assert {size for size, _ in asked} == {1, 2, 4, 8, 16, 32, 64, 128}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 31, 33, 64, 65])
def test_padded_batches_answer_as_single_images_do(padded, count):
    batch = rows(count, count)
    together = padded.compute(batch, True)
    for row in range(count):
        alone = padded.compute(batch[row : row + 1], True)
        for name in ("probabilities", "cams", "familiarity"):
            whole, single = getattr(together, name), getattr(alone, name)
            assert len(whole) == count
            assert np.abs(whole[row] - single[0]).max() < TOLERANCE


def test_what_is_added_is_zeros_and_nothing_where_it_fits():
    batch = rows(5)
    whole = pad_rows(batch)
    assert (whole[:5] == batch).all()
    assert not whole[5:].any()
    assert pad_rows(batch[:4]).base is batch


def test_models_on_a_cpu_are_not_padded(path):
    assert not runtimes.load_served(path).padded


# --- all warm before anybody is answered --------------------------------------------------------------------------


def test_every_shape_is_warm_before_the_server_listens(padded, asked, monkeypatch):
    monkeypatch.setattr(server, "load_served", lambda *_, **__: padded)
    seen = []

    def instead(loop):
        loop.close()
        seen.append({(size, "cam" in names) for size, names in asked})
        return 0

    monkeypatch.setattr(server, "run_loop", instead)
    settings = ServerSettings(model=padded.file.path, batch_size=20, quiet=True)
    log = Log(quiet=True)
    try:
        assert server.run_server(settings, None, log, lambda model, plan: None) == 0
    finally:
        log.close()
    assert seen[0] >= {(size, cam) for size in (1, 2, 4, 8, 16, 32) for cam in (True, False)}


def test_a_new_version_is_warm_before_it_answers(padded, asked, monkeypatch):
    monkeypatch.setattr("catseye.serving.reload.load_served", lambda *_, **__: padded)
    open_version(padded.file.path, "auto", False, 16)
    assert {size for size, _ in asked} >= {1, 2, 4, 8, 16}


# --- measured as traffic is ---------------------------------------------------------------------------------------


def test_the_measurement_mixes_the_sizes(path, asked):
    plain = runtimes.load_served(path)

    def ask(rows, names):
        asked.append(len(rows))
        return plain.ask(rows, names)

    tuning.mixed_speed(replace(plain, ask=ask), 1, 16)
    assert set(asked) == {1, 4, 8, 12, 16}
    again = sum(one == other for one, other in pairwise(asked))
    assert again < len(asked) / 10


def test_what_a_change_of_shape_costs_is_measured(path):
    plain = runtimes.load_served(path)
    last = [0]

    def ask(rows, names):
        if len(rows) != last[0]:
            last[0] = len(rows)
            for _ in range(300):
                plain.ask(rows[:1], names)
        return plain.ask(rows, names)

    restless = replace(plain, ask=ask)
    assert tuning.mixed_speed(restless, 1, 16)[0] < tuning.mixed_speed(plain, 1, 16)[0] / 3


def test_a_gpu_is_asked_by_one_thread(padded):
    assert tuning.choose(padded).concurrency == 1
    assert tuning.choose(padded, concurrency=3, batch_size=8).concurrency == 3


# --- fixed buffers ------------------------------------------------------------------------------------------------


def test_fixed_buffers_give_the_same_answers(path):
    plain = open_onnx(path).ask
    fixed = bound(path, sizes=frozenset({1, 4}))
    for count in (4, 1, 4, 3, 4, 1):
        names = ["probability", "cam"] if count != 1 else ["probability"]
        batch = rows(count, count)
        for mine, its in zip(fixed(batch, names), plain(batch, names), strict=True):
            assert np.abs(mine - its).max() < TOLERANCE
    assert set(fixed._bound) == {(4, ("probability", "cam")), (1, ("probability",))}


def test_an_answer_stays_when_the_next_one_comes(path):
    fixed = bound(path, sizes=frozenset({2}))
    first = fixed(rows(2, 1), ["probability"])[0]
    kept = first.copy()
    fixed(rows(2, 2), ["probability"])
    assert (first == kept).all()


def test_every_shape_has_a_graph_number_of_its_own(path):
    fixed = bound(path, sizes=frozenset({1, 2}), graph=True)  # the CPU provider does not mind the number
    for count, names in ((1, ["probability"]), (2, ["probability"]), (2, ["probability", "cam"])):
        fixed(rows(count), names)
    numbers = [each.options.get_run_config_entry("gpu_graph_id") for each in fixed._bound.values()]
    assert sorted(numbers) == ["1", "2", "3"]
    assert fixed._options("-1").get_run_config_entry("gpu_graph_id") == "-1"


def test_the_provider_is_told_not_to_try_every_algorithm():
    assert cuda_options(OpenSettings())["cudnn_conv_algo_search"] in gpu_session.SEARCHES
    assert cuda_options(OpenSettings(conv_search="DEFAULT", graph=True)) == {
        "cudnn_conv_algo_search": "DEFAULT",
        "enable_cuda_graph": "1",
    }


# --- the choice between ways --------------------------------------------------------------------------------------


@pytest.fixture
def ways(path, monkeypatch):
    """`ways({(search, graph): speed})`: opens the file on the CPU and pretends these speeds; what was opened."""
    plain = runtimes.load_served(path)

    def choose(speeds, **broken):
        opened = []

        def open_with(wish):
            way = wish.conv_search, wish.graph
            opened.append(way)
            if broken.get("capture") and wish.graph:
                raise RuntimeError("a node is not on CUDA")
            ask = bound(path, sizes=wish.fixed_sizes)
            if broken.get("stale") and wish.graph:
                first = {}

                def stale(rows, names):
                    found = first.setdefault(tuple(names), plain.ask(rows, names))
                    return [np.resize(one, (len(rows), *one.shape[1:])) for one in found]

                ask = stale
            return ServedModel(f"{way[0]} {way[1]}", plain.file, "cuda", ask, padded=True)

        monkeypatch.setattr(
            gpu_session, "mixed_speed", lambda model, *_: (speeds[model.name.split()[0], "True" in model.name], 0.0)
        )
        return choose_gpu_session(open_with, 8).name, opened

    return choose


SPEEDS = {("HEURISTIC", False): 100, ("DEFAULT", False): 200, ("DEFAULT", True): 300, ("HEURISTIC", True): 300}


def test_the_fastest_way_is_taken(ways):
    assert ways(SPEEDS) == ("DEFAULT True", [("HEURISTIC", False), ("DEFAULT", False), ("DEFAULT", True)])
    assert ways(SPEEDS | {("DEFAULT", False): 101})[0] == "HEURISTIC True"
    assert ways(SPEEDS | {("DEFAULT", True): 201})[0] == "DEFAULT False"


def test_a_graph_that_cannot_be_captured_is_left_out(ways):
    assert ways(SPEEDS, capture=True)[0] == "DEFAULT False"


def test_a_graph_that_repeats_its_first_answers_is_left_out(ways):
    assert ways(SPEEDS, stale=True)[0] == "DEFAULT False"


def test_pad_sizes():
    assert padded_sizes(1) == (1,)
    assert padded_sizes(64)[-1] == 64
    assert padded_sizes(65)[-1] == 128


@pytest.mark.gpu
def test_cuda_answers_as_the_cpu_does(path):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu")
    model, cpu = runtimes.load_served(path, "cuda"), runtimes.load_served(path)
    assert model.padded
    for count in (1, 3, 64, 2, 3):
        batch = rows(count, count)
        difference = model.compute(batch, True).probabilities - cpu.compute(batch, True).probabilities
        assert np.abs(difference).max() < 1e-3
