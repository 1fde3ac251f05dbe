"""`catseye check`: what is wrong with labelled images, before anything is trained on them."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from catseye.cli.options import (
    DataDir,
    Debug,
    GroupColumn,
    ImageColumn,
    Json,
    LabelColumn,
    Layout,
    SplitColumn,
    reading_values,
)
from catseye.cli.printing import print_json, stderr, stdout
from catseye.errors import CatseyeError, UsageError


def check_verb(
    data: Annotated[str, typer.Argument(help="As in train.")],
    group_by: Annotated[
        str, typer.Option("--group-by", help="Regular expression: file names with one first group stay together.")
    ] = "",
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", help="error or warning: exit code 1 where one is found.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write check.json and check.html here.", show_default=False)
    ] = None,
    layout: Layout = "auto",
    image_column: ImageColumn = "",
    label_column: LabelColumn = "",
    split_column: SplitColumn = "",
    group_column: GroupColumn = "",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with labelled images before anything is trained on them."""
    from catseye.data.check import check as run_check
    from catseye.settings.schema import DataSettings

    reading = reading_values(layout, image_column, label_column, split_column, group_column)
    settings = DataSettings.model_validate({key.removeprefix("data."): value for key, value in reading.items()})
    if fail_on not in (None, "error", "warning"):
        raise UsageError(f"--fail-on is error or warning; got {fail_on!r}")
    with stderr.status("listing images", spinner="line") as status:
        verdict = run_check(data, group_by=group_by, data_dir=data_dir, out=out, tell=status.update, settings=settings)
    if as_json:
        print_json(verdict.to_json())
    else:
        if verdict.findings:
            stdout.print(_findings_table(verdict), soft_wrap=False)
        num, seconds = len(verdict.names), verdict.seconds_s
        stdout.print(f"[bold]{verdict.headline()}[/bold] in {num:,} images, {seconds:.1f} s", highlight=False)
        if out:
            stdout.print(f"written: {out / 'check.json'}, {out / 'check.html'}", highlight=False, markup=False)
        else:
            stdout.print("next: --out DIR writes a page with the images, and check.json", highlight=False)
    if fail_on and verdict.fails(fail_on):  # type: ignore[arg-type]
        raise CatseyeError(f"the check found {verdict.headline()} (--fail-on {fail_on})")


def _findings_table(verdict: Any) -> Any:
    from rich.table import Table

    colours = {"error": "red", "warning": "yellow", "note": "cyan"}
    table = Table("severity", "count", "what", box=None)
    table.columns[1].justify = "right"
    table.columns[2].overflow = "fold"
    for found in verdict.findings:
        severity = f"[{colours[found.severity]}]{found.severity}[/]"
        table.add_row(severity, f"{found.count:,}", escape(found.title + verdict.first_case(found)))
    return table
