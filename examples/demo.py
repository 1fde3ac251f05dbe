"""`make demo`: LeNet-5 learns handwritten digits, is measured, reads new ones.

Every step is the command a user would type; it is printed before it runs. It works offline and takes 20 s on two cores.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from catseye.data.sources import open_source
from catseye.runs import open_run

NUM_SHOWN = 6
NUM_EPOCHS = "15"
# A network this small is as fast on one core, and other programs disturb it less.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", **os.environ}


def catseye(*words: str, capture: bool = False) -> str:
    """Print the command and run it; if it fails, the demo stops."""
    print(f"\n$ catseye {' '.join(words)}", flush=True)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "catseye", *words],
        check=True,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        env=ENVIRONMENT,
    )
    return done.stdout or ""


def write_held_out(run: Path) -> Path:
    """Write some held-out digits as PNG files, named after what they show."""
    held_out = open_run(run).data["splits"]["test"]
    digits = open_source("digits")
    folder = run / "held-out"
    folder.mkdir()
    for name in list(held_out)[:NUM_SHOWN]:
        pixels = digits.read(digits.names.index(name))
        Image.fromarray(pixels[..., 0]).save(folder / f"a-{held_out[name]}-number-{name}.png")
    return folder


def main() -> None:
    """Train, evaluate and predict; print where the results are and how long it took."""
    begun = time.perf_counter()
    result = json.loads(catseye("train", "digits", "--model", "lenet5", "--epochs", NUM_EPOCHS, "--json", capture=True))
    run = Path(result["run"])
    catseye("evaluate", str(run))
    catseye("predict", str(run), str(write_held_out(run)), "--top", "2")
    print(f"\nThe run folder is {run}: settings, data manifest, model, history, curves.png, confusion.png.")
    print(f"{time.perf_counter() - begun:.0f} s. Open in a browser: {(run / 'report.html').resolve().as_uri()}")
    print(f"Next: {Path(sys.executable).parent / 'catseye'} lab {run}   (shows what each layer has learnt)")


if __name__ == "__main__":
    main()
