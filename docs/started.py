"""A command of catseye that serves, for the scripts that take images of its pages: screenshots, page_images."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started(*words: object) -> Iterator[str]:
    """The address of `catseye WORDS`, at a free port, until the end of the block."""
    command = [sys.executable, "-m", "catseye", *map(str, words), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"catseye {words[0]} did not start")
            text += line
        yield json.loads(text)["address"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
