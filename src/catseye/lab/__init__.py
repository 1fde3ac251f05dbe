"""The lab: pages on which one touches what a convolutional network does. `catseye lab [MODEL]`, on loopback only.

    chapters/       one folder a chapter: answers.py (`QUESTIONS = {"slide": Question(Slide, slide), ...}`), maths.py
                    (what is shown, as plain functions), page.html (what stands inside <main>), script.js, sketch.svg
    chapters/table.py  number, address, title and the one idea of each chapter
    networks.py     `Shown`: the network on the bench, given, trained here, or with fresh weights
    questions.py    `Question`: what a page may ask, checked by pydantic, and the function that answers
    bench.py        `Workbench`: what all chapters share: the model given, the images, what was trained here
    images.py       built-in images, drawn here, and those that a user dropped
    glossary.py     the terms, each explained in a sentence; `[[term]]` in a page becomes a word that can be asked
    reading.py      the chapters of the documents as pages of the lab
    one_thread.py   for what is too small to share
    page_files.py   puts head, navigation and foot (pages/) around each chapter's page
    static/         lab.css is the one style sheet, api.js the way to Python, draw.js tables and maps, frame.js what
                    every page has, tries.js the things to try: a prediction first, then what is measured
    app.py          the ASGI application
    command.py      the walk behind the verb

**How a page gets its numbers.** `ask("convolution/slide", {...})` in `static/api.js` sends a POST with JSON to
`/api/convolution/slide`; app.py finds `QUESTIONS["slide"]` in `chapters/convolution/answers.py`, has pydantic check
what was asked, calls the answer in a thread and sends back what it returns as JSON. Nothing is computed in JavaScript
but where to draw: the functions that answer are the ones that the tests hold against SciPy and torch. An answer that
is a generator is streamed as server-sent events, one for each value: `watch("training/run", {...}, onValue)`. A
`CatseyeError` becomes status 400 and its sentence; `api.js` shows it where the page says so.

**A new chapter** is a line in `chapters/table.py` and a folder `chapters/NAME/`. Its answers module is imported when it
is first asked: chapters 1 to 3 work where torch is not installed. What a page has trained is put on the bench for
chapter 4 by `networks.leave`.

Chapter 11 is the page of `catseye teach` (review/), mounted at /teach/.

This room shows what explanation, training and serving compute, and calls them by name. Only the cli imports it.
"""
