"""What every HTTP server of catseye shares: `serving` and `lab` stand on it. No torch.

Enters: connections. Leaves: requests within their limits, responses, refusals, log lines.

    limits.py       what one caller may ask for
    sockets.py      the listening socket
    listening.py    uvicorn, run until a signal and drained
    stopping.py     who has connected is taken in before the socket is closed
    protocol.py     one connection: limits before a request is whole
    door.py         how many are connected, in all and by address
    heads.py        what is wrong with a request's head
    rules.py        what the connections of one server keep to
    fields.py       the parameters behind a header's value
    bodies.py       a request's body, read within its limits
    multipart.py    the parts of a form
    images.py       the images in a body
    responses.py    an answer before it is sent
    refusals.py     a request that is not answered: status, code, sentence
    local_pages.py  pages for a browser on this machine alone; this file and the next need Starlette
    shown.py        such pages from their address to the signal that ends them
    static_files.py files for a browser, with their security headers
    logs.py         one JSON object per line, written by a thread
"""
