"""The coordinates of features in which a linear head is fitted.

Enters: pooled features. Leaves: coordinates, and layers changed from one to the other. Called by linear_head.py.
"""

import torch
from torch import Tensor


class FeatureFrame:
    """Features in the coordinates that a head is fitted in: centred, scaled, rotated.

    200 images span only 200 directions, so the rotation leaves that many coordinates; it does not change the result of
    a decay that treats all directions alike.
    """

    def __init__(self, features: Tensor, *, standardise: bool) -> None:
        flat = features.reshape(-1, features.shape[-1])
        self._mean = flat.mean(0)
        centred = flat - self._mean
        spread = centred.square().mean(0)
        typical = float(spread.mean()) or 1.0
        self._scale = (spread + 1e-3 * typical).sqrt() if standardise else torch.full_like(spread, typical**0.5)
        self._scale = self._scale * features.shape[-1] ** 0.5  # mean squared length 1
        scaled = centred / self._scale
        self._rotation: Tensor | None = None
        if len(scaled) < scaled.shape[1]:
            left, lengths, self._rotation = torch.linalg.svd(scaled, full_matrices=False)
            scaled = left * lengths
        self.coordinates = scaled.reshape(*features.shape[:-1], scaled.shape[1])

    def to_layer(self, layer: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, F) and bias (K,) for features, from a layer (K, r + 1)."""
        weight, bias = layer[:, :-1], layer[:, -1]
        if self._rotation is not None:
            weight = weight @ self._rotation
        weight = weight / self._scale
        return weight, bias - weight @ self._mean

    def from_layer(self, layers: Tensor) -> Tensor:
        """Layers for features as layers in these coordinates.

        Shape: (P, K, F + 1) -> (P, K, r + 1).
        """
        weight, bias = layers[..., :-1], layers[..., -1]
        bias = bias + weight @ self._mean
        weight = weight * self._scale
        if self._rotation is not None:
            weight = weight @ self._rotation.T
        return torch.cat([weight, bias[..., None]], -1)
