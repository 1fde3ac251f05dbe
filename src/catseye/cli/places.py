"""Files and folders given to a verb, checked before anything heavy begins.

Enters: paths as typed. Leaves: nothing, or an error that says what to type instead. No torch. To test a folder, a
file without a name is written to it, so nothing is left behind.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from catseye.cli.printing import command_line
from catseye.errors import DataError, ImageError, ModelFileError, UsageError

_RUN_FILES = ("settings.toml", "model.safetensors")


def require_model(path: Path, what: str = "give a run folder, a model.safetensors or an exported file") -> None:
    """Refuse a model that does not exist.

    Raises:
        ModelFileError: it does not exist.

    """
    if not _exists(path):
        raise ModelFileError(f"{path} does not exist; {what}")


def require_data(data: str | None) -> None:
    """Refuse labelled images that do not exist.

    The message is that of data/sources/open_data.py.

    Raises:
        DataError: they do not exist.

    """
    from catseye.data.builtin import NAMES

    if data is not None and data not in NAMES and not _exists(Path(data)):
        raise DataError(
            f"{data} does not exist; DATA is a folder of class folders, a .zip of one, "
            f"a .csv with paths and labels, or one of {', '.join(NAMES)}"
        )


def require_paths(paths: Sequence[str]) -> None:
    """Refuse images if none of them exists.

    If only some are missing, each of those gets a row with its error.

    Raises:
        ImageError: none exists.

    """
    if paths and not any(_exists(Path(path)) or any(sign in path for sign in "*?[") for path in paths):
        raise ImageError(f"{paths[0]} does not exist; give images, folders of images, globs or lists")


def one_data(data: str | None, option: str | None) -> str | None:
    """DATA, given as an argument or with --data.

    Raises:
        UsageError: both are given.

    """
    if data is not None and option is not None:
        raise UsageError(f"DATA and --data say the same thing; got {data} and {option}; leave one of them out")
    return option if data is None else data


def require_order(model: Path, others: Sequence[str]) -> None:
    """Refuse `predict IMAGE RUN`: the model comes first.

    Raises:
        UsageError: another word is a model and this one is not.

    """
    if is_model(model):
        return
    for other in others:
        if is_model(Path(other)):
            words = sys.argv[1:]
            if str(model) in words and other in words:
                first, second = words.index(str(model)), words.index(other)
                words[first], words[second] = words[second], words[first]
                advice = f"type: {command_line('catseye', *words)}"
            else:
                advice = "swap them"
            raise UsageError(f"the model comes first; got {model} before the model {other}; {advice}")


def is_model(path: Path) -> bool:
    """Whether this is an exported file, a run folder or a model.safetensors.

    Its name and content decide.
    """
    from catseye.runtimes.formats import is_model_file

    if path.is_dir():
        return any((path / name).is_file() for name in _RUN_FILES)
    return path.is_file() and (is_model_file(path) or path.suffix == ".safetensors")


def require_out_folder(out: Path | None, default: Path | None = None) -> None:
    """Refuse a folder that cannot be made or written to: `out`, else the default.

    Raises:
        UsageError: it cannot be made or written to.

    """
    folder = out or default
    if folder is None:
        return
    what, advice = (str(folder), "choose a folder: --out DIR")
    if out:
        what, advice = f"--out {out}", "choose a different folder"
    existing = next(each for each in (folder, *folder.absolute().parents) if _exists(each))
    if not existing.is_dir():
        raise UsageError(f"{what} cannot be made ({existing} is a file); {advice}")
    _try_to_write(existing, what, advice)


def require_out_file(path: Path | None, option: str) -> None:
    """Refuse a file that cannot be written.

    Raises:
        UsageError: it cannot be written.

    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option} takes a file; got the folder {path}; for example {option} {path / 'table.csv'}")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path} cannot be written (there is no folder {path.parent}); make it first")
    if not path.exists():
        _try_to_write(path.parent, f"{option} {path}", "give another file")
        return
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written ({error.strerror}); give another file") from None


def _try_to_write(folder: Path, what: str, advice: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b" ")
    except OSError as error:
        raise UsageError(f"{what} cannot be written to ({error.strerror}); {advice}") from None


def _exists(path: Path) -> bool:
    return os.path.lexists(path)
