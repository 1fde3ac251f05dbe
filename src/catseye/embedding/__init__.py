"""Images as points: pooled features of a frozen network, and what can be told from points alone.

Enters: images and a network. Leaves: one vector per image, neighbours, a head trained in a second. Called by
evaluation (the k-NN line of a report), review, lab and `catseye embed`, `catseye search`.

    backbone.py     a run's network or published weights, frozen: pixels in, features out
    features.py     `Features` and its files: .npz, memory-mapped, or .parquet
    embed.py        the walk behind `catseye embed`: resumable, in portions
    neighbours.py   exact search by matrix products; a k-NN classifier
    head.py         a linear head on features, and what it says of images that it has not seen
    teaching.py     labels from few decisions: what to ask next, what to propose
    walks.py        both walks, from a model and DATA, for a program and for cli
    search.py       the walk behind `catseye search`
    deep_check.py   `catseye.check`: what features tell besides what every look at an image does
"""
