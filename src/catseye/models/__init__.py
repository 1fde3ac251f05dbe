"""The networks. Every one has `features(x)` -> (N, C, h, w) and `head(f)` -> (N, K); see `registry.py`.

Importing a file registers its networks; none of them imports torchvision or timm before it builds one.
"""

from catseye.models import econvnext, lenet, residual, simple, speednet, timm_networks, tower, zoo

__all__ = ["econvnext", "lenet", "residual", "simple", "speednet", "timm_networks", "tower", "zoo"]
