"""Putting labels right: the page that asks a person, and the file of what was decided.

Enters: a run or DATA. Leaves: corrections.csv, which `catseye train --corrections` applies. `catseye review`,
`catseye label`; on loopback only. And `catseye teach`, where a camera gives the images and a run folder is what leaves.
The cli and the lab, which shows
the page of teach as its chapter 11, import it.

    command.py      the walks behind review and label
    place.py        where a page is opened, and the loop that shows it
    app.py          the routes
    log.py          the file of decisions: appended, synced, held against a second page
    material.py     what is known of the images before anybody is asked
    items.py        the queue: what is worth a person's time, with its reason
    desk.py         one review: questions, decisions, what they are worth
    label_desk.py   one labelling: what is asked next, what is proposed
    heat.py         where a run sees a class, over the image
    teach_command.py  the walk behind teach
    teach_desk.py   one lesson: frames, what is learnt from them, live answers
    taught.py       a head on frozen features as a whole network
    kept.py         what was taught, as a run folder
    static/         three pages, their scripts, their style sheets
"""
