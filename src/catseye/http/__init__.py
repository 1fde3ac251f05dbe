"""What all HTTP servers of catseye share: `serving`, `review`, `lab`. No torch.

Enters: connections. Leaves: requests within their limits, responses, refusals, log lines.

    limits.py       the limits of size, time and number
    sockets.py      the listening socket
    listening.py    uvicorn, run until a signal and drained
    stopping.py     accepts waiting connections before the socket is closed
    protocol.py     one connection: limits while a request arrives
    door.py         how many connections there are, in all and by address
    heads.py        what is wrong with a request's head
    rules.py        the rules for all connections of one server
    fields.py       the parameters of a header's value
    bodies.py       a request's body, read within its limits
    multipart.py    the parts of a form
    images.py       the images in a body
    responses.py    a response before it is sent
    refusals.py     a refused request: status, code, message
    local_pages.py  pages for a browser on this machine only; this file and the next need Starlette
    shown.py        serves such pages until a signal
    static_files.py files for a browser, with their security headers
    logs.py         one JSON object per line, written by a thread
"""
