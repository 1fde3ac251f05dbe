"""What is wrong with labelled images: every rule once, for `catseye check` and for the first lines of `catseye train`.

Enters: `ImageSet`, looks at its images. Leaves: `Verdict`. Called by cli and `data/prepare.py`. Nothing here imports
torch.

    check.py        the walk behind `catseye check`: list, look, rules, report
    data_facts.py   what the rules know of the images
    rules.py        every rule asked, and those on classes and labels; which of them stop a training
    copy_rules.py   rules on images that show the same: two labels, two sides
    image_rules.py  rules on single images
    findings.py     findings and the verdict, as lines and JSON
    looks.py        one look at every image
    duplicates.py   perceptual hash: candidates for near duplicates without comparing all pairs
    second_look.py  which candidates are the same image, and which two in one framing
    copies.py       both looks one after the other
    page.py         the verdict as one offline page
"""
