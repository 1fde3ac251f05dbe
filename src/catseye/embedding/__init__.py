"""Images as vectors: pooled features of a frozen network, and their uses.

Enters: images and a network. Leaves: one vector per image, neighbours, a head trained within a second. Called by
evaluation (the k-NN line of a report), review, lab and `catseye embed`, `catseye search`.

    backbone.py     a run's network or published weights, frozen: pixels in, features out
    features.py     `Features` and its files: .npz, memory-mapped, or .parquet
    embed.py        images to a file of features: resumable, in portions
    neighbours.py   exact search by matrix products; a k-NN classifier
    head.py         a linear head on features, and its answers for images that it has not seen
    teaching.py     labels from few decisions: which image to ask about, which labels to propose
    walks.py        `catseye.embed` and `catseye.search`, from a model and DATA
    search.py       the images in a file of features that are most like one image
    deep_check.py   `catseye.check`; with `deep` it also compares features
"""
