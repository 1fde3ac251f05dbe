"""`make docs`: stage documents, write generated pages, run Sphinx, check links."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.builder import api_reference, benchmark_pages, command_reference
from docs.builder.links import faults
from docs.builder.navigation import contents
from docs.builder.stage import BrokenLink, stage

ROOT = Path(__file__).parents[2]


class BrokenDocuments(Exception):
    """The site cannot be built because the documents have a fault."""


def write_sources(staged: Path) -> None:
    """Write everything that Sphinx reads.

    Raises:
        BrokenLink: a document links to a file that does not exist.

    """
    stage(ROOT, staged)
    command_reference.write(staged / "reference")
    api_reference.write(ROOT / "src" / "catseye", staged / "reference")
    benchmark_pages.write(ROOT / "benchmarks" / "results", staged / "benchmarks")
    index = staged / "index.md"
    index.write_text(f"{index.read_text()}\n{contents(staged)}")


def build(site: Path) -> None:
    """Build the site into a folder, which is emptied first.

    Raises:
        BrokenDocuments: Sphinx warns, a link or anchor leads nowhere, or a page would load from another host.

    """
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "source"
        staged.mkdir()
        try:
            write_sources(staged)
        except BrokenLink as error:
            raise BrokenDocuments(str(error)) from None
        made = Path(folder) / "site"
        options = ["-q", "-W", "--keep-going", "-c", str(Path(__file__).parent)]
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "sphinx", *options, "-d", str(Path(folder) / "doctrees"), str(staged), str(made)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BrokenDocuments(f"Sphinx reports:\n{done.stderr or done.stdout}".replace(f"{staged}/", ""))
        (made / ".buildinfo").unlink(missing_ok=True)
        if messages := faults(made):
            raise BrokenDocuments("\n".join(messages))
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(made, site)
    print(f"{len(list(site.rglob('*.html')))} pages: {site / 'index.html'}")
