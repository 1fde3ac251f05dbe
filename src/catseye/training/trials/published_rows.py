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

PORTION = 1_000  # images at a time: their probabilities take 4 MB for ImageNet's classes


def published_rows(features: Tensor, labels: Tensor, weights: Tensor, classifier: Tensor, num_classes: int) -> Tensor:
    """The row of each class, once per weighting of the images.

    A class without weight gets the mean of all images.

    Shape: features (N, F), labels (N,), weights (P, N), classifier (C, F + 1) -> (P, K, F + 1); the last column is the
    bias.
    """
    weight, bias = classifier[:, :-1], classifier[:, -1]
    sums = torch.zeros(len(weights), num_classes, classifier.shape[1])
    totals = torch.zeros(len(weights), num_classes, 1)
    for part in torch.split(torch.arange(len(features)), PORTION):
        shares = torch.addmm(bias, features[part], weight.T).softmax(1)  # (n, C)
        own = weights[:, None, part] * F.one_hot(labels[part], num_classes).T  # (P, K, n)
        sums += own @ (shares @ classifier)
        totals += own.sum(2, keepdim=True)
    everything = sums.sum(1, keepdim=True) / totals.sum(1, keepdim=True)
    return torch.where(totals > 0, sums / totals.clamp_min(1e-30), everything)
