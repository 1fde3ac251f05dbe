"""From images to batches: sources, checks, splits, loaders, augmentation, mixing.

Enters: a name, folder, zip or list. Leaves: loaders of batches with their labels and splits. Called by training,
evaluation and `catseye check`.

    sources/          folder, zip, list: names, labels, splits, a way to read
    names.py          a million file names in one block of bytes
    builtin.py        digits, MNIST, CIFAR as arrays
    glance.py         images per class and typical size, before a recipe is chosen
    file_facts.py     file sizes, and a stamp that changes when any file does
    reading.py        reads a file once: its digest, its look, its pixels
    pool.py           work on many images, shared out over the cores
    cache.py          results of earlier runs for the same files, in the user's cache folder
    survey.py         equal files, typical size, grey or colour
    decode.py         many images as one array, from their files or from the cache
    check/            what is wrong with the images: the same rules for `catseye check` and `train`
    groups.py         which images belong together: by name, a column of a list, pairs
    channel_counts.py how many channels the images have, and the range of each
    value_range.py    black and white of images with more than 8 bits; whether all are blank
    input_spec.py     the input of the network: size, channels, mean and standard deviation
    splits.py         training, validation and test: seeded, stratified, by groups
    prepare.py        survey, choose, decode, split, check: images for training
    prepare_evaluation.py  held-out images to evaluate a model
    moved.py          the current place of a run's images
    storage.py        decoded images in memory, or streamed if they do not fit
    loaders.py        batches from memory or from the files
    workers.py        watches the processes that decode: a dead or hanging one is an error
    augment.py        one function per transform, drawn separately for each image
    mixing.py         MixUp and CutMix
"""
