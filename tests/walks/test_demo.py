"""What `make demo` runs says how long it took and where to look; the page is there."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.slow
def test_the_demo_says_its_time_and_where_to_look(tmp_path):
    done = subprocess.run([sys.executable, str(DEMO)], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seconds, address = re.search(r"^(\d+) s\. Open in a browser: (file://\S+)$", done.stdout, re.M).groups()
    assert int(seconds) > 0
    page = Path(unquote(urlsplit(address).path))
    assert page.name == "report.html"
    assert "accuracy" in page.read_text("utf-8")
    accuracy = float(re.search(r"accuracy (\d+\.\d+)%", done.stdout)[1])
    assert accuracy > 95
    assert done.stdout.count("held-out/a-") == 6
