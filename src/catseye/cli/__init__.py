"""The `catseye` command: verbs in the order of `--help`, errors to exit codes.

Enters: the command line. Leaves: results on stdout, everything else on stderr, an exit code (2 usage, 1 failure). One
short function per verb, in the file of its group; heavy imports happen inside the verbs, so that `catseye --help` needs
no torch.

    verbs.py     a function becomes a verb; options made from the dataclasses that hold the defaults
    local_page.py  what review, label and teach print while their page opens
    options.py   options that several verbs share
    places.py    files and folders given to a verb, checked before anything heavy is loaded
    printing.py  results to stdout, everything else to stderr; foreign text is never markup nor an escape
    endings.py   errors to one sentence and an exit code
    early.py     names, devices and settings, checked as early
    help.py      groups, examples and completion of options
    habits.py    options and verbs of other tools, and the command that was meant
    check.py     check
    train.py     train, lr-find, timeline
    evaluate.py  evaluate, calibrate, compare
    predict.py   predict
    explain.py   explain
    export.py    export, bench, info
    serve.py     serve
    review.py    review, label
    teach.py     teach
    embed.py     embed, search
    models.py    models, summary
    settings.py  settings
    lab.py       lab
    deploy.py    deploy and its targets
"""

import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from catseye.cli import (
    check,
    deploy,
    embed,
    evaluate,
    explain,
    export,
    lab,
    models,
    predict,
    review,
    serve,
    settings,
    teach,
    train,
)
from catseye.cli.endings import end_with
from catseye.cli.help import add_examples
from catseye.cli.printing import accept_any_encoding, common_options, tell
from catseye.cli.verbs import as_verb

VERBS: tuple[Callable[..., None], ...] = (
    check.check_verb,
    train.train_verb,
    evaluate.evaluate_verb,
    evaluate.calibrate_verb,
    evaluate.compare_verb,
    predict.predict_verb,
    export.export_verb,
    export.bench_verb,
    export.info_verb,
    serve.serve_verb,
    review.review_verb,
    review.label_verb,
    teach.teach_verb,
    embed.embed_verb,
    embed.search_verb,
    lab.lab_verb,
    train.lr_find_verb,
    train.timeline_verb,
    models.models_verb,
    models.summary_verb,
    settings.settings_verb,
)

app = typer.Typer(
    help="Labelled images in, an image classifier in production out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in VERBS:
    app.command(function.__name__.removesuffix("_verb").replace("_", "-"))(as_verb(function))
add_examples((("", app), ("explain ", explain.explain), ("deploy ", deploy.deploy)))
app.add_typer(explain.explain, name="explain")
app.add_typer(deploy.deploy, name="deploy")


def _say_version(wanted: bool) -> None:
    if wanted:
        import catseye

        tell(f"catseye {catseye.__version__}")
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and turn its result into an exit code."""
    common_options.json = common_options.debug = False
    accept_any_encoding()
    # The figures' font lacks characters of some class names; matplotlib's warning would print such a name unescaped.
    warnings.filterwarnings("ignore", r"Glyph \d+ ")
    try:
        # typer returns the code of a verb that ends by typer.Exit, and 130 after Ctrl-C.
        code = app(args=sys.argv[1:], prog_name="catseye", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last edge: no traceback without --debug
        code = end_with(error)
    if code:
        sys.exit(code)
