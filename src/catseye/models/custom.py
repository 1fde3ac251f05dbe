"""Networks of the caller's own: any `nn.Module` behind the common contract.

Enters: a module, a class, or a function that builds one. Leaves: its name, `python:MODULE:NAME`, under which the
registry finds it, and the network with `features` and `head`. Called by training/request.py and, through the registry,
by every reader of runs.

A model file names such code, and opening the file runs the code. So a name resolves only to a network that the caller
passed in this process, or to a class in a module that the program has imported itself; nothing is imported for a file.
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
_PASSED: dict[str, Any] = {}  # name -> the network, class or function that the caller passed


class OwnNetwork(nn.Module):
    """A caller's network as `features(x)` and `head(maps)`.

    Its last linear layer becomes the head; the input of that layer, (N, F), becomes the features, (N, F, 1, 1), which
    have no spatial resolution.

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
    """Turns the vectors that a network returns into maps of 1 x 1.

    Shape: (N, C, H, W) -> (N, F, 1, 1), or the maps (N, F, h, w).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        vectors: Tensor = self.network(x)
        return vectors[:, :, None, None] if vectors.ndim == 2 else vectors


def name_of_module(model: Any) -> str:
    """Register a caller's network and return its name.

    Raises:
        UsageError: it is neither a module nor callable.

    """
    if not isinstance(model, nn.Module) and not callable(model):
        raise UsageError(
            f"model must be a name, an nn.Module, its class, or a function that builds one; got {type(model).__name__}"
        )
    name = f"{PREFIX}:{import_path(model)}"
    _PASSED[name] = model
    return name


@library(PREFIX)
def find_own(name: str) -> Entry:
    """The entry of `python:MODULE:NAME`.

    Raises:
        ModelFileError: this process has neither got nor imported it.

    """
    definition = _PASSED.get(name)
    if definition is None:
        definition = _imported(name)

    def build(
        *, num_classes: int, in_channels: int, input_px: int, shape_px: tuple[int, int], last: str = ""
    ) -> nn.Module:
        side = input_px if shape_px[0] == shape_px[1] else shape_px
        return build_own(definition, num_classes=num_classes, in_channels=in_channels, input_px=side, last=last)

    return Entry(name, build, 0, "the caller's own", name, ("last",), PREFIX)


def _imported(name: str) -> Any:
    """A class of networks in a module that the program has imported."""
    module, _, qualified = name.partition(":")[2].partition(":")
    member: Any = sys.modules.get(module)
    for part in qualified.split("."):
        member = getattr(member, part, None)
    if not (inspect.isclass(member) and issubclass(member, nn.Module)):
        raise ModelFileError(
            f"this network is Python code, {module}:{qualified}, and catseye imports no code for a file; `import "
            f"{module}` in your program before you open it, or pass the class: model={qualified}"
        )
    return member


def build_own(
    definition: Any, *, num_classes: int, in_channels: int, input_px: int | tuple[int, int], last: str = ""
) -> nn.Module:
    """The network of a module, class or function, with a head for `num_classes`.

    A network whose only parts are `features` and `head` stays as it is. Of any other, `last` names the linear layer
    that becomes the head; by default its last one. A class or function is called with those of `num_classes`,
    `in_channels` and `input_px` that it accepts. A module is copied, so that every run begins with the weights it had.

    Raises:
        UsageError: it cannot be built, or has no linear layer that gives the logits.

    """
    if isinstance(definition, nn.Module):
        model = copy.deepcopy(definition)
    else:
        model = _call(definition, {"num_classes": num_classes, "in_channels": in_channels, "input_px": input_px})
    if not last and _keeps_the_contract(model, in_channels, input_px):
        return model
    name = last or _last_linear(model)
    try:
        linear = model.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise UsageError(
            f"model.last must name the linear layer that gives the logits; got {name!r}; linear layers: "
            f"{', '.join(_linear_names(model)) or 'none'}"
        )
    head = linear
    if linear.out_features != num_classes:
        head = nn.Linear(linear.in_features, num_classes, bias=linear.bias is not None)
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, own, nn.Identity())
    return OwnNetwork(AsMaps(model), nn.Sequential(nn.Flatten(1), head))


def _call(build: Callable[..., Any], task: dict[str, Any]) -> nn.Module:
    try:
        parameters = inspect.signature(build).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        model = build(**{name: value for name, value in task.items() if takes_all or name in parameters})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{import_path(build)} is called with those of {', '.join(task)} that it accepts, and with nothing else; "
            f"the call failed: {error}; pass a function that builds the network, or the module itself"
        ) from None
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{import_path(build)} must return an nn.Module; got {type(model).__name__}; pass the module itself"
        )
    return model


def _keeps_the_contract(model: nn.Module, in_channels: int, input_px: int | tuple[int, int]) -> bool:
    """Whether it is `head(features(x))` and nothing else.

    This is checked with one image, unless the network is on the meta device.
    """
    children = dict(model.named_children())
    if set(children) != {"features", "head"}:
        return False
    if any(parameter.is_meta for parameter in model.parameters()):
        return True
    height, width = (input_px, input_px) if isinstance(input_px, int) else input_px
    training = model.training
    state = torch.get_rng_state()  # so that this draw does not change later ones
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
    names = _linear_names(model)
    if not names or not names[-1]:
        raise UsageError(
            "a network of your own needs `features` and `head`, or a linear layer that gives the logits; "
            f"{type(model).__name__} has neither"
        )
    return names[-1]


def _linear_names(model: nn.Module) -> list[str]:
    return [str(name) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
