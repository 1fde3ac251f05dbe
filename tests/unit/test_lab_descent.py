"""Chapter 9's slice of a loss: against autograd of the whole network, and against the same steps by hand."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from catseye.lab.bench import Workbench
from catseye.lab.chapters.descent import answers
from catseye.lab.chapters.descent.maths import ACROSS, ALONG, LossSlice
from catseye.lab.questions import Nothing


@pytest.fixture(scope="module")
def ground():
    return LossSlice(num_images=64)


def test_the_directions_are_orthonormal_and_the_ends_are_the_networks_own(ground):
    assert float(ground.along.norm()) == pytest.approx(1, abs=1e-5)
    assert float(ground.across.norm()) == pytest.approx(1, abs=1e-5)
    assert float(ground.along @ ground.across) == pytest.approx(0, abs=1e-4)
    with torch.no_grad():
        here = float(nn.functional.cross_entropy(ground.model(ground._images), ground._labels))
    assert float(ground.loss(torch.zeros(2))) == pytest.approx(here, rel=1e-5)
    assert here < 0.1 < 1.5 < float(ground.loss(torch.tensor([ground.distance, 0.0])))


def test_the_bend_across_is_the_second_difference(ground):
    half, step = ground.distance / 2, 0.05
    low, middle, high = (float(ground.loss(torch.tensor([half, by]))) for by in (-step, 0.0, step))
    assert (low - 2 * middle + high) / step**2 == pytest.approx(ground.across_curvature, rel=0.1)


def test_plain_steps_are_the_rate_times_the_gradient(ground):
    path = ground.descend("sgd", 0.02, (5.0, 1.0), 3)
    place = torch.tensor([5.0, 1.0])
    for point in path.points[1:]:
        at = place.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(ground.loss(at), at)
        place = place - 0.02 * gradient
        assert point == pytest.approx(place.tolist(), rel=1e-4)
    assert len(path.losses) == 4
    assert path.left_at is None


def test_a_path_ends_where_it_leaves_the_map(ground):
    path = ground.descend("sgd", 50.0, (5.0, 1.0), 60)
    assert path.left_at == len(path.points) - 1
    along, across = path.points[-1]
    assert not (ALONG[0] <= along <= ALONG[1] and ACROSS[0] <= across <= ACROSS[1])


def test_two_tabs_at_once_get_the_same_paths(monkeypatch):
    bench = Workbench()
    bench.keep("descent:slice", LossSlice(num_images=32))
    monkeypatch.setattr(answers, "GRID", (3, 2))
    assert np.array(answers.landscape(bench, Nothing())["heights"]).shape == (2, 3)
    asked = answers.Descend(steps=20)
    alone = answers.answer_paths(bench, asked)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(answers.answer_paths(bench, asked))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4
