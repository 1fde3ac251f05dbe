"""Options that are made from dataclasses: a field more is an option more, with its range and its default."""

import inspect
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from catseye.cli.options import several, whole_numbers
from catseye.cli.printing import common_options
from catseye.cli.verbs import as_verb, options_of
from catseye.deploying.targets import Cluster
from catseye.errors import UsageError
from catseye.http.limits import Limits
from catseye.serving.settings import ServerSettings


@dataclass(frozen=True)
class Inner:
    wait_s: float = field(default=1.5, metadata={"option": "--wait", "min": 0, "help": "Seconds."})
    names: tuple[str, ...] = field(default=(), metadata={"option": "--a-name", "help": "May be repeated."})
    hidden: int = 7


@dataclass(frozen=True)
class Outer:
    source: Path = field(metadata={"help": "A file."})
    num_cats: int = field(default=2, metadata={"min": 1, "max": 9, "help": "Cats."})
    purr: bool = field(default=False, metadata={"help": "Aloud."})
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def call():
    found = []

    def verb(outer: Outer, extra: str = "none") -> None:
        found.append((outer, extra, common_options.json, common_options.debug))

    app = typer.Typer()
    app.command()(as_verb(verb))

    def run(*words):
        done = CliRunner().invoke(app, words)
        return found.pop() if done.exit_code == 0 else done.output

    return run


def test_fields_become_options(call):
    assert call("a.bin") == (Outer(Path("a.bin")), "none", False, False)
    words = (
        "a.bin",
        "--num-cats",
        "9",
        "--purr",
        "--wait",
        "0.5",
        "--extra",
        "x",
        "--json",
        "--a-name",
        "a",
        "--a-name",
        "b",
    )
    assert call(*words) == (Outer(Path("a.bin"), 9, True, Inner(0.5, ("a", "b"))), "x", True, False)
    assert call("a.bin", "--debug")[2:] == (False, True), "what the call before said is forgotten"


@pytest.mark.parametrize("words", [("a", "--num-cats", "10"), ("a", "--wait", "-1"), ("a", "--hidden", "1"), ()])
def test_ranges_hold_and_what_has_no_help_is_no_option(call, words):
    assert isinstance(call(*words), str)


@pytest.mark.parametrize("kind", [ServerSettings, Limits, Cluster])
def test_every_default_is_that_of_the_dataclass(kind):
    offered = {one.name: one.default for one in options_of(kind)}
    assert len(offered) >= 9
    for one in fields(kind):
        if one.name in offered and offered[one.name] is not inspect.Parameter.empty:
            given = offered[one.name]
            assert (tuple(given) if isinstance(given, list) else given) == one.default


def test_several_values():
    assert several(["onnx, openvino", "tensorrt"]) == ["onnx", "openvino", "tensorrt"]
    assert whole_numbers(["1,8", "32"], "--batch") == [1, 8, 32]
    assert whole_numbers(None, "--batch") == []
    for wrong in ("1;8", "a", "-1", "1.5", "²"):
        with pytest.raises(UsageError, match="--batch takes whole numbers with commas"):
            whole_numbers([wrong], "--batch")
