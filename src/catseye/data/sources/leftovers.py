"""What operating systems, file servers and tools leave beside the user's files.

Called by `folder.py`, `archive.py` and `prediction/paths.py`.
"""

# In lower case. Names that may be a class (recycled, trash, cache) are not in it.
LEFTOVERS = frozenset(
    {
        "__macosx",  # macOS's archiver
        "@eadir",  # Synology
        "eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "system volume information",
        "$winreagent",
        "thumbs.db",
        "thumbs.db:encryptable",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "lost+found",  # ext file systems
        "lost.dir",  # Android
        "found.000",
        "network trash folder",  # AppleShare
        "temporary items",
        "thevolumesettingsfolder",
        "icon\r",
        "__pycache__",  # Python
    }
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden (a leading dot) or in the list.

    >>> [is_leftover(name) for name in (".ipynb_checkpoints", "._a.png", "$RECYCLE.BIN", "Thumbs.db", "cat")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in LEFTOVERS
