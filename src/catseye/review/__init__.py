"""Corrects labels: pages that put questions to a person, the file of decisions.

Enters: a run or DATA. Leaves: corrections.csv, which `catseye train --corrections` applies. `catseye review` and
`catseye label`, on loopback only. Also `catseye teach`, which takes images from a camera and writes a run folder.
Called by cli, and by the lab, whose chapter 11 is the page of teach.

    command.py      review and label, step by step
    place.py        where a page is opened, and the loop that shows it
    app.py          the routes
    log.py          the file of decisions: appended, synced, locked against a second page
    material.py     what is known about the images before the first question
    items.py        the queue of questions, each with its reason
    desk.py         one review: questions, decisions, and their effect
    label_desk.py   one labelling: the next question, and a proposal
    heat.py         the map of a class, over the image
    teach_command.py  teach, step by step
    teach_desk.py   one lesson: frames, a head that learns them, live answers
    taught.py       a head on frozen features as a whole network
    kept.py         a lesson as a run folder
    static/         three pages, their scripts, their style sheets
"""
