"""The networks, each with `features(x)` -> (N, C, h, w) and `head(f)` -> (N, K).

`registry.py` has the contract. Importing a file registers its networks; torchvision and timm are imported only when one
of their networks is built.

Enters: a name and options. Leaves: a module. Called by runs, training and the lab.

    registry.py       networks by name, and the contract they keep
    lenet.py          LeNet-5 (1998)
    simple.py         the textbook CNN
    residual.py       a small residual network
    speednet.py       the network of the recipe speed
    zoo.py            torchvision's AlexNet … ConvNeXt behind the same contract
    timm_networks.py  any timm:NAME, likewise
    timm_twins.py     a trained network under the names of timm
    econvnext.py      E-ConvNeXt-Tiny (2025)
    custom.py         networks of the caller's own, behind the same contract
    stems.py          small-image mode: what changes for inputs up to 64 px
    folding.py        batch norm folded into the convolution before it
    familiarity.py    how similar an image's features are to those of the training images
    views.py          an image and its mirror image, classified by one network
    heads.py          the head that transfer learning adds
    footprint.py      memory that a network needs per image, without computing
    pretrained.py     published weights: located, checked, read safely
    blocks.py         convolution + batch norm, residual block
    tower.py          equal layers of any depth, with and without skips
    diagram.py        a block as boxes and arrows, traced from the module
    summary.py        shapes, parameters and receptive fields, layer by layer
    milestones.py     published facts of the milestones
    listing.py        the networks by name, for Python and `catseye models`
"""

from catseye.models import custom, econvnext, lenet, residual, simple, speednet, timm_networks, tower, zoo

__all__ = ["custom", "econvnext", "lenet", "residual", "simple", "speednet", "timm_networks", "tower", "zoo"]
