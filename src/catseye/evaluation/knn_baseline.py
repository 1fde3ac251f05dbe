"""The score of the simplest classifier on a run's own features.

Enters: a measured run. Leaves: `NeighbourScore`, from a vote of the nearest training images, or None if the training
images are not available. Called by evaluate.py. A head that is no better than this has learnt little; a worse one was
trained badly.
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
)  # images used from each split, by the side of the input


@dataclass(frozen=True)
class NeighbourScore:
    """Accuracy, 0 to 1, with its interval.

    `num_neighbours` neighbours vote, found among `num_reference` training images.
    """

    accuracy: float
    low: float
    high: float
    num_images: int
    num_neighbours: int
    num_reference: int

    def sentence(self) -> str:
        """The score as one line."""
        return (
            f"a k-NN on the same features scores {self.accuracy:.2%} (95% interval {self.low:.2%} – {self.high:.2%}, "
            f"n = {self.num_images:,}; {self.num_neighbours} neighbours among "
            f"{count(self.num_reference, 'training image')})"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dict(vars(self))


def score_neighbours(measured: MeasuredModel, data_dir: StrPath | None = None) -> NeighbourScore | None:
    """Classify the measured images by a run's nearest training images.

    If there are many images, only a sample of them is classified.
    """
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
        step = max(1, len(names) // most)  # spread over all of them; names are usually sorted by class
        _, train, _ = prepare_evaluation(
            source,
            spec,
            model.manifest.classes,
            device=torch.device(model.device),
            recorded=dict.fromkeys(names[::step], "test"),
            data_dir=folder,
            settings=reading,
        )
        reference, labels = collect_features(model.network, train, spec)
    except (DataError, UsageError):  # moved or changed since; the report has no such score
        return None
    queries, truth = collect_features(model.network, draw_part(measured.loader, most, run.settings.seed), spec)
    neighbours = find_neighbours(reference, queries, NUM_NEIGHBOURS)
    hits = int((vote(neighbours, labels, len(model.manifest.classes)).argmax(1) == truth).sum())
    low, high = wilson_interval(hits, len(truth))
    return NeighbourScore(hits / len(truth), low, high, len(truth), neighbours.rows.shape[1], len(labels))
