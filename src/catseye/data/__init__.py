"""From the user's images to batches: sources, checks, splits, loaders, augmentation, mixing.

Enters: a name, folder, zip or list. Leaves: loaders of batches with their labels and splits. Called by training,
evaluation and `catseye check`.

    sources.py        folder, zip, CSV: names, labels, splits, a way to read
    names.py          a million file names in one block of bytes
    builtin.py        digits, MNIST, CIFAR as arrays
    checks.py         the first look: equal files, typical size, grey or colour
    value_range.py    black and white of images with more than 8 bits; is there anything to see
    check.py          the walk behind `catseye check`, and its fast part in train
    looks.py          one look at every image
    duplicates.py     perceptual hash, near duplicates without comparing all pairs
    side_rules.py     rules on classes, labels, duplicates, sides
    image_rules.py  rules on single images
    findings.py       findings and the verdict
    check_page.py     the verdict as one offline page; its looks are in templates/, also for report.html
    splits.py         seeded, stratified, duplicates kept together
    prepare.py        list, look, decide, decode, split
    loaders.py        batches from memory or from the files
    workers.py        the processes that decode, watched: dead or hanging is an error
    augment.py        one function per transform, every image drawn for itself
    mixing.py         MixUp and CutMix
"""
