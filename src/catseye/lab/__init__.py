"""The lab: interactive pages that show what a convolutional network does.

`catseye lab [MODEL]`, on loopback only.

    chapters/       one folder per chapter: answers.py (`QUESTIONS = {"slide": Question(Slide, slide), ...}`), maths.py
                    (what is shown, as plain functions), page.html (the content of <main>), script.js, sketch.svg
    chapters/table.py  number, address, title and the one idea of each chapter
    networks.py     `Shown`: the network on the bench: given, trained here, or with fresh weights
    questions.py    `Question`: the fields that a page may send, checked by pydantic, and the function that answers
    bench.py        `Workbench`: what all chapters share: the given model, the images, networks trained here
    images.py       built-in images, drawn here, and those that a user dropped
    glossary.py     the terms, each explained in a sentence; `[[term]]` in a page becomes a word with its explanation
    reading.py      the chapters of the documents as pages of the lab
    one_thread.py   one thread for computing with a very small network
    page_files.py   adds head, navigation and foot (pages/) to each chapter's page
    static/         lab.css is the only style sheet, api.js sends requests to Python, draw.js draws tables and maps,
                    frame.js is for every page, tries.js has things to try: first a prediction, then the measurement
    app.py          the ASGI application
    command.py      the verb, step by step

**How a page gets its numbers.** `ask("convolution/slide", {...})` in `static/api.js` sends a POST with JSON to
`/api/convolution/slide`; app.py finds `QUESTIONS["slide"]` in `chapters/convolution/answers.py`, has pydantic check
the fields, calls the answer in a thread and sends its result as JSON. JavaScript computes only where to draw: the tests
compare the functions that answer with SciPy and torch. An answer that is a generator is streamed as server-sent events,
one for each value: `watch("training/run", {...}, onValue)`. A `CatseyeError` becomes status 400 with its message, which
`api.js` shows on the page.

**A new chapter** is a line in `chapters/table.py` and a folder `chapters/NAME/`. Its answers module is imported at its
first request: chapters 1 to 3 work without torch. `networks.leave` puts a network that a page has trained on the bench
for chapter 4.

Chapter 11 is the page of `catseye teach` (review/), mounted at /teach/.

This room shows what explanation, training and serving compute, and calls them by name. Only the cli imports it.
"""
