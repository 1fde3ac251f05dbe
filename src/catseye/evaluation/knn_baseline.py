"""What the simplest classifier scores on a run's own features: the nearest training images vote.

Enters: a measured run. Leaves: `NeighbourScore`, or nothing where its training images are not at hand. Called by
evaluate.py. A head that does no better than this has learnt little from being trained; one that does worse was trained
badly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from catseye.counting import count
from catseye.data.loaders import draw_part
from catseye.data.moved import locate_data
from catseye.data.prepare_evaluation import prepare_evaluation
from catseye.embedding.neighbours import NUM_NEIGHBOURS, find_neighbours, vote
from catseye.errors import DataError, UsageError
from catseye.evaluation.measure import MeasuredModel
from catseye.evaluation.metrics import wilson_interval
from catseye.evaluation.predict import collect_features
from catseye.files import StrPath
from catseye.runs import open_run

NUM_SMALL, NUM_LARGE, SMALL_PX = (
    2000,
    500,
    64,
)  # images of either side that are looked at once more, by the input's side


@dataclass(frozen=True)
class NeighbourScore:
    """Accuracy 0 to 1 with its interval, of so many neighbours among so many training images."""

    accuracy: float
    low: float
    high: float
    num_images: int
    num_neighbours: int
    num_reference: int

    def sentence(self) -> str:
        """In one line."""
        return (
            f"a k-NN on the same features scores {self.accuracy:.2%} (95% interval {self.low:.2%} – {self.high:.2%}, "
            f"n = {self.num_images:,}; {self.num_neighbours} neighbours among "
            f"{count(self.num_reference, 'training image')})"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dict(vars(self))


def score_neighbours(measured: MeasuredModel, data_dir: StrPath | None = None) -> NeighbourScore | None:
    """Ask the nearest training images of a run about the images it was measured on; of many, about a part of them."""
    model = measured.model
    if model.network is None or not model.path.is_dir():
        return None
    run = open_run(model.path)
    recorded, reading, spec = run.data, run.settings.data, model.manifest.preprocessing
    folder = Path(data_dir or recorded["data_dir"]) if data_dir or recorded["data_dir"] else None
    most = NUM_SMALL if spec.height_px <= SMALL_PX else NUM_LARGE
    try:
        source = locate_data(recorded, None, folder, reading)
        names = list(recorded["splits"].get("train", {}))
        step = max(1, len(names) // most)  # spread over all of them; names are sorted by class as a rule
        _, train, _ = prepare_evaluation(
            source,
            spec,
            model.manifest.classes,
            device=torch.device(model.device),
            chosen=dict.fromkeys(names[::step], "test"),
            data_dir=folder,
            settings=reading,
        )
        reference, labels = collect_features(model.network, train, spec)
    except (DataError, UsageError):  # moved or changed since; the score stands without it
        return None
    queries, truth = collect_features(model.network, draw_part(measured.loader, most, run.settings.seed), spec)
    neighbours = find_neighbours(reference, queries, NUM_NEIGHBOURS)
    hits = int((vote(neighbours, labels, len(model.manifest.classes)).argmax(1) == truth).sum())
    low, high = wilson_interval(hits, len(truth))
    return NeighbourScore(hits / len(truth), low, high, len(truth), neighbours.rows.shape[1], len(labels))
