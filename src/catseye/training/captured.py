"""The training step of step.py as one CUDA graph, without the CPU in between.

Enters: batches. Leaves: `StepResult`s, some steps late. Called by `fit.py` instead of `train_step`, if `run_folder.py`
found a GPU. The body of the graph is ordinary code over fixed buffers, so a CPU can run the same step without a graph;
the tests compare it with `train_step` that way.

Whatever changes from step to step is in tensors that the CPU fills before a launch: pixels, labels, numbers, epoch,
rates, momentum, the average's decay. Everything random comes from generators that are registered with the graph and
seeded for every step from (seed, step), as in `train_step`. The loss is read once it has arrived. A step whose loss or
gradient is not finite changes nothing, nor does any later one: when the CPU learns of it, the state is the one before.

Source: torch's documentation, "CUDA Graphs": static inputs, warm-up on a side stream, no synchronisation, registered
generators.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from catseye.data.augment import RowGenerator, augment_batch, resize_batch
from catseye.data.loaders import Batch, send_to
from catseye.data.mixing import mix_batch
from catseye.errors import TrainingError
from catseye.seeds import derive
from catseye.training.muon import Muon
from catseye.training.step import StepResult, TrainState, learn_part, train_step, why_diverged
from catseye.training.updates import Update, make_update

LATE = 8  # steps that the CPU may be ahead of the results it has read
RING = 4 * LATE  # rows in pinned memory; each is reused long after its copy has ended
WARM_UP = 3


@dataclass
class _Flight:
    """A step that was launched and whose result has not been read.

    It has its row of the ring, and its batch.
    """

    row: int
    step: int  # steps done before it
    place: int
    num_images: int
    arrived: Any  # torch.cuda.Event, None on a CPU


def why_not_captured(state: TrainState) -> str:
    """The reason why the step cannot be captured; "" if it can."""
    if state.parallel is not None or state.processes.world_size > 1:
        return "several processes train together"
    if not isinstance(state.optimizer, SGD | Muon):
        return f"the optimizer is {type(state.optimizer).__name__}, and only SGD and Muon are captured"
    if state.augment.mixup_alpha and state.augment.cutmix_alpha:
        return "the CPU draws whether a batch gets MixUp or CutMix"
    return ""


class CapturedSteps:
    """Steps over fixed buffers; with `graphs`, each kind of step is captured once.

    A batch of another size than the first one (the last of an epoch) is left to `train_step`.
    """

    def __init__(
        self, state: TrainState, *, graphs: bool, late: int = LATE, say: Callable[[str], None] | None = None
    ) -> None:
        self.state, self.graphs, self.late = state, graphs, late
        self._say = say or (lambda sentence: None)
        self._eager = False  # set when capturing failed: `train_step` then takes all steps
        self._buffers: _Fixed | None = None
        self._launch: dict[bool, Any] = {}
        self._flying: deque[_Flight] = deque()

    def take(self, batch: Batch) -> list[StepResult]:
        """Learn from a batch; returns the results known so far.

        Raises:
            Diverged: a loss or gradient some steps ago was not finite; the state is the one before that step.

        """
        s = self.state
        small = batch.pixels.dtype == torch.uint8 and s.step < s.small_until
        if self._buffers is None and not self._eager:
            self._buffers = self._prepare(batch)
        fixed = self._buffers
        if fixed is None or self._eager or not fixed.fits(batch):
            return self._take_eagerly(batch)
        if self.graphs and small not in self._launch:
            results = self.finish()  # no step may run while the state is copied and restored
            if self._flying:
                return results
            fixed.fill(batch, s)
            self._launch[small] = self._capture(fixed, small)
            return [*results, *self.take(batch)]
        fixed.fill(batch, s)
        fixed.seed(s)
        if self.graphs:
            self._launch[small].replay()
        else:
            fixed.step(s, small)
        row = s.step % RING
        self._flying.append(_Flight(row, s.step, batch.place, batch.num_images, fixed.send_back(row)))
        s.step += 1
        return self._read_results(fixed, self.late)

    def finish(self) -> list[StepResult]:
        """Wait for all launched steps; call it until it returns nothing.

        It raises what `take` would.
        """
        return self._read_results(self._buffers, 0) if self._buffers is not None else []

    def _take_eagerly(self, batch: Batch) -> list[StepResult]:
        results = self.finish()
        # A step still in flight has failed; the next call raises that, and this batch is not learnt from.
        return results if self._flying else [*results, train_step(self.state, batch)]

    def _read_results(self, fixed: "_Fixed", late: int) -> list[StepResult]:
        results: list[StepResult] = []
        while len(self._flying) > late:
            flight = self._flying[0]
            if flight.arrived is not None:
                flight.arrived.synchronize()
            loss, num_correct, norm, alive = fixed.ring[flight.row].clone().unbind()
            if not alive:
                if results:
                    return results  # these first; the next call raises the error
                self._flying.clear()
                self.state.step = flight.step
                fixed.alive.fill_(True)
                raise why_diverged(float(loss), float(norm), flight.step, self.state.schedule(flight.step)[0])
            self._flying.popleft()
            result = StepResult(loss.float(), num_correct.long(), flight.num_images, flight.place, flight.step + 1)
            results.append(result)
        return results

    def _give_up(self, error: Exception) -> None:
        self._eager = True
        self._say(f"- steps are not captured as a graph: {_first_words(error)}")

    def _prepare(self, batch: Batch) -> "_Fixed | None":
        kept = _kept(self.state)
        try:
            return _Fixed(self.state, batch)
        except (RuntimeError, TrainingError) as error:
            self._give_up(error)
            return None
        finally:
            _restore(self.state, kept)

    def _capture(self, buffers: "_Fixed", small: bool) -> Any:
        """The graph of one kind of step; the state is restored after the warm-up."""
        s = self.state
        kept = _kept(s)
        graph = torch.cuda.CUDAGraph()
        try:
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):  # first-use allocation and compilation must happen before the capture
                    buffers.seed(s)
                    buffers.step(s, small)
            torch.cuda.current_stream().wait_stream(beside)
            buffers.alive.fill_(True)
            graph.register_generator_state(buffers.generator)
            # During the capture, other threads (one pins batches) may make calls that this thread must not.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                buffers.step(s, small)
        except RuntimeError as error:
            self._give_up(error)
        _restore(s, kept)
        buffers.alive.fill_(True)
        return graph


class _Fixed:
    """The buffers of a batch and the body of the step, which never waits."""

    def __init__(self, state: TrainState, batch: Batch) -> None:
        device = batch.pixels.device
        self.pixels, self.labels = batch.pixels.clone(), batch.labels.clone()
        self.indices = torch.zeros(len(batch.labels), dtype=torch.int64, device=device)
        self.generator = RowGenerator(device)
        self.alive = torch.ones((), dtype=torch.bool, device=device)
        self.report = torch.zeros(4, dtype=torch.float64, device=device)
        pinned = device.type == "cuda"
        self.ring = torch.zeros(RING, 4, dtype=torch.float64, pin_memory=pinned)
        # epoch, momentum, decay of the weight average, a learning rate per group
        self.values = torch.zeros(3 + len(state.groups), dtype=torch.float64, device=device)
        self._sent = torch.zeros(RING, len(self.values), dtype=torch.float64, pin_memory=pinned)
        self.fill(batch, state)
        self.seed(state)
        self._lay_out_gradients(state)

    def _lay_out_gradients(self, s: TrainState) -> None:
        """One block of memory for the gradients of all parameters that have one."""
        s.optimizer.zero_grad(set_to_none=True)
        self._learn(s, small=False)
        trained = [p for p in s.model.parameters() if p.grad is not None]
        self.flat = torch.zeros(sum(p.numel() for p in trained), dtype=trained[0].dtype, device=trained[0].device)
        at = 0
        self.gradients: list[Tensor] = []
        for p in trained:
            # With the parameter's layout; channels-last kernels are dense as well.
            self.gradients.append(self.flat.as_strided(p.size(), p.stride(), at))
            at += p.numel()
        self._trained = trained
        self.update: Update = make_update(s.optimizer, trained)

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the shape of the buffers."""
        return batch.pixels.shape == self.pixels.shape and batch.pixels.dtype == self.pixels.dtype

    def fill(self, batch: Batch, s: TrainState) -> None:
        """Fill the buffers for this step."""
        self.pixels.copy_(batch.pixels, non_blocking=True)
        self.labels.copy_(batch.labels, non_blocking=True)
        self.indices.copy_(send_to(batch.indices, self.indices.device), non_blocking=True)
        scheduled_rate, momentum = s.schedule(s.step)
        rates = [its.rate(scheduled_rate, s.step) for its in s.groups]
        for group, rate in zip(s.optimizer.param_groups, rates, strict=True):  # for checkpoints and `train_step`
            group["lr"] = rate
            if "momentum" in group:
                group["momentum"] = momentum
        decay = s.ema.decay_at(s.step) if s.ema is not None else 0.0
        row = self._sent[s.step % RING]
        row.copy_(torch.tensor([batch.epoch, momentum, decay, *rates], dtype=torch.float64))
        self.values.copy_(row, non_blocking=True)

    def seed(self, s: TrainState) -> None:
        """Seed all random numbers of this step from (seed, step)."""
        self.generator.manual_seed(derive(s.seed, "augment", s.step))
        torch.manual_seed(derive(s.seed, "dropout", s.step) + s.processes.rank)

    def send_back(self, row: int) -> Any:
        """Copy the report to the CPU; returns the event that marks its arrival."""
        self.ring[row].copy_(self.report, non_blocking=True)
        if self.report.device.type != "cuda":
            return None
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return arrived

    def step(self, s: TrainState, small: bool) -> None:
        """The whole step: what `train_step` does, with tensors instead of numbers."""
        epoch_momentum_decay, rates = self.values[:3], self.values[3:]
        before = [buffer.clone() for buffer in s.model.buffers()]
        self.flat.zero_()
        for p, gradient in zip(self._trained, self.gradients, strict=True):
            p.grad = gradient
        loss, num_correct = self._learn(s, small=small)
        norm = nn.utils.get_total_norm(self.gradients)
        self.alive.logical_and_((loss + norm).isfinite())
        self.flat.masked_fill_(~self.alive, 0.0)
        for live, kept in zip(s.model.buffers(), before, strict=True):
            live.copy_(torch.where(self.alive, live, kept))
        if s.clip_norm:
            finite_norm = torch.where(self.alive, norm, torch.zeros_like(norm))
            nn.utils.clip_grads_with_norm_(self._trained, s.clip_norm, finite_norm)
        self.update(self.gradients, rates, epoch_momentum_decay[1], self.alive)
        if s.ema is not None:
            s.ema.update_by(s.model, epoch_momentum_decay[2], self.alive)
        values = [loss, num_correct, norm, self.alive]
        self.report.copy_(torch.stack([each.double() for each in values]))

    def _learn(self, s: TrainState, *, small: bool) -> tuple[Tensor, Tensor]:
        """Augment, mix, forward, loss, backward; returns mean loss and correct answers.

        Both results are on the device.
        """
        x = self.pixels  # (N, C, H, W)
        if x.dtype == torch.uint8:
            x = augment_batch(x, s.augment, s.spec, self.generator, indices=self.indices, epoch=self.values[0])
            if small:
                x = resize_batch(x, s.small_px)
        x, targets = mix_batch(x, self.labels, s.augment, s.num_classes, self.generator)
        mass = s.criterion.mass(targets)
        num_rows = torch.full_like(mass, len(targets))
        loss = num_correct = torch.zeros((), device=x.device)
        for x_part, target_part in zip(x.tensor_split(s.num_parts), targets.tensor_split(s.num_parts), strict=True):
            part_loss, part_correct = learn_part(s, x_part, target_part, mass, num_rows)
            loss, num_correct = loss + part_loss, num_correct + part_correct
        return loss, num_correct


def _kept(s: TrainState) -> list[tuple[Tensor, Tensor]]:
    """Every tensor that a step changes, and a copy of it."""
    live = [*s.model.parameters(), *s.model.buffers()]
    live += list(s.ema.state_dict().values()) if s.ema is not None else []
    live += [value for state in s.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [(tensor, tensor.detach().clone()) for tensor in live]


@torch.no_grad()
def _restore(s: TrainState, kept: list[tuple[Tensor, Tensor]]) -> None:
    known = {id(live) for live, _ in kept}
    for live, copy in kept:
        live.copy_(copy)
    for state in s.optimizer.state.values():  # created by the warm-up: they start at 0
        for value in state.values():
            if isinstance(value, Tensor) and id(value) not in known:
                value.zero_()
    s.optimizer.zero_grad(set_to_none=True)


def _first_words(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def choose_captured(
    state: TrainState, device: torch.device, *, wanted: bool, say: Callable[[str], None]
) -> CapturedSteps | None:
    """Captured steps, if this is a GPU and they are `wanted`.

    If they are impossible, `say` gets the reason.
    """
    if device.type != "cuda" or not wanted:
        return None
    if reason := why_not_captured(state):
        say(f"- steps are not captured as a graph: {reason}")
        return None
    return CapturedSteps(state, graphs=True, say=say)
