"""`python -m docs.builder [OUT]`: build the site; run it from the root."""

import sys
from pathlib import Path

from docs.builder.build import BrokenDocuments, build

try:
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/docs"))
except BrokenDocuments as error:
    sys.exit(f"docs: {error}")
