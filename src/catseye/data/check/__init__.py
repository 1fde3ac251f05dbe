"""What is wrong with labelled images: the rules of `check` and `train`.

Enters: `ImageSet`. Leaves: `Verdict`. Called by cli and `data/prepare.py`. Imports no torch.

    check.py        the steps of `catseye check`: list, look, rules, report
    data_facts.py   what the rules know about the images
    rules.py        all rules that need no pixels, with those on classes and labels
    copy_rules.py   rules on images that show the same: different labels, different splits
    image_rules.py  rules on single images
    findings.py     findings and the verdict, as lines and JSON
    looks.py        one look at every image
    duplicates.py   candidates for near duplicates, by a perceptual hash, without comparing all pairs
    second_look.py  which candidates are the same image, not two images in the same framing
    copies.py       both steps of the search for near duplicates
    page.py         the verdict as one offline page
"""
