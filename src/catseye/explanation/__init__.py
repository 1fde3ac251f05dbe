"""Which part of an image a network's answer rests on, and how far such a map can be trusted.

Enters: a network and images. Leaves: maps as arrays, figures. Called by evaluation, lab and cli.

    cam.py              CAM, Grad-CAM, Grad-CAM++, EigenCAM
    worth.py            deletion and insertion scores
    opened_image.py     the map of a model for an image
    feature_maps.py     the output of a layer for an image; the images that activate a channel most
    kernels.py          the first layer's filters
    receptive_field.py  the region behind one activation: can see, does look
    explain.py          `catseye explain cam`
    gradient_flow.py    gradient norms per layer, plain and residual
    figures.py          figures for notebooks and for `catseye explain`
    layers.py           the other verbs of `catseye explain`
    dimensions.py       `catseye summary`
"""
