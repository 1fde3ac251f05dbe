"""Networks of the caller's own: any `nn.Module` behind the contract that all networks here keep.

Enters: a module, a class, or a function that builds one. Leaves: its name, `python:MODULE:NAME`, under which the
registry finds it, and the network with `features` and `head`. Called by training/request.py and, through the registry,
by whatever opens a run.

A model file names such code, and to open it is to run it. So a name leads only to what this process was given, or to a
class of networks in a module that the program has imported itself; nothing is ever imported for a file.
"""

import copy
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from catseye.errors import ModelFileError, UsageError
from catseye.models.registry import Entry, library
from catseye.settings.code_names import import_path

PREFIX = "python"
_GIVEN: dict[str, Any] = {}  # name -> what this process was given under it


class OwnNetwork(nn.Module):
    """A caller's network as `features(x)` and `head(maps)`.

    Where it has both, and they are all of it, they are used as they are. Else its last linear layer becomes the head,
    and what that layer is fed with, (N, F), the features: (N, F, 1, 1). Such features show no place.

    Shape: (N, C, H, W) -> (N, K).
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """`head(features(x))`."""
        logits: Tensor = self.head(self.features(x))
        return logits


class AsMaps(nn.Module):
    """Gives the vectors of a network as maps of one place.

    Shape: (N, F) -> (N, F, 1, 1); maps stay as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = self.network(x)
        return found[:, :, None, None] if found.ndim == 2 else found


def name_of_module(model: Any) -> str:
    """The name of a caller's network, under which it is found from now on.

    Raises:
        UsageError: it is no module, and builds none.

    """
    if not isinstance(model, nn.Module) and not callable(model):
        raise UsageError(
            f"model is a name, an nn.Module, its class, or a function that builds one; got {type(model).__name__}"
        )
    name = f"{PREFIX}:{import_path(model)}"
    _GIVEN[name] = model
    return name


@library(PREFIX)
def find_own(name: str) -> Entry:
    """The entry of `python:MODULE:NAME`.

    Raises:
        ModelFileError: this process does not know it.

    """
    known = _GIVEN.get(name)
    if known is None:
        known = _imported(name)

    def build(
        *, num_classes: int, in_channels: int, input_px: int, shape_px: tuple[int, int], last: str = ""
    ) -> nn.Module:
        side = input_px if shape_px[0] == shape_px[1] else shape_px
        return build_own(known, num_classes=num_classes, in_channels=in_channels, input_px=side, last=last)

    return Entry(name, build, 0, "the caller's own", name, ("last",), PREFIX)


def _imported(name: str) -> Any:
    """A class of networks in a module that the program has imported."""
    module, _, qualified = name.partition(":")[2].partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ModelFileError(
            f"this network is Python code, {module}:{qualified}, and catseye imports none for a file; do it in your "
            f"program, `import {module}`, before you open it, or give the class: model={qualified}"
        )
    return found


def build_own(
    known: Any, *, num_classes: int, in_channels: int, input_px: int | tuple[int, int], last: str = ""
) -> nn.Module:
    """The network, with a head for so many classes; `last` names its last linear layer, else that is found.

    A class or function is called with those of `num_classes`, `in_channels` and `input_px` that it takes. A module that
    was given as an object is copied, so that every run begins with the weights that it came with.

    Raises:
        UsageError: it cannot be built, or has no linear layer that gives the logits.

    """
    if isinstance(known, nn.Module):
        model = copy.deepcopy(known)
    else:
        model = _called(known, {"num_classes": num_classes, "in_channels": in_channels, "input_px": input_px})
    if not last and _keeps_the_contract(model, in_channels, input_px):
        return model
    name = last or _last_linear(model)
    try:
        linear = model.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise UsageError(
            f"model.last names the linear layer that gives the logits; got {name!r}; linear layers: "
            f"{', '.join(each for each, one in model.named_modules() if isinstance(one, nn.Linear)) or 'none'}"
        )
    head = linear
    if linear.out_features != num_classes:
        head = nn.Linear(linear.in_features, num_classes, bias=linear.bias is not None)
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, own, nn.Identity())
    return OwnNetwork(AsMaps(model), nn.Sequential(nn.Flatten(1), head))


def _called(build: Callable[..., Any], task: dict[str, Any]) -> nn.Module:
    try:
        parameters = inspect.signature(build).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        model = build(**{name: value for name, value in task.items() if takes_all or name in parameters})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{import_path(build)} is called with those of {', '.join(task)} that it takes, and with nothing else; it "
            f"said: {error}; give a function that builds the network, or the module itself"
        ) from None
    if not isinstance(model, nn.Module):
        raise UsageError(f"{import_path(build)} builds an nn.Module; got {type(model).__name__}")
    return model


def _keeps_the_contract(model: nn.Module, in_channels: int, input_px: int | tuple[int, int]) -> bool:
    """Whether it is `head(features(x))` and nothing else; asked of one image, where it has memory."""
    children = dict(model.named_children())
    if set(children) != {"features", "head"}:
        return False
    if any(one.is_meta for one in model.parameters()):
        return True
    height, width = (input_px, input_px) if isinstance(input_px, int) else input_px
    training = model.training
    state = torch.get_rng_state()  # what is drawn after this stays as it would be without
    x = torch.rand(1, in_channels, height, width)
    torch.set_rng_state(state)
    model.eval()
    try:
        with torch.no_grad():
            maps = children["features"](x)
            return bool(maps.ndim == 4) and torch.allclose(model(x), children["head"](maps), atol=1e-5)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"{type(model).__name__} cannot take an image of {in_channels} x {height} x {width}: {error}"
        ) from None
    finally:
        model.train(training)


def _last_linear(model: nn.Module) -> str:
    names = [name for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    if not names or not names[-1]:
        raise UsageError(
            "a network of your own has `features` and `head`, or a linear layer that gives the logits; "
            f"{type(model).__name__} has neither"
        )
    return str(names[-1])
