"""Mutations: each removes one defence of catseye, and named tests must fail.

    mutation.py  an entry, and the tables under list/, one per room
    trial.py     the tests of one mutation, run against a copy of the source
    __main__.py  all of them: `make mutants`, or `python -m tests.mutants [ID …]`

A new defence gets an entry of five lines. `test_list.py`, which is fast, fails if the pattern of an entry does not
occur exactly once in its file, or if its test does not exist; `make mutants` shows that the tests catch the mutations.
"""
