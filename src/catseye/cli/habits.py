"""Words that people type by the habit of other tools, and the line of catseye that does what they meant.

Enters: an error of the parser and the words that were typed. Leaves: advice, or nothing. Called when a call has failed
already (`endings.py`), so nothing in here is paid by a call that is right.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catseye.cli.printing import command_line

# Names of Ultralytics, timm, Keras and Hugging Face, and what they are here: an option, or a setting by its key.
MEANT = {
    "learning_rate": "training.lr", "lr0": "training.lr", "wd": "training.weight_decay",
    "batch": "training.batch_size", "bs": "training.batch_size", "per_device_train_batch_size": "training.batch_size",
    "train_batch_size": "training.batch_size", "gradient_accumulation_steps": "training.accumulate_steps",
    "imgsz": "data.input_px", "img_size": "data.input_px", "image_size": "data.input_px", "img": "data.input_px",
    "opt": "training.optimizer", "optim": "training.optimizer", "sched": "training.schedule",
    "scheduler": "training.schedule", "lr_scheduler_type": "training.schedule", "smoothing": "training.label_smoothing",
    "label_smoothing_factor": "training.label_smoothing", "num_workers": "data.workers",
    "dataloader_num_workers": "data.workers", "clip_grad": "training.clip_norm", "max_grad_norm": "training.clip_norm",
    "val_split": "data.val_fraction", "validation_split": "data.val_fraction", "drop": "model.dropout",
    "num_epochs": "--epochs", "num_train_epochs": "--epochs", "arch": "--model", "model_name_or_path": "--model",
    "net": "--model", "network": "--model", "output_dir": "--out", "output": "--out", "project": "--out",
    "save_dir": "--out", "resume_from_checkpoint": "--resume", "data": "DATA", "train_dir": "DATA", "dataset": "DATA",
    "data_path": "DATA", "random_state": "--seed", "format": "--to", "formats": "--to", "img_path": "PATHS",
    "source": "PATHS", "weights": "MODEL", "checkpoint": "MODEL", "run": "MODEL",
}  # fmt: skip
SAME_VERBS = {
    "val": "evaluate", "test": "evaluate", "eval": "evaluate", "validate": "evaluate", "fit": "train",
    "finetune": "train", "classify": "predict", "infer": "predict", "inference": "predict", "benchmark": "bench",
    "convert": "export", "gradcam": "explain", "list": "models",
}  # fmt: skip
_TAKES_SETTINGS = ("train", "lr-find", "timeline")
_COMMAS = {"export": ("--to",), "bench": ("--batch", "--threads")}


def right_line(error: Exception, words: list[str]) -> str:
    """`type: catseye …` where the words can be put right, else ""."""
    context: Any = getattr(error, "ctx", None)
    if context is None or not words:
        return ""
    verb = words[0]
    if context.parent is None:
        return f"type: {command_line('catseye', SAME_VERBS[verb], *words[1:])}" if verb in SAME_VERBS else ""
    too_many = "unexpected extra argument" in str(error)
    if too_many and (rows := in_rows(words, _COMMAS.get(verb, ()))) != words:
        return f"several values are separated by commas; type: {command_line('catseye', *rows)}"
    known = {name for one in context.command.params for name in one.opts if name.startswith("-")}
    known.update(context.help_option_names)
    takes = {name for one in context.command.params if not getattr(one, "is_flag", False) for name in one.opts}
    meant = list(_meant(words, known, takes))
    if meant == words and too_many and "--model" in known:
        meant = _with_model(words, takes)
    return f"type: {command_line('catseye', *meant)}" if meant != words else ""


def _with_model(words: list[str], takes: set[str]) -> list[str]:
    """The words of `train DATA NETWORK` or `train NETWORK DATA` with `--model` before the network."""
    places = [
        number
        for number, word in enumerate(words)
        if number
        and not word.startswith("-")
        and not (words[number - 1].startswith("-") and words[number - 1] in takes)
    ]
    if len(places) != 2:
        return words
    network = next((number for number in reversed(places) if not Path(words[number]).exists()), places[1])
    rest = [word for number, word in enumerate(words) if number != network]
    return [*rest, "--model", words[network]]


def in_rows(words: list[str], options: tuple[str, ...]) -> list[str]:
    """The words with the values that follow an option joined by commas: `--to onnx openvino`."""
    found: list[str] = []
    row = False
    for number, word in enumerate(words):
        if row and not word.startswith("-"):
            found[-1] += f",{word}"
            continue
        found.append(word)
        row = number > 0 and words[number - 1] in options
    return found


def _meant(words: list[str], known: set[str], takes: set[str]) -> Iterator[str]:
    """The words in the way of catseye; those that are known, or that nobody can read, stay as they are."""
    keys = _settings() if words[0] in _TAKES_SETTINGS else {}
    waiting = iter(words)
    for word in waiting:
        name, joined, value = word.partition("=")
        if name in takes and not joined and name.startswith("-"):
            yield word
            yield from _next(waiting)
            continue
        key = name.lstrip("-").replace("-", "_").lower()
        target = None if name in known else _meaning(key, keys, known)
        is_habit = target is not None and (joined or name.startswith("--"))
        if not is_habit or target is None:
            yield word
            continue
        if not joined:
            value = next(waiting, "VALUE")
        if target.startswith("--"):
            yield from (target, value)
        elif "." in target:
            yield from ("--set", f"{target}={value}")
        else:
            yield value


def _meaning(key: str, keys: dict[str, str], known: set[str]) -> str | None:
    option = f"--{key.replace('_', '-')}"
    if option in known and MEANT.get(key) != "DATA":  # data=pets is the argument, also where there is a --data
        return option
    target = MEANT.get(key) or keys.get(key)
    if target is None or (target.startswith("--") and target not in known) or ("." in target and not keys):
        return None
    return target


def _next(waiting: Iterator[str]) -> Iterator[str]:
    value = next(waiting, None)
    if value is not None:
        yield value


def _settings() -> dict[str, str]:
    """Every setting by the last part of its key, where that names one alone."""
    from catseye.settings.schema import Settings

    found: dict[str, list[str]] = {}
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            found.setdefault(name, []).append(f"{group}.{name}")
    return {name: keys[0] for name, keys in found.items() if len(keys) == 1}
