"""Which extra has a package: pyproject.toml, the table behind the messages and the imports of the source agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from catseye.errors import _INSTALLED_AS, EXTRA_OF, MissingDependency

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"dev", "docs", "fuzz", "serve-bench"}
NOT_IN_ALL = {"tensorrt", "mlflow", "wandb"}  # an NVIDIA GPU; clients of services, with 20 packages each
COME_WITH_OTHERS = {"markupsafe", "huggingface_hub", "annotated_types"}  # jinja2's, timm's and pydantic's


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements):
    return {normal(re.match(r"[\w.-]+", each)[0]) for each in requirements}


def whole(extra):
    """The packages of an extra, with those of the extras of catseye that it names."""
    found = set()
    for each in EXTRAS[extra]:
        inner = re.match(r"catseye\[([\w,-]+)\]", each)
        found |= set().union(*map(whole, inner[1].split(","))) if inner else names([each])
    return found


INSTALLED = packages_distributions()


def distributions(module):
    """By any name; some extras are not installed where tests run."""
    return {normal(name) for name in (*INSTALLED.get(module, []), _INSTALLED_AS.get(module, module))} | {normal(module)}


@pytest.mark.parametrize("module", EXTRA_OF)
def test_the_extra_that_a_message_names_has_the_package(module):
    assert distributions(module) & names(EXTRAS[EXTRA_OF[module]])
    said = str(MissingDependency(f"{module}.inner"))
    assert f"pip install 'catseye[{EXTRA_OF[module]}]'" in said
    assert names([said.removeprefix("this needs ")]) & distributions(module)


def test_every_package_of_an_extra_is_in_the_table():
    listed = set().union(*map(distributions, EXTRA_OF))
    for extra in EXTRAS.keys() - FOR_DEVELOPERS:
        assert whole(extra) <= listed, extra


def test_every_import_is_of_the_base_install_or_of_an_extra():
    base, strange = names(PROJECT["dependencies"]) | {"pil", "catseye"}, {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in {module.partition(".")[0] for module in modules}:
                if name not in sys.stdlib_module_names and normal(name) not in base and name not in EXTRA_OF:
                    strange[name] = path.name
    assert set(strange) <= COME_WITH_OTHERS, strange


def test_the_path_of_the_readme_needs_one_extra():
    for extra in ("export", "serve", "lab", "deploy", "pretrained"):
        assert whole(extra) <= whole("train")
    for extra in EXTRAS.keys() - FOR_DEVELOPERS - NOT_IN_ALL:
        assert whole(extra) <= whole("all")


def test_a_package_of_no_extra_is_named_itself():
    assert str(MissingDependency("colour_science")).endswith("run: pip install colour_science")
