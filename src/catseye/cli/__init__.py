"""The `catseye` command: the verbs in the order of `--help`, errors to exit codes (2 usage, 1 failure).

Enters: the command line. Leaves: results on stdout, everything else on stderr. One short function per verb, in
the file of its group; heavy imports happen inside the verbs, so that `catseye --help` needs no torch.

    options.py   options that several verbs share
    printing.py  results to stdout, everything else to stderr
    check.py     check
    train.py     train, lr-find, timeline
    evaluate.py  evaluate, calibrate, compare
    predict.py   predict
    explain.py   explain
    export.py    export, bench, info
    serve.py     serve
    models.py    models, summary
    lab.py       lab
    deploy.py    deploy and its targets
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import typer
from rich.markup import escape

from catseye.cli import check, deploy, evaluate, explain, export, lab, models, predict, serve, train
from catseye.cli.printing import stderr
from catseye.errors import CatseyeError, Interrupted

VERBS: tuple[Callable[..., None], ...] = (
    check.check_verb,
    train.train_verb,
    evaluate.evaluate_verb,
    evaluate.calibrate_verb,
    evaluate.compare_verb,
    predict.predict,
    export.export_verb,
    export.bench_verb,
    export.info,
    serve.serve,
    lab.lab,
    train.lr_find,
    train.timeline,
    models.models,
    models.summary,
)

app = typer.Typer(
    help="Labelled images in, an image classifier in production out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in VERBS:
    app.command(verb.__name__.removesuffix("_verb").replace("_", "-"))(verb)
app.add_typer(explain.explain, name="explain")
app.add_typer(deploy.deploy, name="deploy")


def spread(words: list[str]) -> list[str]:
    """Options that take several values may name them in a row.

    >>> spread(["export", "RUN", "--to", "onnx", "openvino", "--out", "o"])
    ['export', 'RUN', '--to', 'onnx', '--to', 'openvino', '--out', 'o']
    """
    several = {"--to": re.compile(r"[a-z][a-z-]*"), "--batch": re.compile(r"\d+"), "--threads": re.compile(r"\d+")}
    found: list[str] = []
    option, first = None, False
    for word in words:
        if word in several and words[0] in ("export", "bench"):
            option, first = word, True
            found.append(word)
            continue
        if option is not None and not first and several[option].fullmatch(word) and not Path(word).exists():
            found.append(option)
        elif not first:
            option = None
        found.append(word)
        first = False
    return found


def main() -> None:
    """Run the command line and turn errors into exit codes."""
    debug = "--debug" in sys.argv
    try:
        app(args=spread(sys.argv[1:]), standalone_mode=False)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last edge: no traceback without --debug
        sys.exit(_exit_code(error, debug))
    except KeyboardInterrupt:
        stderr.print("stopped before anything was begun; nothing was saved")
        sys.exit(130)


def _exit_code(error: Exception, debug: bool) -> int:
    """Say what went wrong and return the exit code; only --debug shows the traceback."""
    if debug and not isinstance(error, Interrupted):
        import traceback

        traceback.print_exc()
    if isinstance(error, typer.TyperException):
        stderr.print(f"[bold red]error:[/] {escape(error.format_message())}; see catseye --help", highlight=False)
        return 2
    if isinstance(error, BrokenPipeError):
        # The reader of our output is gone; there is nobody left to tell.
        sys.stdout = sys.stderr = None
        return 1
    if isinstance(error, CatseyeError):
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError):
        stderr.print(f"error: this needs {error.name}, which is not installed; run: pip install 'catseye\\[train]'")
        return 1
    kind = type(error).__name__
    stderr.print(f"[bold red]error:[/] {escape(f'{kind}: {error}')}", highlight=False)
    stderr.print("this looks like a fault in catseye; --debug shows where", highlight=False)
    return 1
