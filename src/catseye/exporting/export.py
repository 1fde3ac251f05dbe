"""`catseye export`: a run in, one proved file per format out.

load run -> read images -> build, prove and place each file (proving.py) -> write the card. Called by cli and
`catseye.export`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from catseye.data.moved import locate_data
from catseye.data.sources import Images
from catseye.errors import CatseyeError, MissingDependency, UsageError, refuse_unknown_options
from catseye.exporting.drafts import Source
from catseye.exporting.examples import choose_examples
from catseye.exporting.golden import write_golden
from catseye.exporting.held_out import read_for_int8, read_held_out, read_images
from catseye.exporting.int8 import NUM_CALIBRATION, NUM_SELECTION
from catseye.exporting.model_card import model_card
from catseye.exporting.offered import FORMATS, require_formats
from catseye.exporting.parity_result import ParityResult
from catseye.exporting.proving import ExportedFile, Proof, write_proved
from catseye.files import StrPath, write_atomically
from catseye.notebook import html_table
from catseye.runs import open_run
from catseye.runtimes.formats import EXPORTED
from catseye.runtimes.loading import open_model

NUM_IMAGES = 256  # or all, if a run holds out fewer
NUM_IMAGES_INT8 = 2048  # a budget of 0.3 points is less than one image of 256
NUM_FOR_INT8 = 512  # if fewer are held out, training images are added to compare the answers

Say = Callable[[str], None]


class ExportOptions(TypedDict, total=False):
    """The further keyword arguments of `export`."""

    max_drop: float
    data: Images | None
    say: Say
    examples: int


@dataclass(frozen=True)
class Exported:
    """The written files.

    `path`, `num_bytes`, `sha256` and `comparison` are those of the first.
    """

    files: tuple[ExportedFile, ...]
    card: Path
    golden: Path | None
    num_examples: int = 0

    def __fspath__(self) -> str:
        """The first file's path."""
        return str(self.path)

    def _repr_html_(self) -> str:
        rows = ((file.path, f"{file.num_bytes / 1e6:.2f} MB", file.comparison.to_line()) for file in self.files)
        return html_table(("file", "size", "proof"), rows)

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def num_bytes(self) -> int:
        """The first file's size."""
        return self.files[0].num_bytes

    @property
    def sha256(self) -> str:
        """The first file's hash."""
        return self.files[0].sha256

    @property
    def comparison(self) -> ParityResult:
        """The first file's proof."""
        return self.files[0].comparison


def export(
    run: StrPath,
    *,
    to: str | Sequence[str] = "onnx",
    int8: bool = False,
    input: str = "uint8",
    out: StrPath | None = None,
    golden: int = 0,
    device: str = "auto",
    **options: Unpack[ExportOptions],
) -> Exported:
    """Export a run to files of the formats in `to`, each with proof.

    The proof is that the file gives the run's answers.

    The files go to `out` (a folder, or for one format a path with its suffix), else to RUN/export, together with
    export.md, a model card of all of them, and a folder of `golden` images with their tensors and expected
    probabilities. With `int8`, ONNX, OpenVINO and TensorRT files are also written as INT8; such a file may lose
    `max_drop` points of accuracy (0.3). `input` is the graph's input: "uint8", N x H x W x C bytes, or "float",
    N x C x H x W, normalised. The run computes on `device`; the files on the CPU, TensorRT's on the GPU.

    `data` is where the run's images are now, if they were moved. `say` gets progress messages. `examples` held-out
    images go into the files (none by default), for the page of `serve`.

    Raises:
        UsageError: an unknown format, or `out` cannot be made. ModelFileError: no finished run.
        DataError: the held-out images are gone, or `data` has other images. CatseyeError: a file was not written,
            because it has no parity or its format cannot be built here; the other files were.

    """
    refuse_unknown_options(options, ExportOptions)
    max_drop = options.get("max_drop", 0.3)
    formats = list(dict.fromkeys([to] if isinstance(to, str) else to))
    require_formats(formats, int8=int8, max_drop=max_drop, input_kind=input)
    opened = open_run(run)
    say = options.get("say", _hear_nothing)
    place = locate_data(opened.data, options.get("data"), settings=opened.settings.data)
    reference = open_model(opened.path, device=device).classifier()
    trained = open_model(opened.path, device="cpu", need="layers")
    manifest = trained.manifest.model_copy(update={"input_kind": input})
    images = read_held_out(opened, manifest, NUM_IMAGES_INT8 if int8 else NUM_IMAGES, place)
    if num := options.get("examples", 0):
        manifest = manifest.model_copy(update={"examples": choose_examples(reference, images, num)})
    material = read_for_int8(opened, manifest, NUM_CALIBRATION, NUM_SELECTION, place) if int8 else None
    short = NUM_FOR_INT8 - len(images.names)
    more = read_images(opened, manifest, "train", short, "agreement", place) if int8 and short > 0 else None
    folder, name = _target(opened.path, out, formats, int8)

    source = Source(trained.layers(), manifest, material, max_drop / 100, say)
    proof = Proof(reference, source, images, NUM_IMAGES, more)
    try:
        written, failures = write_proved(proof, formats, lambda draft: folder / (name or draft.file))
    finally:
        if out is None:
            with suppress(OSError):
                folder.rmdir()  # fails unless it is empty, that is, nothing was written
    if not written:
        raise _one_of(failures)
    card = folder / "export.md"
    write_atomically(card, model_card([(file.path.name, opened, file.comparison) for file, opened in written]))
    first, first_file = written[0][0], written[0][1]
    pairs = write_golden(folder / "golden", first_file, images, first.comparison, golden) if golden else None
    if failures:
        raise _one_of(failures, [str(file.path) for file, _ in written])
    return Exported(tuple(file for file, _ in written), card, pairs, len(manifest.examples))


def _hear_nothing(line: str) -> None:
    """The default for `say`: no messages."""


def _one_of(failures: Sequence[CatseyeError], written: Sequence[str] = ()) -> CatseyeError:
    """One error for all files that were not written; it also names the written ones."""
    if len(failures) == 1 and not written:
        return failures[0]
    if all(isinstance(error, MissingDependency) for error in failures) and not written:
        return failures[0]
    reasons = "\n".join(str(error) for error in failures)
    return CatseyeError(reasons + (f"\nwritten and proved: {', '.join(written)}" if written else ""))


def _target(run: Path, out: StrPath | None, formats: Sequence[str], int8: bool) -> tuple[Path, str | None]:
    """The folder, and the file's name if the user gave one."""
    path = Path(out) if out is not None else run / "export"
    name = None
    if path.suffix.lower() in EXPORTED:
        wanted = FORMATS[formats[0]]
        if formats == ["hub"]:
            raise UsageError(f"--to hub writes a folder; got --out {path}, the name of a file; give a folder")
        if len(formats) > 1 or int8:
            raise UsageError(f"--out {path} is one file, but several will be written; give a folder")
        if not path.name.lower().endswith(Path(wanted).suffix):
            raise UsageError(
                f"--out {path} does not fit --to {formats[0]}; give a name that ends in {Path(wanted).suffix}"
            )
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder; give a folder without that suffix, or a file")
        path, name = path.parent, path.name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path} cannot be made ({error.strerror})") from None
    return path, name
