"""A training session: settings, published weights, images, and decisions.

Enters: a request, or a run to continue. Leaves: a `RunSession`. `catseye train`, its --resume, `lr-find` and `timeline`
all begin here, so that all of them support the same options (--data-dir, several processes).

    open_session    settings (for `auto`, from a sample of the images) → weights → images → `decide` → session
    reopen_session  the same from a run folder, whose decisions are kept
    decide          the only place where settings may still change before anything is built
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from catseye.data.check.findings import name_classes
from catseye.data.loaders import Loader, draw_part
from catseye.data.moved import locate_data
from catseye.data.prepare import Prepared, prepare
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, Images, ImageSet, open_source
from catseye.data.sources.corrections import correction_facts, describe_corrections, uncorrected
from catseye.data.survey import fingerprint_images
from catseye.errors import ModelFileError, UsageError
from catseye.machine.devices import choose_device, keep_freed_memory
from catseye.models import registry
from catseye.models.heads import HeadKind
from catseye.models.pretrained import Published, expected_input, find_published
from catseye.runs import FEATURES_FILE, OWN_CODE, Run, read_json
from catseye.settings.merge import UNDECIDED
from catseye.settings.schema import Settings
from catseye.tensor_files import read_tensors
from catseye.training.auto import Facts, choose_way
from catseye.training.distributed import ALONE, Processes, check_same_data, check_sizes, join
from catseye.training.facts import gather_facts
from catseye.training.own_code import OwnCode
from catseye.training.request import RunRequest, requested_settings

DECIDED = ("facts", "choice", "begun_anew_with_a_tenth_of_the_rate")  # keys of auto.json that a search does not write
OLD_HEAD = {"model.6.weight", "model.head.6.weight"}  # its second linear layer, in a checkpoint


@dataclass(frozen=True)
class Workplace:
    """The device, processes and console of a run.

    The console of every process but the first is quiet.
    """

    device: torch.device
    console: Console
    processes: Processes = ALONE

    def say(self, sentence: str) -> None:
        """Print a line as it is."""
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def find_workplace(request: RunRequest, *, alone: bool = False) -> Workplace:
    """The requested device, and the processes that torchrun started.

    `alone`: the command uses a single process.
    """
    processes, device = (ALONE, choose_device(request.device)) if alone else join(request.device)
    if device.type == "cpu":
        keep_freed_memory()
    console = request.console or Console(stderr=True)
    return Workplace(device, console if processes.first else Console(quiet=True), processes)


@dataclass(frozen=True)
class RunSession:
    """Everything a run is built from.

    `parts`: splits of which only this many images, drawn from the seed, are used.
    """

    settings: Settings
    prepared: Prepared
    place: Workplace
    published: Published | None = None
    data_dir: Path | None = None
    decided: Mapping[str, Any] | None = None  # auto.json: facts and choice, if the recipe was auto
    parts: Mapping[str, int] = field(default_factory=dict)
    own: OwnCode = field(default_factory=OwnCode)
    head: HeadKind = "linear"  # of transfer learning
    features_file: Path | None = None  # cached features of a run that is continued

    @property
    def loaders(self) -> Mapping[str, Loader]:
        """One loader per split; that of training gives this process's part of a batch."""
        loaders, processes = self.prepared.loaders, self.place.processes
        return {**loaders, "train": loaders["train"].share(processes.rank, processes.world_size)}

    @property
    def held_out(self) -> str:
        """The split that a finished run is measured on."""
        return "test" if self.prepared.counts["test"] else "val"

    def with_parts(self, parts: Mapping[str, int]) -> "RunSession":
        """The same session on at most this many images of some splits.

        The other images leave their split.
        """
        loaders, splits, drawn = dict(self.prepared.loaders), self.prepared.splits.copy(), dict(self.parts)
        for side, num_images in parts.items():
            whole = loaders[side]
            if num_images < len(whole.indices):
                loaders[side] = draw_part(whole, num_images, self.settings.seed)
                splits[np.setdiff1d(whole.indices, loaders[side].indices)] = NOT_SPLIT
                drawn[side] = num_images
        return replace(self, prepared=replace(self.prepared, loaders=loaders, splits=splits), parts=drawn)

    def describe_data(self) -> dict[str, Any]:
        """data.json: the source, and name and class of every image on each side."""
        images, prepared = self.prepared.images, self.prepared
        names: dict[str, dict[str, str]] = {side: {} for side in SPLIT_LABELS}
        for name, label, side in zip(images.names, images.labels, prepared.splits, strict=True):
            if side >= 0:
                names[SPLIT_LABELS[side]][name] = images.classes[label]
        described: dict[str, Any] = {
            "source": images.source,
            "data_dir": str(self.data_dir.resolve()) if self.data_dir else None,
            "sha256": prepared.data_sha256,
            "classes": list(images.classes),
            "splits": names,
            "quarantined": list(prepared.quarantined.values()),
            "content": prepared.content,
            "near_copies": prepared.near_copies,
            "notes": prepared.notes,
            "check": [{"rule": f.rule, "severity": f.severity, "count": f.count} for f in prepared.verdict.findings],
        }
        if images.corrected is not None:
            before = fingerprint_images(uncorrected(images))  # what a run without corrections has as its sha256
            described["corrections"] = {**correction_facts(images.corrected), "data_sha256": before}
        return {**described, "parts": dict(self.parts)} if self.parts else described


def open_session(request: RunRequest, settings: Settings, place: Workplace) -> RunSession:
    """A new session on the images of a request.

    Raises:
        UsageError: a setting is wrong or would do nothing. DataError: the images cannot be used.

    """
    if request.data is None:
        raise UsageError("DATA is missing: a folder of class folders, a .zip, a .csv or a built-in name such as digits")
    images = _list_images(request.data, settings, place, request.images_dir)
    for sentence in request.own.sentences():
        place.say(f"- {sentence}")
    decided = None
    if settings.recipe == UNDECIDED:
        settings, decided = _decide_way(request, images, settings, place)
    undecided = _gather(images, settings, place, request.images_dir)
    decision = decide(undecided)
    for sentence in decision.sentences:
        place.say(f"- {sentence}")
    return replace(undecided, settings=decision.settings, decided=decided, own=request.own)


def _decide_way(
    request: RunRequest, images: ImageSet, settings: Settings, place: Workplace
) -> tuple[Settings, dict[str, Any]]:
    """The settings that `auto` chooses for these images, and auto.json's content.

    They are equal in all processes.
    """
    facts = gather_facts(request, images, settings, place.device.type, place.processes.per_node)
    facts = Facts(**place.processes.broadcast(vars(facts)))
    choice = choose_way(facts)
    place.say(f"auto: {choice.sentence}")
    if choice.offer:
        place.say(f"- {choice.offer}")
    decided = requested_settings(request, recipe=choice.recipe, decided=choice.values)
    return decided.model_copy(update={"recipe": UNDECIDED}), {"facts": dict(vars(facts)), "choice": choice.to_json()}


def reopen_session(run: Run, place: Workplace, request: RunRequest) -> RunSession:
    """The session of an unfinished run, on its original images.

    The request may give their new folder.

    Raises:
        UsageError: the images have changed. DataError: they are missing, or the new place holds others.

    """
    recorded, settings = run.data, run.settings
    if "near_copies" not in recorded:  # a run from before 0.2, whose split ignored them
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"near_copies": "ignore"})})
    folder = request.images_dir or (Path(recorded["data_dir"]) if recorded["data_dir"] else None)
    source = locate_data(recorded, request.data, folder, settings.data)
    images = _list_images(source, settings, place, folder)
    request.own.require_same(read_json(run.path / OWN_CODE) if (run.path / OWN_CODE).exists() else {})
    session = replace(_gather(images, settings, place, folder), own=request.own).with_parts(recorded.get("parts", {}))
    splits = session.describe_data()["splits"]
    if session.prepared.data_sha256 != recorded["sha256"] or splits != recorded["splits"]:
        raise UsageError(_what_changed(images.source, recorded, splits))
    return replace(session, head=_head_of(run), features_file=run.path / FEATURES_FILE, decided=_decided_before(run))


def _decided_before(run: Run) -> Mapping[str, Any] | None:
    """What `auto` decided when the run began; None if the user chose the recipe."""
    path = run.path / "auto.json"
    content = read_json(path) if path.exists() else {}
    return {key: content[key] for key in DECIDED if key in content} or None


def _head_of(run: Run) -> HeadKind:
    """The head that an unfinished run trains; before 0.2 it had two linear layers."""
    for path in run.checkpoints:
        with contextlib.suppress(ModelFileError):  # load_newest reports damaged ones
            names = read_tensors(path, sealed=True)[0]
            return "transfer" if OLD_HEAD & names.keys() else "linear"
    return "linear"


def with_a_tenth_of_the_rate(session: RunSession) -> RunSession:
    """The same session for a second attempt, after the first one diverged."""
    training, transfer = session.settings.training, session.settings.transfer
    slower = {
        "training": training.model_copy(update={"lr": training.lr / 10, "vector_lr": training.vector_lr / 10}),
        "transfer": transfer.model_copy(update={"backbone_lr": transfer.backbone_lr / 10}),
    }
    decided = {**(session.decided or {}), "begun_anew_with_a_tenth_of_the_rate": True}
    return replace(session, settings=session.settings.model_copy(update=slower), decided=decided)


@dataclass(frozen=True)
class Decision:
    """The settings a run is built with, and a sentence for each one that was changed."""

    settings: Settings
    sentences: tuple[str, ...] = ()


def decide(session: RunSession) -> Decision:
    """The settings for these images, on this machine, with these weights.

    Nothing has been built yet.

    Not for a resumed run, which keeps its decisions. Settings that affect how images are decoded and split (the table
    `data`, `augment.crop_scale`, `training.batch_size`) have been used already.

    Raises:
        UsageError: an option would do nothing, or nothing is held out.

    """
    settings, prepared, sentences = session.settings, session.prepared, []
    if settings.recipe and settings.augment.hflip and not prepared.images.mirror_safe:
        sentences.append("images are not mirrored: a mirrored digit is a different symbol")
        unmirrored = {"hflip": 0.0, "hflip_alternate": False}
        settings = settings.model_copy(update={"augment": settings.augment.model_copy(update=unmirrored)})
    if settings.augment.saturation and prepared.spec.channels != 3:
        kind = "are grey" if prepared.spec.channels == 1 else f"have {prepared.spec.channels} channels"
        raise UsageError(f"augment.saturation would do nothing here: the images {kind}; leave it out")
    if not prepared.counts["val"] and settings.training.keep == "best":
        default = type(settings.training)()
        for key in ("patience", "best_by"):
            if getattr(settings.training, key) != getattr(default, key):
                raise UsageError(
                    f"training.{key} would do nothing here: there is no validation split (data.val_fraction)"
                )
    if not prepared.counts["val"] and not prepared.counts["test"]:
        raise UsageError("nothing is held out: give data.val_fraction or data.test_fraction a value above 0")
    return Decision(settings, tuple(sentences))


def _list_images(source: Images, settings: Settings, place: Workplace, data_dir: Path | None) -> ImageSet:
    """List DATA and print its classes, to show whether it was read as intended."""
    images = open_source(source, data_dir=data_dir, settings=settings.data)
    place.say(name_classes(images.classes))
    if images.corrected is not None:
        place.say(describe_corrections(images.corrected))
    return images


def _gather(images: ImageSet, settings: Settings, place: Workplace, data_dir: Path | None) -> RunSession:
    """Weights and images.

    Missing or unknown ones are reported before decoding, which takes minutes.
    """
    check_sizes(settings, place.processes)
    registry.entry(settings.model.name)
    published = _find_weights(settings, place)
    prepared = prepare(
        images,
        settings.data,
        batch_size=settings.training.batch_size,
        seed=settings.seed,
        device=place.device,
        min_area=settings.augment.crop_scale,
        expected=published.expected if published else None,
        num_sharing=place.processes.per_node,
    )
    _report_images(prepared, place)
    check_same_data(prepared, place.processes)
    return RunSession(settings, prepared, place, published, data_dir)


def _find_weights(settings: Settings, place: Workplace) -> Published | None:
    transfer = settings.transfer
    if transfer.strategy == "none":
        return None
    if transfer.strategy == "scratch":
        return Published({}, expected_input(settings.model.name, given=True), "none, fresh ones")
    published = find_published(settings.model.name, Path(transfer.weights) if transfer.weights else None)
    place.say(f"weights: {published.source}")
    return published


def _report_images(prepared: Prepared, place: Workplace) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in prepared.counts.items() if count)
    spec = prepared.spec
    shape = f"{spec.channels} x {spec.height_px} x {spec.width_px}"
    place.say(f"{counts}; input {shape}, resize {spec.resize}")
    for note in prepared.notes:
        place.say(f"- {note}")
    for line in prepared.verdict.lines():
        place.say(line)


def _what_changed(source: str, recorded: Mapping[str, Any], splits: Mapping[str, Mapping[str, str]]) -> str:
    """The error for images that differ from those in data.json."""
    before, now = ({name for names in each.values() for name in names} for each in (recorded["splits"], splits))
    first = next((f"{name} is gone or unreadable" for name in sorted(before - now)), "a size, name or class differs")
    return f"{source} has changed since the run began ({first}); put it back or start a new run"
