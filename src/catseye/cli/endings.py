"""How a command ends: each error becomes a sentence on stderr and an exit code.

The codes: 2 usage, 1 failure, 128 + signal.
"""

import errno
import sys
import traceback

import typer

from catseye.cli.habits import line_of_keywords, right_line
from catseye.cli.printing import common_options, say_error, stderr
from catseye.errors import CatseyeError, DataError, Interrupted, MissingDependency, ModelFileError, was_interrupted

_ADVICE = {
    errno.EACCES: "choose a folder that you may write to, or ask its owner",
    errno.EPERM: "choose a folder that you may write to, or ask its owner",
    errno.EROFS: "choose a writable folder",
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
}


def end_with(error: BaseException) -> int:
    """Say what went wrong and return the exit code; only --debug shows the traceback."""
    if common_options.debug and not isinstance(error, Interrupted):
        traceback.print_exception(error)
    try:
        return _say(error)
    except (OSError, CatseyeError):
        return 1  # stderr is gone too: only the exit code is left
    finally:
        _drop_lost_streams()


def _say(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):
        return 1  # the reader of our output has gone
    if isinstance(error, typer.TyperException):
        return _say_usage(error)
    if isinstance(error, CatseyeError):
        advice = line_of_keywords(sys.argv[1:]) if any("=" in word for word in sys.argv[2:4]) else ""
        say_error(f"{error}; {advice}" if advice and isinstance(error, ModelFileError | DataError) else error)
        return error.exit_code
    if was_interrupted(error):
        stderr.print("stopped before any work began; nothing was saved")
        return 130
    if isinstance(error, ModuleNotFoundError):
        say_error(MissingDependency(error.name or "a package"))
        return 1
    if isinstance(error, OSError) and error.strerror:
        say_error(_of_the_system(error))
        return 1
    say_error(f"{type(error).__name__}: {error}")
    stderr.print("this looks like a bug in catseye; --debug shows the traceback")
    return 1


def _say_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    place = context.command_path if context else "catseye"
    advice = right_line(error, sys.argv[1:])
    if option := getattr(error, "option_name", None):
        near = "" if advice else " or ".join(getattr(error, "possibilities", None) or [])
        message = f"there is no option {option}{f'; did you mean {near}?' if near else ''}"
    elif (value := _value_of(error)) is not None:
        message = f"{error.param.opts[0]}: {error.message.partition(', unable')[0].rstrip('.')}; got {value!r}"  # type: ignore[attr-defined]
    else:
        message = error.format_message().rstrip(".")
    if message:  # empty if a command without arguments has printed its help
        say_error(f"{message}; {advice or f'see {place} --help'}")
    return 2


def _value_of(error: typer.TyperException) -> str | None:
    """The value that an option refused."""
    options = getattr(getattr(error, "param", None), "opts", ())
    for number, word in enumerate(sys.argv[:-1]):
        if word in options and isinstance(error, typer.BadParameter) and error.message:
            return sys.argv[number + 1]
    return None


def _of_the_system(error: OSError) -> str:
    """The message for an error of the operating system: never a bug of ours."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = " and ".join(names) if names else "a file or stream"
    advice = _ADVICE.get(error.errno or 0, "")
    if "temporary directory" in str(error.strerror):
        what, advice = "the folder for temporary files", "set TMPDIR to a writable folder"
    return f"{what} cannot be used ({error.strerror}){'; ' + advice if advice else ''}"


def _drop_lost_streams() -> None:
    """Flush both streams; drop one that fails, or Python reports it again at exit."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            setattr(sys, name, None)
