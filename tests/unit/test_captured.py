"""The captured step without a graph, over its fixed buffers: the same step as its twin's, on a CPU."""

import copy

import pytest
import torch
from torch import nn

from catseye.data.augment import RowGenerator, augment_batch, channel_values
from catseye.data.loaders import Batch
from catseye.data.mixing import mix_batch
from catseye.errors import Diverged
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.settings.schema import AugmentSettings, TrainingSettings
from catseye.training import captured as captured_module
from catseye.training import muon, run_folder
from catseye.training.captured import CapturedSteps, choose_captured, why_not_captured
from catseye.training.ema import EMA
from catseye.training.losses import Criterion
from catseye.training.muon import orthogonalise, orthogonalise_batched
from catseye.training.optimizers import make_optimizer, plain_groups
from catseye.training.schedules import make_schedule
from catseye.training.step import TrainState, train_step
from catseye.training.train import train

K = 4
SGD = {"optimizer": "sgd", "lr": 0.01, "schedule": "onecycle", "weight_decay": 0.01}
FLIPS = {"hflip": 0.5, "hflip_alternate": True, "crop_padding_px": 2, "crop_padding": "reflect"}
CASES = {
    "plain": ("simple", {**SGD, "momentum": 0.0, "schedule": "constant"}, {}),
    "classic": ("simple", {**SGD, "cycle_momentum": True, "clip_norm": 0.5}, {"hflip": 0.5, "brightness": 0.2}),
    "nesterov": ("simple", {**SGD, "nesterov": True, "ema_decay": 0.9}, {"rotate_deg": 10, "noise_std": 0.1}),
    "muon": ("speednet", {"optimizer": "muon", "lr": 0.02, "vector_lr": 0.05, "schedule": "linear"}, FLIPS),
    "small": ("speednet", {"optimizer": "muon", "lr": 0.02, "vector_lr": 0.05, "small_px": 16}, {"erase": 0.5}),
    "mixup": ("simple", {**SGD, "label_smoothing": 0.1}, {"mixup_alpha": 0.4}),
    "cutmix": ("simple", SGD, {"cutmix_alpha": 1.0, "saturation": 0.3, "contrast": 0.3}),
    "parts": ("simple", {**SGD, "accumulate_steps": 3, "class_weights": "balanced"}, {}),
}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Muon's products in fp32 here as well: in bf16 the last bit of a gradient decides what is seen."""
    monkeypatch.setattr(muon, "choose_precision", lambda name, device: None)


def make_state(case, device="cpu"):
    name, values, augmented = CASES[case]
    settings = TrainingSettings(epochs=2, **values)
    torch.manual_seed(0)
    more = {"width": 0.125} if name == "speednet" else {}
    model = registry.create(name, num_classes=K, in_channels=3, input_px=20, **more).train()
    model = model.to(device, memory_format=torch.channels_last)
    groups = plain_groups(model, settings)
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0], device=device) if "class_weights" in values else None
    criterion = Criterion(weights, settings.label_smoothing)
    spec = Preprocessing(height_px=20, width_px=20, mean=(0.5,) * 3, std=(0.25,) * 3)
    return TrainState(
        model, make_optimizer(groups, settings), make_schedule(settings, 4), criterion,
        AugmentSettings(**augmented), spec, K, 7,
        clip_norm=settings.clip_norm, small_px=settings.small_px, small_until=3 if settings.small_px else 0,
        ema=EMA(model, settings.ema_decay) if settings.ema_decay else None, num_parts=settings.accumulate_steps,
        groups=groups,
    )  # fmt: skip


def batches(device="cpu", epochs=2):
    """Three batches of 12 and one of 5, as an epoch has them."""
    generator = torch.Generator().manual_seed(5)
    for epoch in range(epochs):
        for place in range(4):
            num = 5 if place == 3 else 12
            pixels = torch.randint(0, 256, (num, 20, 20, 3), generator=generator, dtype=torch.uint8).to(device)
            labels = torch.randint(0, K, (num,), generator=generator).to(device)
            indices = torch.randint(0, 1000, (num,), generator=generator)
            yield Batch(pixels.permute(0, 3, 1, 2), labels, indices, epoch, place, 0, num)


def whole_state(s):
    tensors = dict(s.model.state_dict())
    tensors |= {f"ema.{name}": value for name, value in (s.ema.state_dict() if s.ema else {}).items()}
    for number, p in enumerate(p for group in s.optimizer.param_groups for p in group["params"]):
        buffer = s.optimizer.state[p].get("momentum_buffer") if p in s.optimizer.state else None
        if buffer is not None:
            tensors[f"momentum.{number}"] = buffer
    return {name: value.detach().clone().cpu() for name, value in tensors.items()}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, msg=lambda said, name=name: f"{name}: {said}", **tolerance)


def compare_twins(case, device="cpu", *, graphs=False, **tolerance):
    eager, captured = make_state(case, device), make_state(case, device)
    expected = [train_step(eager, batch) for batch in batches(device)]
    steps, found = CapturedSteps(captured, graphs=graphs, say=pytest.fail), []
    for batch in batches(device):
        found += steps.take(batch)
    while results := steps.finish():
        found += results
    assert [(each.place, each.step, each.num_images) for each in found] == [
        (each.place, each.step, each.num_images) for each in expected
    ]
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.loss.cpu(), its.loss.cpu(), **tolerance)
    assert captured.step == eager.step == 8
    assert_same(whole_state(eager), whole_state(captured), **tolerance)
    return found, expected


@pytest.mark.parametrize("case", CASES)
def test_both_twins_take_the_same_steps(case):
    found, expected = compare_twins(case, rtol=2e-4, atol=2e-5)
    assert [int(each.num_correct) for each in found] == [int(each.num_correct) for each in expected]


def test_results_come_late_in_order_and_once():
    state = make_state("classic")
    steps, seen = CapturedSteps(state, graphs=False, late=2), []
    one = next(batches())
    for number in range(6):
        found = steps.take(Batch(one.pixels, one.labels, one.indices, 0, number, 0, 12))
        assert state.step == number + 1
        assert [each.place for each in found] == ([number - 2] if number >= 2 else [])
        seen += found
    seen += steps.finish()
    assert [each.step for each in seen] == [1, 2, 3, 4, 5, 6]
    assert steps.finish() == []


@pytest.fixture
def not_finite(monkeypatch):
    """`not_finite(5)`: the fifth batch of full size gives a loss that is no number."""

    def at(number):
        real, calls = captured_module.learn_part, []

        def learn_part(s, x, *rest):
            calls.append(len(x))
            return real(s, x * float("nan") if len(calls) == number + 1 else x, *rest)  # the first one lays out buffers

        monkeypatch.setattr(captured_module, "learn_part", learn_part)

    return at


@pytest.mark.parametrize("case", ["classic", "nesterov", "muon"])
@pytest.mark.parametrize("late", [0, 2, 8])
def test_a_loss_that_is_no_number_stops_with_the_state_before_it(case, late, not_finite):
    not_finite(3)
    state, expected = make_state(case), make_state(case)
    one = next(batches())
    for _ in range(2):
        train_step(expected, one)
    steps, found = CapturedSteps(state, graphs=False, late=late), []
    with pytest.raises(Diverged, match=r"the loss became nan at step 2 \(learning rate"):
        found.extend(result for _ in range(20) for result in steps.take(one))
    assert [each.step for each in found] == [1, 2]
    assert state.step == 2
    assert_same(whole_state(expected), whole_state(state), rtol=2e-4, atol=2e-5)
    assert steps.finish() == []
    state.optimizer.zero_grad()
    assert torch.isfinite(train_step(state, one).loss)  # and it can go on


def test_the_last_smaller_batch_does_not_pass_a_step_that_failed(not_finite):
    not_finite(3)
    state = make_state("classic")
    steps, all_batches = CapturedSteps(state, graphs=False), list(batches())
    for batch in all_batches[:3]:
        steps.take(batch)
    found = steps.take(all_batches[3])  # two good ones are told first
    assert [each.step for each in found] == [1, 2]
    with pytest.raises(Diverged, match="at step 2"):
        steps.finish()
    assert state.step == 2


# --- in a whole run -----------------------------------------------------------------------------------------------


@pytest.fixture
def without_graphs(monkeypatch):
    monkeypatch.setattr(
        run_folder, "choose_captured", lambda state, device, *, wanted, say: CapturedSteps(state, graphs=False)
    )


def short_run(data, out, **more):
    settings = {"training.batch_size": 8, "training.optimizer": "sgd", "training.lr": 0.02, "augment.hflip": 0.5}
    return train(data, recipe="quick", model="lenet5", epochs=2, seed=1, out=out, device="cpu",
                 settings=settings | more)  # fmt: skip


def test_a_run_is_the_same_with_either_twin(images, tmp_path, without_graphs, monkeypatch):
    data = images({"cat": 20, "dog": 20}, height=32, width=32)
    captured = short_run(data, tmp_path / "captured").run
    monkeypatch.undo()
    eager = short_run(data, tmp_path / "eager").run
    for mine, its in zip(captured.history, eager.history, strict=True):
        assert mine["train_loss"] == pytest.approx(its["train_loss"], rel=1e-4)
        assert mine["train_accuracy"] == its["train_accuracy"]
        assert mine["val_loss"] == pytest.approx(its["val_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_network_learns_the_same(images, tmp_path, backend, monkeypatch):
    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: real(self, backend=backend))
    data = images({"cat": 20, "dog": 20}, height=32, width=32)
    plain = short_run(data, tmp_path / "plain").run
    compiled = short_run(data, tmp_path / "compiled", **{"training.compile": True}).run
    for mine, its in zip(compiled.history, plain.history, strict=True):
        assert mine["train_loss"] == pytest.approx(its["train_loss"], rel=1e-3)


def test_a_run_that_diverges_is_saved_before_the_step(images, tmp_path, without_graphs, not_finite):
    not_finite(4)
    data = images({"cat": 40, "dog": 40}, height=32, width=32)
    with pytest.raises(Diverged, match=r"at step 3 .*The last good state is saved"):
        short_run(data, tmp_path / "run")
    from catseye.runs import CHECKPOINT_FILE
    from catseye.tensor_files import read_tensors

    tensors, said = read_tensors(tmp_path / "run" / CHECKPOINT_FILE, sealed=True)
    assert '"batch":3' in said["position"]
    assert '"step":3' in said["position"]
    assert all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


# --- which twin ---------------------------------------------------------------------------------------------------


def test_a_cpu_takes_the_eager_step():
    state = make_state("classic")
    assert choose_captured(state, torch.device("cpu"), wanted=True, say=pytest.fail) is None


def test_what_cannot_be_captured_is_told():
    state, said = make_state("classic"), []
    cuda = torch.device("cuda")
    assert why_not_captured(state) == ""
    assert choose_captured(state, cuda, wanted=False, say=pytest.fail) is None
    state.augment = AugmentSettings(mixup_alpha=1, cutmix_alpha=1)
    assert choose_captured(state, cuda, wanted=True, say=said.append) is None
    state.augment = AugmentSettings()
    state.optimizer = torch.optim.AdamW(state.model.parameters())
    assert choose_captured(state, cuda, wanted=True, say=said.append) is None
    assert said == [
        "- steps are not captured as a graph: the CPU draws whether a batch gets MixUp or CutMix",
        "- steps are not captured as a graph: the optimizer is AdamW, and only SGD and Muon are captured",
    ]


def test_where_capturing_fails_the_eager_twin_takes_over(monkeypatch):
    state, expected, said = make_state("muon"), make_state("muon"), []

    def no_memory(self, s):
        self._learn(s, small=False)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GB\nmore words")

    monkeypatch.setattr(captured_module._Fixed, "_lay_out_gradients", no_memory)
    steps, found = CapturedSteps(state, graphs=True, say=said.append), []
    for batch in batches():
        found += steps.take(batch)
    assert said == ["- steps are not captured as a graph: CUDA out of memory. Tried to allocate 2 GB"]
    for batch in batches():
        train_step(expected, batch)
    assert len(found) == 8
    assert_same(whole_state(expected), whole_state(state), rtol=0, atol=0)


# --- what it rests on ---------------------------------------------------------------------------------------------


AUGMENTED = AugmentSettings(
    crop_padding_px=2, hflip=0.5, rotate_deg=15, brightness=0.3, contrast=0.3, saturation=0.3, noise_std=0.1, erase=0.5
)


def test_what_happens_to_an_image_depends_on_its_row_not_on_who_computes_it():
    spec = Preprocessing(height_px=20, width_px=20, mean=(0.5,) * 3, std=(0.25,) * 3)
    pixels = next(batches()).pixels

    def augmented(first, last):
        generator = RowGenerator()
        generator.manual_seed(3)
        generator.first, generator.total = first, len(pixels)
        return augment_batch(pixels[first:last], AUGMENTED, spec, generator)

    whole = augmented(0, 12)
    for first, last in ((0, 4), (4, 5), (5, 12)):
        torch.testing.assert_close(augmented(first, last), whole[first:last])


def test_a_registered_generator_seeded_anew_draws_the_same():
    """What CapturedSteps does before every launch: nothing that was drawn before matters."""
    spec, generator = Preprocessing(height_px=20, width_px=20, mean=(0.5,) * 3, std=(0.25,) * 3), RowGenerator()
    one = next(batches())
    drawn = []
    for _ in range(2):
        generator.manual_seed(11)
        x = augment_batch(one.pixels, AUGMENTED, spec, generator)
        drawn.append(mix_batch(x, one.labels, AugmentSettings(mixup_alpha=0.5), K, generator)[0])
    assert torch.equal(*drawn)


def test_kernels_of_one_shape_are_orthogonalised_together():
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 8, 3, 3), (8, 16), (16, 8, 3, 3), (40, 2, 2, 2), (16, 72)]
    kernels = [torch.randn(shape, generator=generator) for shape in shapes]
    for kernel, found in zip(kernels, orthogonalise_batched(kernels), strict=True):
        assert found.shape == kernel.shape
        wanted = orthogonalise(kernel.flatten(1)).view_as(kernel)
        torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)


def test_constants_that_are_kept_can_be_learnt_through():
    x = torch.ones(1, 3, 2, 2, requires_grad=True)
    with torch.inference_mode():
        channel_values((0.11, 0.22, 0.33), torch.ones(1, 3, 2, 2))
    (x * channel_values((0.11, 0.22, 0.33), x)).sum().backward()
    assert x.grad.sum() == pytest.approx(4 * 0.66)


def test_a_parameter_without_a_gradient_is_left_alone():
    state = make_state("plain")
    spare = nn.Parameter(torch.ones(3, 3))
    state.model.register_parameter("spare", spare)
    state.optimizer.param_groups[0]["params"].append(spare)
    before = copy.deepcopy(spare.data)
    steps = CapturedSteps(state, graphs=False)
    for batch in batches(epochs=1):
        steps.take(batch)
    assert torch.equal(spare.data, before)  # weight decay would have made it smaller


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_graph_takes_the_same_steps(case):
    compare_twins(case, "cuda", graphs=True, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_graph_stops_before_a_loss_that_is_no_number():
    state = make_state("classic", "cuda")
    steps, one = CapturedSteps(state, graphs=True), next(batches("cuda"))
    for _ in range(4):
        steps.take(one)
    while steps.finish():
        pass
    before = whole_state(state)
    rates = iter([float("inf")])
    schedule = state.schedule
    state.schedule = lambda step: (next(rates, 0.01), 0.9) if step >= 4 else schedule(step)
    with pytest.raises(Diverged):
        [steps.take(one) for _ in range(20)]
    # The infinite rate spoilt the weights of step 4; step 5 and all after it changed nothing.
    assert state.step == 5
    assert before.keys() == whole_state(state).keys()


def test_what_is_made_while_a_graph_is_traced_is_not_kept(make_spec):
    """An export traces the network first and asks the run afterwards: the values beside its pixels are real ones."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from catseye.data.augment import normalise_batch

    spec = make_spec(8, mean=(0.125, 0.25, 0.5))
    with FakeTensorMode():
        normalise_batch(torch.zeros(1, 3, 8, 8), spec)
    assert type(normalise_batch(torch.zeros(1, 3, 8, 8), spec)) is torch.Tensor
    assert normalise_batch(torch.zeros(1, 3, 8, 8), spec)[0, 0, 0, 0] == -0.5
