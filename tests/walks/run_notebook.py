"""Run the cells of a notebook in one namespace: `python -m tests.walks.run_notebook FILE.ipynb` keeps what they show.

Enters: a notebook. Leaves: outputs as Jupyter writes them: text, and for the last expression of a cell its HTML, its
PNG or its text. Cells run from top to bottom in the current folder; no kernel is needed.
"""

import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from PIL import Image


def run_cells(notebook: dict[str, Any]) -> None:
    """Fill in the outputs of every code cell; an error ends it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            cell["execution_count"], cell["outputs"] = number, run_cell("".join(cell["source"]), names, number)


def run_cell(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run one cell; what it printed, and its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
    outputs: list[dict[str, Any]] = []
    if said.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": said.getvalue().splitlines(keepends=True)})
    if value is not None:
        outputs.append(
            {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": shown(value)}
        )
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """As Jupyter shows it, with images of few colours, and without the paths that a repr may hold."""
    if hasattr(value, "savefig"):
        stream = io.BytesIO()
        value.savefig(stream, format="png", dpi=60)
        return {"text/plain": [repr(value)], "image/png": small_png(stream.getvalue())}
    if getattr(value, "_repr_html_", None):
        html = re.sub(
            r"(?<=data:image/png;base64,)[\w+/=]+", lambda found: small_png(b64decode(found[0])), value._repr_html_()
        )
        return {"text/plain": [type(value).__name__], "text/html": [html]}
    return {"text/plain": [repr(value)[:200]]}


def small_png(png: bytes) -> str:
    """A PNG in base64, in at most 64 colours: it is kept in the repository."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64).save(stream, "PNG", optimize=True)
    return b64encode(stream.getvalue()).decode()


if __name__ == "__main__":
    path = Path(sys.argv[1]).absolute()
    content = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run_cells(content)
        os.chdir(path.parent)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
