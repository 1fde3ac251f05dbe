"""MODULE:NAME, the import path by which a run folder names code.

A run folder cannot hold code.

Enters: a class, a function or an object. Leaves: text. Called by models/custom.py and training/own_code.py.
"""

from typing import Any


def import_path(code: Any) -> str:
    """Where a class, a function or an object's class is defined.

    >>> import_path(dict), import_path({})
    ('builtins:dict', 'builtins:dict')
    """
    named = code if hasattr(code, "__qualname__") else type(code)
    return f"{named.__module__}:{named.__qualname__}"
