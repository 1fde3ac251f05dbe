"""`catseye settings`: what `--set` can change, with default, range and meaning."""

from typing import Annotated

import typer

from catseye.cli.early import require_name
from catseye.cli.printing import cell, common_options, print_json, show, tell


def settings_verb(
    group: Annotated[
        str | None, typer.Argument(help="Only these: data, model, transfer, augment, training …", show_default=False)
    ] = None,
) -> None:
    """List every setting, with its default and range.

    `--set KEY=VALUE` and a settings file can change them.
    """
    from rich.table import Table

    import catseye
    from catseye.settings.listing import setting_groups

    require_name("table of the settings", group, setting_groups())
    rows = catseye.list_settings(group or "")
    if common_options.json:
        print_json([row.to_json() for row in rows])
        return
    table = Table("key", "default", "values and meaning", box=None)
    for row in rows:
        table.add_row(cell(row.key), cell(row.default), cell(row.values))
        table.add_row("", "", cell(row.meaning, "dim"))
    show(table, wrap=True)
    tell("a recipe overrides these defaults; a run's settings.toml shows what it used")
