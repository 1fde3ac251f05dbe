"""A function becomes a verb: its options, those of the dataclasses it takes, and those that every verb has.

Enters: a function whose parameters typer understands, or dataclasses. Leaves: the function as typer takes it. A field
of a dataclass becomes an option where its metadata has a `help`; an argument, where it has no default. What else
stands in the metadata goes to typer (`min`, `max`, `envvar`, `metavar`, `show_default`); `option` is the option's name
where it is not the field's.
"""

import functools
import inspect
import signal
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from catseye.cli.help import described
from catseye.cli.printing import asked
from catseye.errors import CatseyeError, Interrupted, was_interrupted

Json = Annotated[bool, typer.Option("--json", help="Machine-readable results on stdout, the rest on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def as_verb(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer takes it; `--json` and `--debug` are read here and nowhere else."""
    signature = inspect.signature(function, eval_str=True)
    kinds = {name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += options_of(kinds[name]) if name in kinds else [parameter]
    parameters += [_parameter("as_json", Json, False), _parameter("debug", Debug, False)]
    parameters = [described(one, function.__name__.removesuffix("_verb")) for one in parameters]

    @functools.wraps(function)
    def verb(**values: Any) -> None:
        asked.json, asked.debug = values.pop("as_json"), values.pop("debug")
        built = {name: _build(kind, values) for name, kind in kinds.items()}
        own = {name: values[name] for name in signature.parameters if name not in kinds}
        try:
            function(**own, **built)
        except BaseException as error:
            if isinstance(error, CatseyeError) or not was_interrupted(error):
                raise
            raise Interrupted("stopped by Ctrl-C", signal.SIGINT) from None

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {one.name: one.annotation for one in parameters}
    return verb


def options_of(kind: Any) -> list[inspect.Parameter]:
    """The options that the fields of a dataclass describe, those of dataclasses inside it among them."""
    types = get_type_hints(kind)
    found: list[inspect.Parameter] = []
    for one in fields(kind):
        if is_dataclass(types[one.name]):
            found += options_of(types[one.name])
        elif "help" in one.metadata:
            found.append(_option(one, types[one.name]))
    return found


def _option(one: Field[Any], kind: Any) -> inspect.Parameter:
    told = dict(one.metadata)
    name = told.pop("option", f"--{one.name.replace('_', '-')}")
    if one.default is MISSING:
        return _parameter(one.name, Annotated[kind, typer.Argument(**told)], inspect.Parameter.empty)
    if get_origin(kind) is tuple:  # tuple[str, ...]: an option that may be repeated
        return _parameter(one.name, Annotated[list[get_args(kind)[0]], typer.Option(name, **told)], list(one.default))  # type: ignore[misc]
    if one.default is None:
        told.setdefault("show_default", False)
    return _parameter(one.name, Annotated[kind, typer.Option(name, **told)], one.default)


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    types = get_type_hints(kind)
    inner = {name: _build(types[name], values) for name in types if is_dataclass(types[name])}
    told = {one.name: values[one.name] for one in fields(kind) if one.name in values}
    return kind(**inner, **{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
