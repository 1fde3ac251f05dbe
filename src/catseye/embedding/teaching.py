"""Labels from few decisions: next image to label, proposals, expected accuracy.

Enters: features of images without labels, and decisions one by one. Leaves: a proposal for each image, the number of
the image to label next, an estimate of the accuracy. Called by review and the label benchmark; reads no file.

The first images to label are typical of many others, one from each of the largest clusters without a decision
(Hacohen, Dekel, Weinshall 2022, Active Learning on a Budget: TypiClust); later ones are between two classes (Scheffer,
Decomain, Wrobel 2001: the smallest margin). Proposals come from the k nearest decided images until two classes are
known, then from a linear head.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import softmax
from catseye.embedding.head import LinearHead, draw_folds, spread_of, train_head
from catseye.embedding.neighbours import NUM_NEIGHBOURS, find_neighbours, unit_rows, vote
from catseye.seeds import derive

NUM_CLUSTERS = 20  # typical images to label before doubtful ones
NUM_DIMENSIONS = 32  # principal components used for clustering
MOST_CLUSTERED = 20_000  # images; of larger sets, a sample is clustered
NUM_FOLDS = 5
TEMPERATURES = np.geomspace(0.05, 2, 40)


@dataclass
class Teaching:
    """The labelling of one set of images, from its first decision to its last.

    `decided`: number of an image -> its class, or -1 if it belongs to none. Rows of `features` are images.

    Shape: features (N, F).
    """

    features: NDArray[np.float32]
    num_classes: int
    decided: dict[int, int] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        self.spread = spread_of(self.features)
        self.unit = unit_rows((self.features - self.spread[0]) / self.spread[1])
        self.clusters, self.typicality = _clusters(self.unit, self.seed)
        self.head: LinearHead | None = None
        self.temperature = 1.0
        if self.decided:
            self.retrain()

    def decide(self, answers: Mapping[int, int]) -> None:
        """Add decisions and retrain the head."""
        self.decided |= answers
        self.retrain()

    def take_back(self, numbers: list[int]) -> None:
        """Remove decisions and retrain the head."""
        for number in numbers:
            self.decided.pop(number, None)
        self.retrain()

    def labelled(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers and classes of the images that were given a class."""
        pairs = [(number, label) for number, label in self.decided.items() if label >= 0]
        table = np.array(pairs, np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def retrain(self) -> None:
        """Fit the head to the decisions, and its temperature to images it has not seen."""
        rows, labels = self.labelled()
        self.head = None
        if len(np.unique(labels)) < 2:
            return
        self.head = train_head(self.features[rows], labels, self.num_classes, spread=self.spread)
        self.temperature = self._fit_temperature(rows, labels)

    def _fit_temperature(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
        fold = draw_folds(labels, None, NUM_FOLDS, self.seed)
        logits, truth = [], []
        for number in range(NUM_FOLDS):
            mine = fold == number
            if mine.any() and len(np.unique(labels[~mine])) == len(np.unique(labels)):
                head = train_head(self.features[rows[~mine]], labels[~mine], self.num_classes, spread=self.spread)
                logits.append(head.logits(self.features[rows[mine]]))
                truth.append(labels[mine])
        if sum(map(len, truth)) < 2 * NUM_FOLDS:
            return 1.0
        return _best_temperature(np.maximum(np.concatenate(logits), -1e4), np.concatenate(truth))

    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities of every image's classes: 0 for those without any decision.

        Before the first decision all classes are equal. Shape: (N, K).
        """
        if self.head is not None:
            logits = np.maximum(self.head.logits(self.features), -1e4)
            return np.asarray(softmax(logits, self.temperature), np.float32)
        rows, labels = self.labelled()
        if not len(rows):
            return np.full((len(self.features), self.num_classes), 1 / self.num_classes, np.float32)
        near = find_neighbours(self.unit[rows], self.unit, NUM_NEIGHBOURS)
        return vote(near, labels, self.num_classes)

    def next(self, skipped: set[int] | None = None) -> int | None:
        """The most useful image to label next; None if all are decided or skipped."""
        done = np.zeros(len(self.features), bool)
        done[[*self.decided, *(skipped or ())]] = True
        if done.all():
            return None
        covered = np.bincount(self.clusters[done], minlength=NUM_CLUSTERS) > 0
        sizes = np.where(covered, 0, np.bincount(self.clusters[~done], minlength=NUM_CLUSTERS))
        if sizes.max() or self.head is None:
            inside = ~done & (self.clusters == sizes.argmax()) if sizes.max() else ~done
            return int(np.where(inside, self.typicality, -np.inf).argmax())
        ranked = np.sort(self.probabilities(), axis=1)
        margin = ranked[:, -1] - ranked[:, -2]
        return int(np.where(done, np.inf, margin).argmin())

    def estimate(self) -> float | None:
        """Estimated share of correct proposals for undecided images; None without a head."""
        rest = np.setdiff1d(np.arange(len(self.features)), list(self.decided))
        if self.head is None or not len(rest):
            return None
        return float(self.probabilities()[rest].max(1).mean())


def _best_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest loss.

    A head trained on few images with a strong penalty is underconfident.
    """
    losses = [
        -np.log(np.maximum(softmax(logits, temperature)[np.arange(len(labels)), labels], 1e-6)).mean()
        for temperature in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _clusters(unit: NDArray[np.float32], seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cluster of every image, and how close it is to others in it.

    Shape: (N, F) -> (N,), (N,).
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning

    num = len(unit)
    if num <= NUM_CLUSTERS:
        return np.arange(num), np.zeros(num, np.float32)
    generator = np.random.default_rng(derive(seed, "clusters"))
    sample = np.sort(generator.permutation(num)[:MOST_CLUSTERED])
    number = derive(seed, "clusters") % 2**31
    dimensions = min(NUM_DIMENSIONS, num, unit.shape[1])
    small = PCA(dimensions, random_state=number).fit(unit[sample])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # there may be fewer different images than clusters
        means = KMeans(NUM_CLUSTERS, n_init=3, random_state=number).fit(small.transform(unit[sample]))
    clusters = means.predict(small.transform(unit)).astype(np.int64)
    typical = np.zeros(num, np.float32)
    for cluster in range(NUM_CLUSTERS):
        members = np.flatnonzero(clusters == cluster)
        if len(members) > 1:
            near = find_neighbours(unit[members], unit[members], NUM_NEIGHBOURS, own=np.arange(len(members)))
            typical[members] = near.cosines.mean(1)
    return clusters, typical
