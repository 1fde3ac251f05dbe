"""Every verb opens a model by `open_model`, and one table says which suffix is what."""

import ast
import io

import numpy as np
import pytest
from PIL import Image

import catseye
from catseye.errors import ModelFileError, UsageError
from catseye.runtimes import formats, loading
from catseye.settings.merge import to_toml
from catseye.settings.schema import Settings
from tests.house.rules import FILES, SOURCE, hold, tree
from tests.house.test_floors import imports, room

READERS = {row.reader.split(":")[1] for row in formats.MODEL_FORMATS.values()}


class StopHereError(Exception):
    """Raised in place of reading a file."""


@pytest.fixture
def asked(monkeypatch):
    """The rows whose readers were asked for; nothing is read."""
    rows = []

    def stop(row):
        rows.append(row)
        raise StopHereError

    monkeypatch.setattr(loading, "_reader_of", stop)
    return rows


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.toml").write_text(to_toml(Settings()))
    (folder / "data.json").write_text('{"source": "digits", "splits": {"val": ["a"]}, "data_dir": null}')
    return folder


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not read")
    return path


def of_run(verb):
    return lambda run, model: verb(run)


def of_file(verb):
    return lambda run, model: verb(model)


def explain(run):
    from catseye.explanation.explain import explain

    return explain(run, image())


def draw(name):
    def verb(run):
        from catseye.explanation import figures

        return getattr(figures, name)(run, image())

    return verb


def image():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def later(module, name, *more, **options):
    """A verb that is imported when it is called."""

    def verb(path):
        from importlib import import_module

        return getattr(import_module(f"catseye.{module}"), name)(path, *more, **options)

    return verb


def bench(path):
    from catseye.exporting.bench_worker import _work

    return _work(None, path, [(1, 1)], False, False)


def compare(path):
    from catseye.evaluation.compare import compare

    return compare([path, path.parent])


VERBS = {
    "load a run": of_run(catseye.load),
    "load a file": of_file(catseye.load),
    "evaluate a run": of_run(catseye.evaluate),
    "evaluate a file": of_file(lambda path: catseye.evaluate(path, "digits")),
    "calibrate": of_run(later("evaluation.calibrate", "calibrate")),
    "compare": of_run(compare),
    "export": of_run(catseye.export),
    "explain cam": of_run(explain),
    "explain kernels": of_run(draw("draw_kernels")),
    "explain cam in a notebook": of_run(draw("draw_cam")),
    "explain feature-maps": of_run(draw("draw_feature_maps")),
    "explain receptive-field": of_run(draw("draw_receptive_field")),
    "info of a run": of_run(later("runtimes.inspection", "info")),
    "info of a file": of_file(later("runtimes.inspection", "info")),
    "serve": of_file(later("serving.runtimes", "load_served")),
    "serve in OpenVINO": of_file(later("serving.runtimes", "load_served", "openvino")),
    "lambda": of_file(later("serving.aws_lambda", "open_function")),
    "deploy": of_file(later("deploying.rendering", "read_model")),
    "ray": of_file(later("prediction.ray_engine", "open_classifier", "auto", False)),
    "bench a run": of_run(bench),
    "bench a file": of_file(bench),
    "embed": of_run(later("embedding.backbone", "open_backbone", None)),
    "lab": of_run(lambda path: later("lab.networks", "open_shown")(str(path))),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_every_verb_comes_through_open_model(verb, run, model, asked):
    with pytest.raises(StopHereError):
        verb(run, model)
    assert len(asked) == 1


def test_no_other_room_knows_a_reader():
    def knows_no_reader(path):
        used = {name.rsplit(".", 1)[-1] for name in imports(path)}
        if room(path) != "runtimes":
            assert not used & READERS
        # Training reads the weights of its own checkpoints again, which is no opening of a model that somebody names.
        if room(path) not in ("runtimes", "training"):
            assert "catseye.runs.load_model" not in imports(path)

    hold(knows_no_reader, FILES)


def test_no_other_file_lists_suffixes():
    for path in FILES:
        if path == SOURCE / "runtimes" / "formats.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                parts = node.keys if isinstance(node, ast.Dict) else node.elts
                listed = {part.value for part in parts if isinstance(part, ast.Constant)}
                assert len(listed & set(formats.MODEL_FORMATS)) < 2, f"{path}:{node.lineno}"


@pytest.mark.parametrize("suffix", formats.MODEL_FORMATS)
def test_the_table_is_kept(suffix, tmp_path, asked):
    """Trust is asked for where the row says so, layers are refused where the row has none, and neither reads a byte."""
    row, path = formats.MODEL_FORMATS[suffix], tmp_path / f"m{suffix}"
    path.write_bytes(b"")
    if row.vouched:
        with pytest.raises(ModelFileError, match=r"opening it runs it.*--trust"):
            loading.open_model(path)
    if not row.has_layers:
        with pytest.raises(UsageError, match="give the run it was exported from"):
            loading.open_model(path, need="layers")
    if row.devices:
        with pytest.raises(UsageError, match="leave --device out"):
            loading.open_model(path, trust=True, device="mps")
    with pytest.raises(UsageError, match="runs in"):
        loading.open_model(path, trust=True, runtime="abacus")
    assert not asked
    with pytest.raises(StopHereError):
        loading.open_model(path, trust=True)
    assert asked == [row]


def test_what_is_no_model_says_what_is(tmp_path):
    with pytest.raises(ModelFileError, match=r"run folder, a model\.safetensors or an exported file"):
        catseye.load(tmp_path / "nowhere")
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"\.onnx \(ONNX\).*\.safetensors"):
        catseye.load(tmp_path / "model.pth")
