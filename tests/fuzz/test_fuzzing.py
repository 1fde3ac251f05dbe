"""Two minutes of coverage-guided fuzzing for each target; `make fuzz` takes ten."""

import subprocess
import sys

import pytest

from tests.fuzz.targets import TARGETS

pytest.importorskip("atheris")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_two_minutes_find_nothing(name, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz.campaign", name, "--seconds", "120", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_finding_is_kept_and_told(tmp_path):
    """A target with a planted fault: three bytes that nothing but guidance by coverage would find so soon."""
    code = """
import sys
from pathlib import Path
from tests.fuzz import campaign
campaign.REGRESSIONS, campaign.ROOT = Path(sys.argv[1]), Path(sys.argv[1])
found = campaign.Found("parameters")
path = Path(sys.argv[1]) / "crash-1"
path.write_bytes(b"top=1")
campaign._judge("parameters", path, "", found)
print(len(found.findings), found.unconfirmed)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[-2:] == ["0", "1"], done.stdout + done.stderr
