"""From the user's images to batches: sources, checks, splits, loaders, augmentation, mixing.

Enters: a name, folder, zip or list. Leaves: loaders of batches with their labels and splits. Called by training,
evaluation and `catseye check`.

    sources/          folder, zip, list: names, labels, splits, a way to read
    names.py          a million file names in one block of bytes
    builtin.py        digits, MNIST, CIFAR as arrays
    glance.py         images per class and typical size, before anything is decided
    file_facts.py     sizes, and a stamp that changes when any file does
    reading.py        one reading of a file: its digest, its look, its pixels
    pool.py           many images shared out over the cores, in portions
    cache.py          what earlier runs found out about the same files, in the user's cache folder
    survey.py         the first look: equal files, typical size, grey or colour
    decode.py         many images as one array, from their files or from the cache
    check/            what is wrong with them: every rule once, for `catseye check` and `train`
    groups.py         what belongs together: by a rule on names, a column of a list, by pairs
    channel_counts.py how many channels the images have, and the range of each
    value_range.py    black and white of images with more than 8 bits; is there anything to see
    splits.py         seeded, stratified, duplicates kept together
    prepare.py        look, decide, decode, split, ask the rules: images to train from
    prepare_evaluation.py  held-out images for a model that is there already
    moved.py          a run's images where they are now
    storage.py        decoded images in memory, or streamed where they do not fit
    loaders.py        batches from memory or from the files
    workers.py        the processes that decode, watched: dead or hanging is an error
    augment.py        one function per transform, every image drawn for itself
    mixing.py         MixUp and CutMix
"""
