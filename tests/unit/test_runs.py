import contextlib
import errno
import io
import json
import math
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from catseye import runs, tensor_files
from catseye.environment import environment
from catseye.errors import CatseyeError, ModelFileError, UsageError
from catseye.files import hold_folder, make_folder
from catseye.manifest import METADATA_KEY, Architecture, Manifest
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.runs import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    Run,
    create_run,
    load_model,
    locked,
    open_run,
    read_json,
    save_model,
    write_atomically,
    write_json,
)
from catseye.runtimes.loading import load
from catseye.settings.merge import to_toml
from catseye.settings.schema import Settings
from catseye.tensor_files import read_tensors, write_tensors
from tests.conftest import random_pixels

CPU = torch.device("cpu")


def manifest_of(name: str = "lenet5", *, classes: int = 3, channels: int = 3, side: int = 32, **options) -> Manifest:
    return Manifest(
        classes=tuple(f"class{index}" for index in range(classes)),
        preprocessing=Preprocessing(
            height_px=side, width_px=side, channels=channels, mean=(0.4,) * channels, std=(0.3,) * channels
        ),
        architecture=Architecture(name=name, options=options),
    )


@pytest.fixture
def model_file(tmp_path):
    """A LeNet-5 with its manifest."""
    torch.manual_seed(0)
    model = registry.create("lenet5", num_classes=3)
    save_model(tmp_path / MODEL_FILE, model.state_dict(), manifest_of())
    return tmp_path / MODEL_FILE


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_default_folder_has_a_date_and_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [create_run(None, "digits-lenet5").path for _ in range(3)]
    assert all(path.is_dir() and path.parent.name == "runs" for path in paths)
    assert paths[0].name.endswith("-digits-lenet5")
    assert [path.name for path in paths[1:]] == [f"{paths[0].name}-2", f"{paths[0].name}-3"]


def test_a_new_or_empty_folder_is_taken(tmp_path):
    assert create_run(tmp_path / "a" / "b", "x").path.is_dir()
    assert create_run(tmp_path / "a" / "b", "x").path == tmp_path / "a" / "b"


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; so choose a different folder"):
        create_run(tmp_path, "x")
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"")
    with pytest.raises(UsageError, match="continue it with --resume"):
        create_run(tmp_path, "x")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be made"):
            create_run(path, "x")


def test_open_run_wants_a_run_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"no settings\.toml"):
        open_run(tmp_path)
    (tmp_path / "settings.toml").write_text(to_toml(Settings(seed=7)))
    run = open_run(str(tmp_path))
    assert run.settings.seed == 7
    assert run.history == []
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert [row["epoch"] for row in run.history] == [1, 2]


def test_a_second_trainer_is_refused(tmp_path):
    with locked(Run(tmp_path)), pytest.raises(UsageError, match="another process is training"), locked(Run(tmp_path)):
        pytest.fail("two trainers in one folder")
    with locked(Run(tmp_path)):
        pass


def test_a_lock_file_alone_keeps_a_second_trainer_out(tmp_path, monkeypatch):
    """Where the system locks no folders (network file systems), the lock file is all there is."""
    monkeypatch.setattr(runs, "hold_folder", lambda folder: contextlib.nullcontext())
    with locked(Run(tmp_path)), pytest.raises(UsageError, match="another process is training"), locked(Run(tmp_path)):
        pytest.fail("two trainers in one folder")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_does_not_hold_its_parents_folder(tmp_path):
    """A loader's worker that outlives its killed trainer for a moment must not keep --resume from beginning."""
    reading, writing = os.pipe()
    up, is_up = os.pipe()
    with hold_folder(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.write(is_up, b".")
            os.read(reading, 1)  # until the parent has let go and looked
            os._exit(0)
        assert os.read(up, 1) == b"."
    for descriptor in (reading, up, is_up):
        os.close(descriptor)
    try:
        with hold_folder(tmp_path):
            pass
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_a_new_folder_and_those_above_it_outlast_a_power_cut(tmp_path, monkeypatch):
    """The name of each new folder stands in the one above it, which is synced once the name is there."""
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((folder, sorted(path.name for path in folder.iterdir())))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folder(tmp_path / "a" / "b" / "c")
    assert sorted(synced) == [(tmp_path, ["a"]), (tmp_path / "a", ["b"]), (tmp_path / "a" / "b", ["c"])]
    synced.clear()
    make_folder(tmp_path / "a" / "b")
    assert synced == []
    create_run(tmp_path / "run", "x")
    assert (tmp_path, ["a", "run"]) in synced


# --- atomic writes ------------------------------------------------------------------------------------------------


def test_a_write_replaces_the_whole_file(tmp_path):
    for content, stored in (("text ü", "text ü".encode()), (b"\0bytes", b"\0bytes")):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == stored
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, "output")],
)
def test_a_write_that_fails_leaves_the_old_file(number, reason, tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", "old")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CatseyeError, match=reason) as caught:
        write_atomically(tmp_path / "file", "new")
    assert "what was saved before is intact" in str(caught.value)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_new_content_is_synced_before_it_takes_the_place(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("replace"), replace(*names)))
    write_atomically(tmp_path / "file", "new")
    assert steps[:2] == ["sync", "replace"]


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    (tmp_path / "plain").write_text("")
    for folder in ("none", "plain"):
        with pytest.raises(CatseyeError, match="cannot be written"):
            write_atomically(tmp_path / folder / "file", "new")


@pytest.mark.parametrize("content", [{"a": [1, None, "ü"]}, {"name": "caf\udce9.png"}])
def test_json_survives(content, tmp_path):
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null", b"[" * 100_000])
def test_damaged_json_is_named(content, tmp_path):
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"data\.json"):
        read_json(tmp_path / "data.json")
    with pytest.raises(ModelFileError, match=r"metrics\.json"):
        _ = Run(tmp_path).metrics


def test_damaged_history_is_named(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"ep')
    with pytest.raises(CatseyeError, match=r"history\.jsonl"):
        _ = Run(tmp_path).history


# --- model files --------------------------------------------------------------------------------------------------


def test_tensors_and_metadata_survive(tmp_path):
    tensors = {
        "a": torch.randn(3, 4).t(),
        "b": torch.tensor(7),
        "c": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {"key": "välue"})
    found, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"key": "välue"}
    for name, tensor in tensors.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_a_model_survives_its_file(model_file):
    torch.manual_seed(0)
    wanted = registry.create("lenet5", num_classes=3).eval()
    model, manifest = load_model(model_file, CPU)
    assert manifest == manifest_of()
    assert not model.training
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(x), wanted(x))


def test_a_run_folder_is_as_good_as_its_model_file(model_file):
    (model_file.parent / "settings.toml").write_text(to_toml(Settings()))
    assert load_model(model_file.parent, CPU)[1] == manifest_of()
    model_file.unlink()
    with pytest.raises(ModelFileError, match=r"has no model\.safetensors yet; finish it with"):
        load_model(model_file.parent, CPU)


def test_a_classifier_normalises_and_answers(model_file):
    model, _ = load_model(model_file, CPU)
    pixels = random_pixels(0, 32, 32)
    x = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - 0.4) / 0.3
    with torch.inference_mode():
        wanted = model(x).softmax(1)[0].double().numpy()
    np.testing.assert_allclose(load(model_file, device="cpu").predict(pixels).probabilities, wanted, rtol=1e-5)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_named(model_file, keep):
    content = model_file.read_bytes()
    model_file.write_bytes(content[:keep])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is not a valid"):
        load_model(model_file, CPU)


class Payload:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.canary,)


def test_a_pickle_with_another_name_is_refused_and_does_not_run(tmp_path):
    path, canary = tmp_path / "m.safetensors", tmp_path / "canary"
    for content in (pickle.dumps(Payload(str(canary))), torch_save(Payload(str(canary)))):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a valid safetensors file"):
            load_model(path, CPU)
        assert not canary.exists()


def torch_save(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**40, 101_000_000])
def test_a_header_that_claims_to_be_huge_is_refused(size, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(size.to_bytes(8, "little") + b"{}" + bytes(100))
    with pytest.raises(ModelFileError, match=f"a header has 2 to 32,000,000 bytes inside the file; got {size:,}"):
        load_model(tmp_path / "m.safetensors", CPU)


def test_a_header_that_is_huge_is_not_parsed(tmp_path, monkeypatch):
    """JSON of a hundred megabytes takes a gigabyte to read."""
    monkeypatch.setattr(tensor_files, "MAX_HEADER_BYTES", 1000)
    for filling, is_read in ((500, True), (2000, False)):
        content = save({"a": torch.zeros(2)}, {"filling": "x" * filling})
        (tmp_path / "m.safetensors").write_bytes(content)
        if is_read:
            assert len(read_tensors(tmp_path / "m.safetensors")[0]) == 1
        else:
            with pytest.raises(ModelFileError, match="a header has 2 to 1,000 bytes"):
                read_tensors(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "header", [b"{}", b"[]", b"null", b"[" * 50_000, b'{"__metadata__": {"catseye": "{}"}}', b"\xff\xff"]
)
def test_an_odd_header_is_refused(header, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m.safetensors", CPU)


def safetensors_file(header: str, num_bytes: int) -> bytes:
    return len(header.encode()).to_bytes(8, "little") + header.encode() + bytes(num_bytes)


def entry(name: str, begin: int, end: int) -> str:
    return f'"{name}":{{"dtype":"F32","shape":[{(end - begin) // 4}],"data_offsets":[{begin},{end}]}}'


SEEN_IN_TWO_WAYS = {
    "a tensor twice": (f"{{{entry('a', 0, 8)},{entry('a', 0, 8)}}}", 8, "names 'a' twice"),
    "metadata twice": ('{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}', 0, "names '__metadata__' twice"),
    "a key twice": ('{"__metadata__":{"a":"b","a":"c"}}', 0, "names 'a' twice"),
    "one place": (f"{{{entry('a', 0, 8)},{entry('b', 0, 8)}}}", 8, "overlap or leave a gap at byte 0"),
    "overlap": (f"{{{entry('a', 0, 8)},{entry('b', 4, 12)}}}", 12, "overlap or leave a gap at byte 4"),
    "a gap": (f"{{{entry('a', 0, 8)},{entry('b', 12, 16)}}}", 16, "overlap or leave a gap at byte 8"),
    "more behind": (f"{{{entry('a', 0, 8)}}}", 12, "end at byte 8 of 12"),
    "no offsets": ('{"a":{"dtype":"F32","shape":[1]}}', 4, "header is malformed"),
    "a list": ('{"a":[]}', 4, "header is malformed"),
}


@pytest.mark.parametrize(("header", "num_bytes", "message"), SEEN_IN_TWO_WAYS.values(), ids=list(SEEN_IN_TWO_WAYS))
def test_a_header_that_two_readers_could_read_in_two_ways_is_refused(header, num_bytes, message, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(safetensors_file(header, num_bytes))
    with pytest.raises(ModelFileError, match=message):
        read_tensors(tmp_path / "m.safetensors")


def test_a_sound_header_of_another_writer_is_read(tmp_path):
    """In any order, with tensors of no size, and with white space behind it."""
    header = f"{{{entry('b', 8, 8)},{entry('c', 8, 16)},{entry('a', 0, 8)}}}   "
    (tmp_path / "m.safetensors").write_bytes(safetensors_file(header, 16))
    tensors, metadata = read_tensors(tmp_path / "m.safetensors")
    assert ({name: len(tensor) for name, tensor in tensors.items()}, metadata) == ({"a": 2, "b": 0, "c": 2}, {})


def test_a_checkpoint_without_its_seal_is_damaged(tmp_path):
    """Whoever cuts the seal out of a header could change the weights as well; a model of others may have none."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(save({"a": torch.zeros(2)}, {"catseye": "x"}))
    assert read_tensors(path)[1] == {"catseye": "x"}
    with pytest.raises(ModelFileError, match="is damaged"):
        read_tensors(path, sealed=True)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors cannot be read"):
        load_model(tmp_path / "none.safetensors", CPU)


def test_a_file_of_another_program_has_no_manifest(tmp_path):
    write_tensors(tmp_path / "m.safetensors", {"a": torch.zeros(2)}, {"format": "pt"})
    with pytest.raises(ModelFileError, match="carries no catseye manifest"):
        load_model(tmp_path / "m.safetensors", CPU)


@pytest.mark.parametrize(
    "manifest",
    [
        manifest_of("simple"),
        manifest_of(classes=4),
        manifest_of(channels=1),
        manifest_of("unheard-of"),
        manifest_of(dropout=0.5),
        manifest_of("residual", dropout=5.0),
        manifest_of("residual", dropout="much"),
        manifest_of(num_classes=3),
        manifest_of(side=8),
    ],
    ids=lambda manifest: manifest.to_json()[20:60],
)
def test_weights_that_do_not_fit_their_manifest_are_refused(model_file, manifest):
    tensors, _ = read_tensors(model_file)
    write_tensors(model_file, tensors, {METADATA_KEY: manifest.to_json()})
    with pytest.raises(ModelFileError, match="the weights do not fit the network its manifest names"):
        load_model(model_file, CPU)


def test_a_file_that_names_a_huge_network_asks_for_no_memory(model_file, monkeypatch):
    """A few bytes may name a network of 30 GB: it is compared with the weights before any memory is taken for it."""
    devices = []
    real = runs.registry.create

    def create(*words, **options):
        devices.append(torch.empty(0).device.type)
        return real(*words, **options)

    monkeypatch.setattr(runs.registry, "create", create)
    tensors, _ = read_tensors(model_file)
    write_tensors(model_file, tensors, {METADATA_KEY: manifest_of("simple", classes=100_000).to_json()})
    with pytest.raises(ModelFileError, match="the weights do not fit"):
        load_model(model_file, CPU)
    assert devices == ["meta"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(model_file, value):
    tensors, metadata = read_tensors(model_file)
    tensors["features.0.weight"].view(-1)[3] = value
    write_tensors(model_file, tensors, metadata)
    with pytest.raises(ModelFileError, match="NaN or infinite"):
        load_model(model_file, CPU)


def test_the_environment_is_json_and_names_the_versions():
    content = json.loads(json.dumps(environment(), allow_nan=False))
    assert torch.__version__.startswith(content["packages"]["torch"])
    assert content["cpus"] >= 1


@pytest.mark.parametrize("text", ["1", "[]", '{"epoch": 1}\n"a"', "{", "[" * 100_000], ids=range(5))
def test_a_history_that_is_no_list_of_rows_is_said(text, tmp_path):
    (tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(ModelFileError, match=r"history\.jsonl"):
        _ = Run(tmp_path).history


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 10_000_000},
        {"width": 1e300},
        {"width": math.inf},
        {"width": math.nan},
        {"depth": "a"},
        {"norm": 2.5, "depth": 5},
    ],
)
def test_a_network_that_nobody_could_build_is_refused_at_once(options, tmp_path):
    """A few bytes of a manifest can name any number of layers."""
    said = manifest_of("tower", side=8, **options)
    write_tensors(tmp_path / MODEL_FILE, {"a": torch.zeros(1)}, {METADATA_KEY: said.to_json()})
    begun = time.process_time()
    with pytest.raises(ModelFileError, match=r"do not fit|manifest is wrong"):
        load_model(tmp_path / MODEL_FILE, CPU)
    assert time.process_time() - begun < 5
