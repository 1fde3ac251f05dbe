"""The teacher's part of the loss, by hand; what the teacher sees; what it may be; and one whole run."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy.special import log_softmax, softmax
from torch import nn

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.errors import ModelFileError, UsageError
from catseye.manifest import Architecture, Manifest, Provenance
from catseye.models import registry
from catseye.preprocess import Preprocessing, to_pixels
from catseye.runs import save_model
from catseye.settings.merge import load_settings
from catseye.training.distillation import Teacher, load_teacher
from tests.conftest import write_tinted

CPU = torch.device("cpu")
QUIET = Console(file=io.StringIO())


class Fixed(nn.Module):
    """Answers with the same logits and keeps what it was asked."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.seen = None

    def forward(self, x):
        self.seen = x
        return self.logits


def teacher_of(model, spec, student_spec=None, *, temperature=4.0, weight=0.7):
    return Teacher(model, spec, student_spec or spec, temperature, weight)


def hinton(student, teacher, loss, temperature, weight):
    """Section 2 with NumPy: mean over the batch of the sum over the classes of p (log p - log q), times T squared."""
    p, q = softmax(teacher / temperature, 1), softmax(student / temperature, 1)
    divergence = (p * (np.log(p) - np.log(q))).sum(1).mean()
    return (1 - weight) * loss + weight * temperature**2 * divergence


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("weight", [0.1, 0.7, 1.0])
def test_the_loss_is_hintons(make_spec, temperature, weight):
    rng = np.random.default_rng(0)
    student, theirs = rng.normal(size=(6, 5)) * 3, rng.normal(size=(6, 5)) * 3
    teacher = teacher_of(Fixed(torch.tensor(theirs)), make_spec(), temperature=temperature, weight=weight)
    blended = teacher.blend(torch.tensor(1.7), torch.tensor(student), torch.zeros(6, 3, 8, 8))
    assert float(blended) == pytest.approx(hinton(student, theirs, 1.7, temperature, weight), rel=1e-5)


def test_at_temperature_one_the_gradient_is_the_difference_of_the_distributions(make_spec):
    rng = np.random.default_rng(1)
    mine, theirs = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    logits = torch.tensor(mine, requires_grad=True)
    teacher = teacher_of(Fixed(torch.tensor(theirs)), make_spec(), temperature=1.0, weight=1.0)
    teacher.blend(torch.tensor(0.0), logits, torch.zeros(4, 3, 8, 8)).backward()
    wanted = (np.exp(log_softmax(mine, 1)) - softmax(theirs, 1)) / 4
    np.testing.assert_allclose(logits.grad.numpy(), wanted, atol=1e-7)


def test_the_gradients_keep_their_size_at_any_temperature(make_spec):
    """What the factor T squared is for: at high temperatures the gradient tends to a limit, not to zero."""
    rng = np.random.default_rng(2)
    mine, theirs = rng.normal(size=(4, 3)), torch.tensor(rng.normal(size=(4, 3)))
    sizes = []
    for temperature in (20.0, 100.0):
        logits = torch.tensor(mine, requires_grad=True)
        teacher = teacher_of(Fixed(theirs), make_spec(), temperature=temperature, weight=1.0)
        teacher.blend(torch.tensor(0.0), logits, torch.zeros(4, 3, 8, 8)).backward()
        sizes.append(float(logits.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    assert sizes[0] > 1e-2


def test_with_weight_one_only_the_teacher_counts(make_spec):
    same = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    teacher = teacher_of(Fixed(same), make_spec(), weight=1.0)
    for loss in (0.0, 5.0, 1e6):
        # A student that answers as its teacher has nothing to learn, whatever the labels say.
        assert float(teacher.blend(torch.tensor(loss), same.clone(), torch.zeros(3, 3, 8, 8))) == pytest.approx(0)
    part = teacher_of(Fixed(same), make_spec(), weight=0.25)
    assert float(part.blend(torch.tensor(4.0), same.clone(), torch.zeros(3, 3, 8, 8))) == pytest.approx(3.0)


def test_nothing_flows_back_into_the_teacher(make_spec):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    logits = torch.randn(2, 4, requires_grad=True)
    teacher_of(model, make_spec()).blend(torch.tensor(1.0), logits, torch.randn(2, 3, 8, 8)).backward()
    assert logits.grad is not None
    assert all(p.grad is None for p in model.parameters())


# What the teacher sees


def shown(pixels, student, theirs):
    """What a teacher is asked when the student is given these pixels."""
    model = Fixed(torch.zeros(len(pixels), 2))
    x = normalise_batch(to_unit(pixels), student)
    teacher_of(model, theirs, student).blend(torch.tensor(0.0), torch.zeros(len(pixels), 2), x)
    return model.seen


def some_pixels(count=3, channels=3, px=16):
    rng = np.random.default_rng(3)
    soft = [Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((px, px)) for _ in range(count)]
    return torch.from_numpy(np.stack([to_pixels(image, channels) for image in soft])).permute(0, 3, 1, 2)


def test_the_teacher_has_its_own_statistics(make_spec):
    student = make_spec(16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    theirs = make_spec(16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = some_pixels()
    torch.testing.assert_close(
        shown(pixels, student, theirs), normalise_batch(to_unit(pixels), theirs), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("px", [8, 24, 40])
def test_the_teacher_has_its_own_size(make_spec, px):
    student, theirs = make_spec(16), make_spec(px, mean=(0.4,) * 3)
    pixels = some_pixels()
    found = shown(pixels, student, theirs)
    assert found.shape == (3, 3, px, px)
    # Pillow's bilinear filter, the one of the preprocessing, is the oracle; it rounds to whole grey levels.
    resized = [
        np.asarray(Image.fromarray(p.permute(1, 2, 0).numpy()).resize((px, px), Image.Resampling.BILINEAR))
        for p in pixels
    ]
    direct = normalise_batch(to_unit(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)), theirs)
    torch.testing.assert_close(found, direct, atol=2 / 255 / 0.25, rtol=0)


def test_a_teacher_of_colour_and_a_grey_student(make_spec):
    student = make_spec(16, channels=1, mean=(0.3,), std=(0.2,))
    theirs = make_spec(16, mean=(0.4, 0.5, 0.6))
    grey = some_pixels(channels=1)
    direct = normalise_batch(to_unit(grey.expand(-1, 3, -1, -1)), theirs)
    torch.testing.assert_close(shown(grey, student, theirs), direct, atol=1e-5, rtol=0)


def test_a_grey_teacher_sees_the_grey_it_was_trained_on(make_spec):
    """Preprocessing makes grey with ITU-R 601 luma; a plain mean of the channels is another image."""
    theirs = make_spec(16, channels=1, mean=(0.3,), std=(0.2,))
    found = shown(some_pixels(), make_spec(16), theirs)
    direct = normalise_batch(to_unit(some_pixels(channels=1)), theirs)
    torch.testing.assert_close(found, direct, atol=1.5 / 255 / 0.2, rtol=0)


# Which teacher


def write_model(path, classes, *, name="lenet5", px=32):
    torch.manual_seed(0)
    spec = Preprocessing(height_px=px, width_px=px, mean=(0.5,) * 3, std=(0.25,) * 3)
    model = registry.create(name, num_classes=len(classes), in_channels=3, input_px=px)
    provenance = Provenance(
        created="2026-01-01T00:00:00+00:00", catseye="0", torch="0", data_name="d", data_sha256="0" * 64,
        settings_sha256="0" * 64, seed=0,
    )  # fmt: skip
    manifest = Manifest(
        classes=classes, preprocessing=spec, architecture=Architecture(name=name, options={}), provenance=provenance
    )
    save_model(path, model.state_dict(), manifest)
    return path


def test_teacher_and_student_need_the_same_classes(tmp_path, make_spec):
    file = write_model(tmp_path / "model.safetensors", ("ant", "bee", "wasp"))
    more = {"temperature": 4.0, "weight": 0.7, "device": CPU}
    teacher = load_teacher(str(file), ("ant", "bee", "wasp"), make_spec(32), **more)
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert (teacher.temperature, teacher.weight, teacher.spec.height_px) == (4.0, 0.7, 32)
    for classes in (("ant", "bee"), ("ant", "bee", "fly"), ("bee", "ant", "wasp"), ("ant", "bee", "wasp", "fly")):
        with pytest.raises(UsageError, match=r"other classes .*ant, bee, wasp"):
            load_teacher(str(file), classes, make_spec(32), **more)
    with pytest.raises(ModelFileError):
        load_teacher(str(tmp_path / "gone"), ("ant", "bee"), make_spec(32), **more)


@pytest.mark.parametrize("key", ["distillation.stem", "distillation.auxiliary", "distillation.temprature"])
def test_distillation_has_no_other_settings(key):
    with pytest.raises(UsageError, match="unknown setting"):
        load_settings("quick", values={"distillation.teacher": "run", key: "small"})


def test_distillation_settings_without_a_teacher_are_refused():
    for key, value in (("temperature", 2.0), ("weight", 0.5)):
        with pytest.raises(UsageError, match=rf"distillation\.{key} would do nothing here"):
            load_settings("quick", values={f"distillation.{key}": value})


# A whole run


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 20)


def test_a_student_learns_from_its_teacher_alone(tinted, tmp_path):
    """With weight 1 the labels take no part: the student is as good as its teacher and better than chance."""
    quiet = {"device": "cpu", "console": QUIET}
    teacher = catseye.train(
        tinted, out=tmp_path / "teacher", epochs=6, settings={"training.batch_size": 16, "data.input_px": 40}, **quiet
    )
    assert teacher.metrics.accuracy >= 0.9
    settings = {
        "training.batch_size": 16, "training.lr": 0.02, "distillation.teacher": str(teacher.path),
        "distillation.weight": 1.0,
    }  # fmt: skip
    student = catseye.train(tinted, model="lenet5", out=tmp_path / "student", epochs=15, settings=settings, **quiet)
    assert all(np.isfinite(value) for row in student.run.history for value in row.values())
    assert student.metrics.accuracy > 0.6
    assert student.run.settings.distillation.teacher == str(teacher.path)
    # The teacher stands in no file of the student's.
    assert sum(file.stat().st_size for file in student.path.iterdir()) < 1_500_000
