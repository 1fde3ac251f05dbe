"""Mutations: each takes one defence of catseye away, and the tests named for it have to notice.

    mutation.py  an entry, and the tables under list/, one per room
    trial.py     the tests of one mutation, run against a copy of the source
    __main__.py  all of them: `make mutants`, or `python -m tests.mutants [ID …]`

A new defence gets an entry of five lines. An entry whose pattern no longer stands exactly once in its file, or whose
test is gone, fails `test_list.py`, which is fast; that a test still catches its mutation is shown by `make mutants`.
"""
