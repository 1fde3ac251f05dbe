"""Two minutes of coverage-guided fuzzing for each target; `make fuzz` takes ten."""

import subprocess
import sys

import pytest

from tests.fuzz import campaign, one_target
from tests.fuzz.in_child import FindingError
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_two_minutes_find_nothing(name, tmp_path):
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz.campaign", name, "--seconds", "120", "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_input_that_does_not_fall_again_alone_is_not_believed(tmp_path, monkeypatch):
    """A busy machine makes anything slow: nothing is kept, and it is counted apart."""
    monkeypatch.setattr(campaign, "REGRESSIONS", tmp_path / "kept")
    path = tmp_path / "timeout-1"
    path.write_bytes(b"top=1")
    found = campaign.Found("parameters")
    campaign._judge("parameters", path, "", found)
    assert (found.findings, found.unconfirmed) == ([], 1)
    assert not (tmp_path / "kept").exists()


def test_a_run_that_takes_too_long_is_a_finding(monkeypatch):
    monkeypatch.setattr(one_target, "MOST_S", 0.01)
    with pytest.raises(FindingError, match="processor time"):
        one_target.checked(lambda data: sum(range(3_000_000)), b"")
