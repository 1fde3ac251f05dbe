"""Nothing that catseye loads reports home: ONNX Runtime's telemetry leaves a database in the user's cache folder."""

import os
import subprocess
import sys

import pytest

from tests.unit.onnx_files import tiny_model

CODE = "import sys, catseye; catseye.load(sys.argv[1])"


@pytest.mark.parametrize(("said", "wanted"), [(None, 0), ("0", None)])
def test_onnx_runtime_keeps_to_itself(tmp_path, said, wanted):
    model, home = tmp_path / "m.onnx", tmp_path / "home"
    model.write_bytes(tiny_model().SerializeToString())
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")}
    env |= {"HOME": str(home)} | ({"ORT_DISABLE_TELEMETRY": said} if said else {})
    subprocess.run([sys.executable, "-c", CODE, model], env=env, check=True, capture_output=True)
    left = [path for path in home.rglob("*") if path.is_file()]
    if wanted is None and not left:
        pytest.skip("this build of ONNX Runtime has no telemetry")  # so the other case shows nothing here
    assert (len(left) == 0) == (wanted == 0), left
