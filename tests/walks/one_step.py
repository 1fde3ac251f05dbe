"""One training step and one evaluation of several set-ups, on one process or as one of several; see test_distributed.

Run as a script with torchrun's environment variables and the file to write as its argument.
"""

import copy
import sys

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from catseye.data.loaders import Share
from catseye.settings.merge import load_settings
from catseye.training.assemble import assemble
from catseye.training.distributed import Processes, join
from catseye.training.request import RunRequest
from catseye.training.session import Workplace, open_session
from catseye.training.step import train_step
from catseye.training.sync_batch_norm import synchronise

AUGMENTED = {
    "augment.rotate_deg": 10, "augment.brightness": 0.2, "augment.contrast": 0.2, "augment.noise_std": 0.02,
    "augment.erase": 0.5, "augment.crop_padding_px": 2,
}  # fmt: skip
PLAIN = {"model.name": "lenet5", "training.batch_size": 128}
NORMS = {
    "model.name": "simple", "model.dropout": 0, "training.batch_size": 33, "data.input_px": 16,
    "training.sync_batch_norm": True,
}  # fmt: skip
CASES: dict[str, dict[str, object]] = {
    "augmented": PLAIN | AUGMENTED,
    "uneven": PLAIN | {"training.batch_size": 33, "training.clip_norm": 0.01, "training.ema_decay": 0.9},
    "parts": PLAIN | AUGMENTED | {"training.accumulate_steps": 3, "training.class_weights": "balanced"},
    "batch norm": NORMS,
    "streamed": PLAIN | {"data.storage": "stream", "data.workers": 0, "training.label_smoothing": 0.1},
}
BASE: dict[str, object] = {"training.optimizer": "sgd", "training.momentum": 0.9, "training.schedule": "constant"}
LAST = {"augmented"}  # of these cases the last, smaller batch as well


def one_step(case: str, processes: Processes, batch_number: int = 0) -> dict[str, Tensor]:
    """Gradients, weights and loss after one step, and the logits of the validation images."""
    values = BASE | CASES[case]
    if batch_number:
        values["training.batch_size"] = 1256  # of 1,259: the last batch has three images, fewer than two for each
    chosen = load_settings("quick", values=values, overrides=["augment.hflip=0"])
    place = Workplace(torch.device("cpu"), Console(quiet=True), processes)
    session = open_session(RunRequest("digits"), chosen, place)
    built = assemble(session)
    state = built.state
    state.model.train()
    before = copy.deepcopy(state.model.state_dict())
    result = train_step(state, next(iter(built.loaders["train"].epoch(0, start=batch_number))))
    outputs = processes.collect(state.model, session.loaders["val"], session.prepared.spec)
    found = {f"gradient {name}": p.grad for name, p in state.model.named_parameters() if p.grad is not None}
    found |= {f"state {name}": value for name, value in state.model.state_dict().items()}
    if state.ema is not None:
        found |= {f"average {name}": value for name, value in state.ema.state_dict().items()}
    assert any(not torch.equal(before[name], value) for name, value in state.model.state_dict().items())
    numbers = [result.loss, result.num_correct, torch.tensor(result.num_images)]
    found |= {f"number {index}": value.double() for index, value in enumerate(numbers)}
    arrays = {"logits": outputs.logits, "labels": outputs.labels, "indices": outputs.indices}
    found |= {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    return {f"{case}, batch {batch_number}: {name}": value.detach().clone() for name, value in found.items()}


def norm_in_float64(processes: Processes) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one batch norm, on 11 images in unequal shares."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((11, 3, 5, 5), generator=generator, dtype=torch.float64) * 3 + 1
    wanted = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    norm[0].weight.data.copy_(torch.tensor([0.5, 1.0, 2.0]))
    if processes.world_size > 1:
        synchronise(norm)
    rows, _ = Share(processes.rank, processes.world_size).cut(np.arange(11))
    mine = x[rows].requires_grad_()
    y = norm(mine)
    (y - wanted[rows]).square().sum().backward()
    parts = {"y": y.detach(), "x": mine.grad}
    found = {
        name: processes.sum(torch.zeros_like(x).index_copy(0, torch.from_numpy(rows), part))
        for name, part in parts.items()
    }
    found |= {f"gradient {name}": processes.sum(p.grad) for name, p in norm.named_parameters()}
    found |= dict(norm.named_buffers())
    return {f"float64: {name}": value.detach().clone() for name, value in found.items()}


def all_steps(processes: Processes) -> dict[str, Tensor]:
    """Every case."""
    found = norm_in_float64(processes)
    for case in CASES:
        found |= one_step(case, processes)
        if case in LAST:
            found |= one_step(case, processes, batch_number=1)
    return found


if __name__ == "__main__":
    mine, _ = join("cpu")
    found = all_steps(mine)
    save_file({name: value.contiguous() for name, value in found.items()}, f"{sys.argv[1]}.{mine.rank}")
