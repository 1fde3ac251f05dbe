"""What `--help`, `settings` and the shell say: groups, words for values, an example for every verb, completion."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import typer

from catseye.cli import app
from catseye.cli.help import EXAMPLES
from catseye.settings.listing import list_settings
from catseye.settings.merge import load_settings
from catseye.settings.schema import Settings
from tests.house.test_document_links import parse


def verbs():
    for name, verb in typer.main.get_command(app).commands.items():
        parts = getattr(verb, "commands", None)
        yield from [(name, verb)] if parts is None else [(f"{name} {part}", one) for part, one in parts.items()]


VERBS = dict(verbs())


def test_every_verb_has_an_example_and_no_other():
    assert set(EXAMPLES) == set(VERBS)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_are_understood(line):
    parse(shlex.split(line)[1:])


@pytest.mark.parametrize("name", EXAMPLES)
def test_values_have_words_that_people_read(name):
    for one in VERBS[name].params:
        if one.opts[0].startswith("--") and one.type_descriptor.annotation is not bool and not one.is_flag:
            assert (one.metavar or "").isupper() or one.metavar == "CxHxW"
        elif not one.opts[0].startswith("-"):
            assert (one.metavar or one.name).isupper() or one.metavar == "CxHxW" or one.name == "nodes"


def test_help_shows_groups_examples_and_defaults(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, said, _ = command("train", "--help")
    assert code == 0
    for words in ("─ Images ─", "─ Network and settings ─", "KEY=VALUE", "[default: auto]", EXAMPLES["train"][0]):
        assert words in said
    assert max(map(len, said.splitlines())) <= 80


def test_settings_are_all_there_with_their_defaults(command):
    code, said, _ = command("settings", "--json")
    rows = {row["key"]: row for row in json.loads(said)}
    assert code == 0
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            row = rows.pop(f"{group}.{name}")
            assert row["meaning"], row
            assert row["values"], row
    assert set(rows) == {"seed"}


@pytest.mark.parametrize(
    "row", [row for row in list_settings() if row.default not in ("", '""')], ids=lambda row: row.key
)
def test_a_default_is_a_value_that_set_takes(row):
    """Under `auto`, settings that will be idle are not refused."""
    load_settings("auto", overrides=[f"{row.key}={row.default}"])


def test_ranges_are_told(command):
    values = {row.key: row.values for row in list_settings()}
    assert values["training.lr"] == "number, above 0, at most 100"
    assert values["data.input_px"] == "whole number, 8 – 1,024 or auto"
    assert values["model.stem"] == "auto, small, standard"
    code, said, _ = command("settings", "training")
    assert code == 0
    assert "training.epochs" in said
    assert "data.resize" not in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("catseye tra", "train"),
        ("catseye train --recipe cl", "classic"),
        ("catseye train --set training.ep", "training.epochs="),
        ("catseye train -m resnet1", "resnet18"),
        ("catseye export run --to tor", "torchscript"),
        ("catseye explain rec", "receptive-field"),
    ],
)
def test_the_shell_completes(typed, offered):
    words = {"_CATSEYE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "catseye"], env={**os.environ, **words}, capture_output=True, text=True, timeout=60
    )
    assert offered in re.split(r"\s+", done.stdout), done.stderr
