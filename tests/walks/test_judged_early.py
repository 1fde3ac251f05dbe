"""What is wrong with the words of a command is said before torch is loaded: every call runs where there is none."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from catseye.cli import early
from catseye.explanation.cam import METHODS
from catseye.explanation.gradient_flow import INITIALISATIONS
from catseye.exporting import drafts, offered
from catseye.models import registry
from catseye.settings.merge import to_toml
from catseye.settings.schema import Settings
from tests.house.test_torch_free import REFUSE

CALLS = {
    "train photos --recipe nowhere": "unknown recipe 'nowhere'",
    "train photos --set training.lr=fast": "training.lr",
    "train photos --set training.lrr=0.1": "did you mean training.lr",
    "train photos --model resnet81": "did you mean resnet18",
    "train photos --device gpu0": "--device is auto, cpu, cuda",
    "train photos --set training.nesterov=true --recipe photos": "would do nothing here",
    "train photos --max-restarts 2": "without --nproc",
    "train photos --out note.txt/run": "note.txt is a file",
    "train nowhere": "nowhere does not exist",
    "train --resume run --epochs 5": "--epochs would do nothing with --resume",
    "lr-find photos --model lenet": "did you mean lenet5",
    "timeline photos --budget soon": "--budget is a time",
    "timeline photos --model lenet6": "did you mean lenet5",
    "evaluate run nowhere": "nowhere does not exist",
    "evaluate run --device cude": "--device is",
    "calibrate run --max-risk 200%": "--max-risk",
    "compare run": "compare takes two models",
    "predict run nowhere.jpg": "nowhere.jpg does not exist",
    "predict run photos --engine spark": "unknown engine 'spark'",
    "predict run photos --csv nowhere/table.csv": "there is no folder nowhere",
    "export run --to onxx": "--to is one of: onnx",
    "export run --int8 --to torchscript": "--int8 is for",
    "export run --max-drop 200": "--max-drop is a number of points",
    "export run --input bytes": "--input is uint8 or float",
    "explain run note.txt": "note.txt",
    "explain run photos/a/0.png --method cams": "did you mean cam",
    "explain receptive-field run photos/a/0.png --at 3": "--at is ROW,COLUMN",
    "explain gradient-flow --depth 7": "--depth is an even number",
    "explain gradient-flow --init hee": "did you mean he",
    "summary lenet6": "did you mean lenet5",
    "summary lenet5 --input 3x32": "--input is CxHxW",
    "settings training.lr": "unknown table",
}
PROGRAM = """
import io, json, sys
from contextlib import redirect_stderr
from catseye import cli
from catseye.cli import printing
said = {}
for words in json.load(sys.stdin):
    sys.argv = ["catseye", *words.split()]
    stream = io.StringIO()
    with redirect_stderr(stream):
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
    said[words] = [code, stream.getvalue()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each call says, all of them in one process that cannot load torch."""
    root = tmp_path_factory.mktemp("early")
    for label in "ab":
        (root / "photos" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(root / "photos" / label / "0.png")
    (root / "note.txt").write_text("no image")
    (root / "run").mkdir()
    (root / "run" / "settings.toml").write_text(to_toml(Settings()))
    done = subprocess.run(
        [sys.executable, "-c", REFUSE + PROGRAM],
        input=json.dumps(list(CALLS)),
        capture_output=True,
        text=True,
        cwd=root,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("words", "rule"), CALLS.items(), ids=list(CALLS))
def test_judged_without_torch(said, words, rule):
    code, text = said[words]
    assert code in (1, 2)
    assert "not installed" not in text
    assert rule in " ".join(text.split())


def test_the_lists_are_those_of_the_rooms():
    assert set(early.NETWORKS) == {one.name for one in registry.entries()}
    assert set(early.LIBRARIES) == {f"{name}:" for name in registry._LIBRARIES}
    assert set(early.MAPS) == set(METHODS)
    assert set(early.INITS) == set(INITIALISATIONS)
    assert tuple(drafts.FORMATS) == early.EXPORTS
    assert early.INT8_EXPORTS == offered.INT8_FORMATS
