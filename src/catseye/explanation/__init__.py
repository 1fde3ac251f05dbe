"""The part of an image that an answer rests on, and how far to trust such a map.

Enters: a network and images. Leaves: maps as arrays, figures. Called by evaluation, lab and cli.

    cam.py              CAM, Grad-CAM, Grad-CAM++, EigenCAM
    worth.py            deletion and insertion scores
    opened_image.py     the map of a model for an image
    feature_maps.py     the output of a layer for an image; the images that activate a channel most
    kernels.py          the first layer's filters
    receptive_field.py  the region that one activation can see, and does look at
    explain.py          `catseye explain cam`
    gradient_flow.py    gradient norms per layer, plain and residual
    figures.py          figures for notebooks and for `catseye explain`
    layers.py           the other verbs of `catseye explain`
    dimensions.py       `catseye summary`
"""
