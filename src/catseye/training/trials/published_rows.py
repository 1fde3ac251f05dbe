"""What a published classifier knows about the user's classes.

Enters: pooled features, and the published network's own linear classifier for C classes. Leaves: the rows with which a
head for the user's K classes begins. Called by linear_head.py.

Published weights come with a classifier, of ImageNet's 1,000 classes as a rule, which many of the user's classes are
among or resemble. A class of the user begins with the mean of the rows that its training images are assigned to,
weighted by their probabilities: a folder `ants` begins with ImageNet's `ant`. With few images, decay towards these rows
is a better rule than decay towards 0.

Source: the assignment is that of Nguyen et al. 2020, LEEP, arXiv 2002.12462, section 3: the mean probabilities of the
published classes over the images of a class. There they mix probabilities; here they mix rows, so that the result is
one linear layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PORTION = 1_000  # images whose probabilities are in memory at a time


def published_rows(features: Tensor, classifier: Tensor) -> Tensor:
    """Each image's mean of the published rows, weighted by its probabilities.

    Shape: features (N, F), classifier (C, F + 1) -> (N, F + 1); the last column is the bias.
    """
    weight, bias = classifier[:, :-1], classifier[:, -1]
    parts = [torch.addmm(bias, part, weight.T).softmax(1) @ classifier for part in torch.split(features, PORTION)]
    return torch.cat(parts)


def class_means(rows: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """The weighted mean row of each class; of all images, for a class without weight.

    Shape: rows (N, F + 1), labels (N,), weights (P, N) -> (P, K, F + 1).
    """
    truth = F.one_hot(labels, num_classes).to(rows.dtype)
    shares = weights[:, None, :] * truth.T  # (P, K, N)
    totals = shares.sum(2, keepdim=True)
    shares = torch.where(totals > 0, shares / totals.clamp_min(1e-30), weights[:, None] / weights.sum(1)[:, None, None])
    return shares @ rows
