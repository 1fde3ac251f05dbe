"""`catseye check`: problems in labelled images, reported before any training."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.options import (
    DataDir,
    GroupColumn,
    ImageColumn,
    LabelColumn,
    Layout,
    NoCache,
    SplitColumn,
)
from catseye.cli.places import require_data, require_out_folder
from catseye.cli.printing import cell, common_options, next_step, print_json, show, stderr, tell
from catseye.counting import count
from catseye.errors import CatseyeError, UsageError


def check_verb(
    data: Annotated[str, typer.Argument(help="As in train.")],
    group_by: Annotated[
        str,
        typer.Option("--group-by", help="Regular expression: files whose names share its first group stay together."),
    ] = "",
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", help="error or warning: exit with code 1 if there is one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write check.json and check.html here.", show_default=False)
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also compare features: finds outliers of a class, and copies framed differently."),
    ] = False,
    layout: Layout = "auto",
    image_column: ImageColumn = "",
    label_column: LabelColumn = "",
    split_column: SplitColumn = "",
    group_column: GroupColumn = "",
    data_dir: DataDir = None,
    no_cache: NoCache = False,
) -> None:
    """Report problems in labelled images before anything is trained on them."""
    if fail_on not in (None, "error", "warning"):
        raise UsageError(f"--fail-on is error or warning; got {fail_on!r}")
    require_data(data)
    require_out_folder(out)
    import catseye
    from catseye.data.check.findings import name_classes

    with stderr.status("listing images", spinner="line") as status:
        verdict = catseye.check(
            data,
            deep=deep,
            group_by=group_by,
            out=out,
            data_dir=data_dir,
            layout=layout,
            image_column=image_column,
            label_column=label_column,
            split_column=split_column,
            group_column=group_column,
            tell=lambda message: status.update(cell(message)),
        )
    if common_options.json:
        print_json(verdict.to_json())
    else:
        tell(name_classes(verdict.classes))
        if verdict.findings:
            show(_findings_table(verdict), wrap=True)
        num, seconds = count(len(verdict.names), "image"), verdict.seconds_s
        tell(f"{verdict.headline()} in {num}, {seconds:.1f} s", bold=True)
        if out:
            tell(f"written: {out / 'check.json'}, {out / 'check.html'}")
        else:
            next_step("catseye", "check", data, "--out", "DIR")
    if fail_on and verdict.fails(fail_on):  # type: ignore[arg-type]
        raise CatseyeError(f"the check found {verdict.headline()} (--fail-on {fail_on})")


def _findings_table(verdict: Any) -> Any:
    from rich.table import Table

    colours = {"error": "red", "warning": "yellow", "note": "cyan"}
    table = Table("severity", "count", "what", box=None)
    table.columns[1].justify = "right"
    table.columns[2].overflow = "fold"
    for finding in verdict.findings:
        severity = cell(finding.severity, colours[finding.severity])
        table.add_row(severity, f"{finding.count:,}", cell(finding.title + verdict.first_case(finding)))
    return table
