"""Options and verbs of other tools, and the catseye command that was meant.

Enters: a parser error and the words typed. Leaves: advice, or nothing. Called only after a command has failed
(`endings.py`), so a correct command pays nothing for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catseye.cli.printing import command_line

# Names of Ultralytics, timm, Keras and Hugging Face, and their equivalents here: an option, or a setting by its key.
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
    "source": "PATHS", "weights": "MODEL", "checkpoint": "MODEL", "run": "MODEL", "model": "MODEL", "name": "--out",
    "early_stopping": "training.patience", "gpus": "--nproc", "num_gpus": "--nproc", "topk": "--top", "top_k": "--top",
    "b": "training.batch_size", "j": "data.workers", "o": "--out", "d": "DATA", "p": "--port",
}  # fmt: skip
# Flags that take no value in other tools, or other values than here.
FLAGS = {
    "amp": "training.precision=fastest", "fp16": "training.precision=fastest", "half": "training.precision=fastest",
    "bf16": "training.precision=bf16", "class_weights": "training.class_weights=balanced", "cuda": "--device cuda",
    "cpu": "--device cpu", "no_cuda": "--device cpu", "use_cpu": "--device cpu", "from_pretrained": "--pretrained",
    "augment": "", "verbose": "", "plots": "",
}  # fmt: skip
TASKS = ("classify", "task=classify", "yolo", "autogluon")
SAME_VERBS = {
    "val": "evaluate", "test": "evaluate", "eval": "evaluate", "validate": "evaluate", "fit": "train",
    "finetune": "train", "classify": "predict", "infer": "predict", "inference": "predict", "benchmark": "bench",
    "convert": "export", "gradcam": "explain", "list": "models", "help": "--help", "version": "--version",
    "mode=train": "train", "mode=val": "evaluate", "mode=predict": "predict", "mode=export": "export",
}  # fmt: skip
_TAKES_SETTINGS = ("train", "lr-find", "timeline")
_COMMAS = {"export": ("--to",), "bench": ("--batch", "--threads")}


def right_line(error: Exception, words: list[str]) -> str:
    """`type: catseye …` if the command can be corrected, else ""."""
    context: Any = getattr(error, "ctx", None)
    if context is None or not words:
        return ""
    if context.parent is None:
        return _other_verb(words, context)
    verb = words[0]
    too_many = "unexpected extra argument" in str(error)
    if too_many and (rows := in_rows(words, _COMMAS.get(verb, ()))) != words:
        return f"several values are separated by commas; type: {command_line('catseye', *rows)}"
    known = {name for parameter in context.command.params for name in parameter.opts if name.startswith("-")}
    known.update(context.help_option_names)
    takes = {
        name
        for parameter in context.command.params
        if not getattr(parameter, "is_flag", False)
        for name in parameter.opts
    }
    meant = list(_meant(words, known, takes))
    if meant == words and too_many and "--model" in known:
        meant = _with_model(words, takes)
    return f"type: {command_line('catseye', *meant)}" if meant != words else ""


def line_of_keywords(words: list[str]) -> str:
    """The advice for `predict model=RUN source=IMAGE`, taken for files; else ""."""
    meant = list(_meant(words, set(), set())) if len(words) > 1 else words
    return f"type: {command_line('catseye', *meant)}" if meant != words else ""


def _other_verb(words: list[str], context: Any) -> str:
    """The advice for an unknown verb.

    The verb may be another tool's name for one of catseye, or a word that precedes it there.
    """
    verbs = set(getattr(context.command, "commands", ()))
    rest = [word for word in words if word not in TASKS] if words[0] in TASKS[1:] or words[1:2] else words
    if words[0] in TASKS and rest and (rest[0] in verbs or rest[0] in SAME_VERBS):
        words = rest
    verb = SAME_VERBS.get(words[0], words[0])
    if verb not in verbs and words[0] not in SAME_VERBS:
        return ""
    command = context.command.commands.get(verb)
    known = {name for parameter in getattr(command, "params", ()) for name in parameter.opts if name.startswith("-")}
    takes = {
        name
        for parameter in getattr(command, "params", ())
        if not getattr(parameter, "is_flag", False)
        for name in parameter.opts
    }
    return f"type: {command_line('catseye', *_meant([verb, *words[1:]], known, takes))}"


def _with_model(words: list[str], takes: set[str]) -> list[str]:
    """Put `--model` before the network in `train DATA NETWORK`, in either order."""
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
    """The words with an option's values joined by commas: `--to onnx openvino`."""
    joined: list[str] = []
    row = False
    for number, word in enumerate(words):
        if row and not word.startswith("-"):
            joined[-1] += f",{word}"
            continue
        joined.append(word)
        row = number > 0 and words[number - 1] in options
    return joined


def _meant(words: list[str], known: set[str], takes: set[str]) -> Iterator[str]:
    """The words translated to catseye; known and unreadable ones stay as they are.

    A model given by a keyword comes first, where the verbs expect it.
    """
    keys = _settings() if words[0] in _TAKES_SETTINGS else {}
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(words[1:])
    for word in waiting:
        name, joined, value = word.partition("=")
        if name in takes and not joined and name.startswith("-"):
            rest += [word, *_next(waiting)]
            continue
        key = name.lstrip("-").replace("-", "_").lower()
        is_habit = bool(joined) or name.startswith("--") or (name.startswith("-") and (key in MEANT or key in keys))
        if is_habit and name not in known and not joined and (flag := _flag(key, keys, known)) is not None:
            rest += flag
            continue
        target = _gpu(key, known) or (None if name in known or not is_habit else _meaning(key, keys, known))
        if target is None:
            rest.append(word)
            continue
        value = value if joined else next(waiting, "VALUE")
        if target.startswith("--"):
            rest += [target, f"cuda:{value}" if key == "gpu" and value.isdigit() else value]
        elif "." in target:
            rest += ["--set", f"{target}={value}"]
        else:
            (first if target == "MODEL" else rest).append(value)
    yield from (words[0], *first, *rest)


def _flag(key: str, keys: dict[str, str], known: set[str]) -> list[str] | None:
    """The words for another tool's flag; empty if none is needed here."""
    target = FLAGS.get(key)
    if target is None or ("." in target and not keys) or (target.startswith("--") and target.split()[0] not in known):
        return None
    return ["--set", target] if "." in target else target.split()


def _gpu(key: str, known: set[str]) -> str | None:
    return "--device" if key in ("gpu", "gpu_id") and "--device" in known else None


def _meaning(key: str, keys: dict[str, str], known: set[str]) -> str | None:
    option = f"--{key.replace('_', '-')}"
    if option in known and MEANT.get(key) != "DATA":  # data=pets is the argument, even if there is a --data
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
    """Every setting by the last part of its key, if that is unambiguous."""
    from catseye.settings.schema import Settings

    keys_of: dict[str, list[str]] = {}
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            keys_of.setdefault(name, []).append(f"{group}.{name}")
    return {name: keys[0] for name, keys in keys_of.items() if len(keys) == 1}
