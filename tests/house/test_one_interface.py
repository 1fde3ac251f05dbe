"""The command line and the library are one: each verb calls a public function, whose options have the same names."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Unpack, get_args, get_origin, get_type_hints

import typer

import catseye
from catseye.cli import app
from tests.house.rules import hold, tree

CLI = Path(catseye.__file__).parent / "cli"
# Where a verb's words, joined by underscores, are not the function's name.
OTHER_NAMES = {
    "explain_cam": "explain", "models": "list_models", "settings": "list_settings",
    "lab": "open_lab", "review": "open_review", "label": "open_labels", "teach": "open_teach",
}  # fmt: skip
# `class` is a word of Python's own.
OTHER_OPTIONS = {"class": "target"}
# --no-cache sets CATSEYE_NO_CACHE for this process and those it starts; in Python that is set by the caller.
OF_THE_TERMINAL = {"json", "debug", "help", "no_cache"}


def verbs():
    command = typer.main.get_command(app)
    for name, verb in command.commands.items():
        for part, inner in getattr(verb, "commands", {"": verb}).items():
            yield f"{name} {part}".strip(), inner


VERBS = dict(verbs())


def function_of(verb):
    name = verb.replace(" ", "_").replace("-", "_")
    return OTHER_NAMES.get(name, name)


def names_taken(function):
    """Every name that may be given by keyword: parameters, keys of a TypedDict, fields of a dataclass."""
    found = set()
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints.get(name)
        if parameter.kind is parameter.VAR_KEYWORD:
            if get_origin(kind) is Unpack:
                found |= get_args(kind)[0].__optional_keys__
            continue
        found.add(name)
        for part in [kind, *get_args(kind)]:
            if is_dataclass(part):
                found |= {option_of(one) for one in fields(part)}
    return found


def option_of(one):
    return one.metadata.get("option", f"--{one.name}").removeprefix("--").replace("-", "_")


def options_of(verb):
    long = {name for parameter in VERBS[verb].params for name in parameter.opts if name.startswith("--")}
    found = {name.removeprefix("--").replace("-", "_") for name in long} - OF_THE_TERMINAL
    return {OTHER_OPTIONS.get(name, name) for name in found}


def test_a_verb_is_a_public_function_with_the_same_options():
    def is_a_function_with_its_options(verb):
        name = function_of(verb)
        assert name in catseye.__all__, f"{verb} has no function"
        missing = options_of(verb) - names_taken(getattr(catseye, name))
        assert not missing, f"catseye.{name} does not take {sorted(missing)}"

    hold(is_a_function_with_its_options, VERBS)


def test_a_verb_is_a_call_of_that_function():
    defined = [node for path in CLI.glob("*.py") for node in tree(path).body if isinstance(node, ast.FunctionDef)]

    def calls_its_function(verb):
        own = f"{verb.replace(' ', '_').replace('-', '_')}_verb"
        (body,) = [node for node in defined if node.name == own]
        called = {ast.unparse(node.func) for node in ast.walk(body) if isinstance(node, ast.Call)}
        assert f"catseye.{function_of(verb)}" in called

    hold(calls_its_function, VERBS)


def test_every_function_of_the_library_that_works_is_a_verb():
    """What is no verb gives an object to go on with, which a terminal has no use for."""
    functions = {name for name in catseye.__all__ if inspect.isfunction(getattr(catseye, name))}
    of_a_program = {"create_model", "load", "open_run", "preprocess", "show_batch"}
    assert functions - of_a_program == {function_of(verb) for verb in VERBS}


def test_the_test_sees_a_missing_option():
    def train(data, *, epochs=None):
        """Takes less than the verb."""

    assert "recipe" in options_of("train") - names_taken(train)


def test_a_public_function_is_typed_documented_and_takes_options_by_name():
    def is_typed_and_documented(name):
        function = getattr(catseye, name)
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty
        assert len(inspect.getdoc(function)) > 60
        positional = []
        for parameter in signature.parameters.values():
            assert parameter.annotation is not parameter.empty, parameter.name
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                positional.append(parameter.name)
        assert len(positional) <= 2 or name == "preprocess", positional

    hold(is_typed_and_documented, [name for name in catseye.__all__ if inspect.isfunction(getattr(catseye, name))])


def test_public_names_stay_what_they_are_after_every_module_was_imported():
    """`catseye.preprocess` was a function until somebody imported the file of that name."""
    program = (
        "import importlib, inspect, pkgutil, catseye\n"
        "before = {name: getattr(catseye, name) for name in catseye.__all__}\n"
        "for found in pkgutil.iter_modules(catseye.__path__, 'catseye.'):\n"
        "    if found.name != 'catseye.__main__':\n"
        "        importlib.import_module(found.name)\n"
        "from catseye import preprocess\n"
        "assert preprocess is before['preprocess'] and inspect.isfunction(preprocess)\n"
        "changed = [name for name, what in before.items() if getattr(catseye, name) is not what]\n"
        "assert not changed, changed\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "preprocess" in {
        found.name for found in pkgutil.iter_modules(catseye.__path__)
    }  # so it does prove something
