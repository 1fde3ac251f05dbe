"""A call can be read: no function outside of the command line has more than eight parameters."""

import ast

import pytest

from tests.house.rules import FILES, hold, tree

MOST = 8


def num_parameters(arguments: ast.arguments) -> int:
    """Without `self` and `cls`; `*args` and `**kwargs` count one each."""
    named = [one.arg for one in [*arguments.posonlyargs, *arguments.args]]
    if named[:1] in (["self"], ["cls"]):
        named.pop(0)
    return len(named) + len(arguments.kwonlyargs) + sum(one is not None for one in (arguments.vararg, arguments.kwarg))


def too_long(parsed: ast.AST) -> list[str]:
    """Functions, methods and lambdas with more than `MOST` parameters, however deep they stand."""
    return [
        f"line {node.lineno}: {getattr(node, 'name', 'lambda')} has {num_parameters(node.args)} parameters"
        for node in ast.walk(parsed)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and num_parameters(node.args) > MOST
    ]


# A verb's parameters are its options; a template runs elsewhere, on its own.
CALLED = [path for path in FILES if not {"cli", "templates"} & set(path.parts)]


def test_no_function_has_more_than_eight_parameters():
    def takes_few(path):
        assert not too_long(tree(path)), "put what belongs together into a small dataclass"

    hold(takes_few, CALLED)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(a, b, c, d, e, f, g, h): ...", 0),
        ("def f(a, b, c, d, e, f, g, h, i): ...", 1),
        ("class A:\n    def f(self, a, b, c, d, e, f, g, h): ...", 0),
        ("class A:\n    async def f(self, a, /, b, c, d, e, f, g, *, h, i): ...", 1),
        ("def f(a, b, c, d, e, f, g, *rest, **more): ...", 1),
        ("def f():\n    return lambda a, b, c, d, e, f, g, h, i: a", 1),
    ],
)
def test_parameters_of_every_kind_are_counted(source, count):
    assert len(too_long(ast.parse(source))) == count
