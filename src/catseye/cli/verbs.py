"""Turns a function into a verb.

A verb has the function's own options, those of the dataclasses it takes, and those of every verb. Enters: a function
whose parameters are typer's, or dataclasses. Leaves: a function that typer accepts. A field of a dataclass becomes an
option if its metadata has a `help`, an argument if it has no default. Other metadata is passed to typer (`min`, `max`,
`envvar`, `metavar`, `show_default`); `option` names the option if the field's name does not.
"""

import functools
import inspect
import signal
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from catseye.cli.help import described
from catseye.cli.printing import common_options
from catseye.errors import CatseyeError, Interrupted, was_interrupted

Json = Annotated[bool, typer.Option("--json", help="Machine-readable results on stdout, the rest on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def as_verb(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer accepts it; only here are `--json` and `--debug` read."""
    signature = inspect.signature(function, eval_str=True)
    kinds = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += options_of(kinds[name]) if name in kinds else [parameter]
    parameters += [_parameter("as_json", Json, False), _parameter("debug", Debug, False)]
    parameters = [described(parameter, function.__name__.removesuffix("_verb")) for parameter in parameters]

    @functools.wraps(function)
    def verb(**values: Any) -> None:
        common_options.json, common_options.debug = values.pop("as_json"), values.pop("debug")
        built = {name: _build(kind, values) for name, kind in kinds.items()}
        own = {name: values[name] for name in signature.parameters if name not in kinds}
        try:
            function(**own, **built)
        except BaseException as error:
            if isinstance(error, CatseyeError) or not was_interrupted(error):
                raise
            raise Interrupted("stopped by Ctrl-C", signal.SIGINT) from None

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return verb


def options_of(kind: Any) -> list[inspect.Parameter]:
    """The options that the fields of a dataclass describe, also of nested ones."""
    types = get_type_hints(kind)
    parameters: list[inspect.Parameter] = []
    for field in fields(kind):
        if is_dataclass(types[field.name]):
            parameters += options_of(types[field.name])
        elif "help" in field.metadata:
            parameters.append(_option(field, types[field.name]))
    return parameters


def _option(field: Field[Any], kind: Any) -> inspect.Parameter:
    metadata = dict(field.metadata)
    name = metadata.pop("option", f"--{field.name.replace('_', '-')}")
    if field.default is MISSING:
        return _parameter(field.name, Annotated[kind, typer.Argument(**metadata)], inspect.Parameter.empty)
    if get_origin(kind) is tuple:  # tuple[str, ...]: an option that may be repeated
        repeated: Any = Annotated[list[get_args(kind)[0]], typer.Option(name, **metadata)]  # type: ignore[misc]
        return _parameter(field.name, repeated, list(field.default))
    if field.default is None:
        metadata.setdefault("show_default", False)
    return _parameter(field.name, Annotated[kind, typer.Option(name, **metadata)], field.default)


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    inner = {name: _build(types[name], values) for name in types if is_dataclass(types[name])}
    given = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    return kind(**inner, **{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
