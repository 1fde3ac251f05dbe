"""What answers requests, and `--help`, start without torch. Proved in a fresh process that refuses the import."""

import subprocess
import sys

import pytest

REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "sklearn", "matplotlib", "onnx"}:
            raise ModuleNotFoundError(f"{name} was imported", name=name.split(".")[0])
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize(
    "code",
    [
        "import catseye; dir(catseye)",
        "import catseye.classifier, catseye.preprocess, catseye.manifest, catseye.settings.merge",
        "import catseye.machine.cores",
        "import catseye.prediction.paths, catseye.runtimes.torch_archive, catseye.runtimes.tensorrt_engine_file",
        "import catseye.runtimes.onnx, catseye.runtimes.inspection",
        "import catseye.runtimes.loading, catseye.runtimes.openvino",
        "import catseye.serving.server, catseye.serving.worker, catseye.serving.supervisor",
        "import catseye.lab.command, catseye.lab.chapters.pixels.answers, catseye.lab.chapters.convolution.answers",
        "import catseye.lab.chapters.activations.answers",
        "import sys; sys.argv = ['catseye', '--help']\nfrom catseye.cli import main\nmain()",
        "import sys; sys.argv = ['catseye', 'train', '--help']\nfrom catseye.cli import main\nmain()",
    ],
)
def test_starts_without_torch(code):
    done = subprocess.run([sys.executable, "-c", REFUSE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_verb_that_needs_torch_says_how_to_get_it():
    code = "import sys; sys.argv = ['catseye', 'train', 'digits']\nfrom catseye.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", REFUSE + code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'catseye[train]'" in done.stderr
    assert "Traceback" not in done.stderr
