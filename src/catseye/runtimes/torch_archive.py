"""What is inside a TorchScript file or a .pt2, read from its bytes alone.

Both are zip archives with programs in them. `torch.jit.load` interprets TorchScript code, which has operators that
read and write files. `torch.export.load` unpickles without limits if its limited unpickler refuses (torch 2.14:
`deserialize_torch_artifact` falls back to weights_only=False), evaluates symbolic expressions with SymPy and executes
`guards_code`. An AOTInductor package contains a shared library. So the archive is checked here first: nothing in it is
run, and whatever catseye's own export never writes is refused; native code cannot be checked. Called by `torch.py` and
by exporting, which adds the manifest.

Source: torch/csrc/export/pt2_archive_constants.h, torch/export/pt2_archive/_package.py (torch 2.14).
"""

import io
import json
import math
import pickletools
import re
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from catseye.errors import ModelFileError
from catseye.manifest import MAX_MANIFEST_BYTES, METADATA_KEY

MAX_ENTRIES = 20_000
MAX_UNPACKED_BYTES = 2**31
# Limits of what Python reads, token by token or as JSON, because an archive may compress it a thousandfold. A
# ResNet-152 has 31 kB of code, 101 kB of pickles and 1.8 MB of JSON.
MAX_CODE_BYTES, MAX_PICKLE_BYTES, MAX_JSON_BYTES = 1_000_000, 4_000_000, 10_000_000
MAX_SAMPLE_BYTES = 200_000_000  # two images as float: 8 megapixels each
MAX_NAME_CHARS = 2_000  # of one dotted name
TORCHSCRIPT, TORCH_EXPORT, AOTINDUCTOR = "TorchScript", "torch.export", "AOTInductor package"

# Pickles name what they construct; these names construct tensors and lists, nothing else.
_HARMLESS = re.compile(
    r"(collections OrderedDict|torch [A-Za-z0-9]+Storage|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch\.jit\._pickle (build_[a-z]+list|restore_type_tag)|__torch__\.(?!torch\.classes)[\w.]+ \w+)"
)
_UNCLEAR = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID"}  # their names are not in the opcode
# TorchScript operators that do more than compute tensors, and the namespaces without foreign code.
_REFUSED = {"save", "load", "from_file", "import_", "_save", "_load", "open", "fork", "wait"}
_NAMESPACES = {"prim", "aten"}
_TARGET = re.compile(r"torch\.ops\.aten\.\w+(\.\w+)?|_operator\.(getitem|add|sub|mul|floordiv|neg|eq|ne|ge|le|gt|lt)")
_SYMBOL = r"Symbol\('[su]\d+'(, (positive|integer|nonnegative)=True)*\)"
_EXPRESSION = re.compile(rf"(-?\d+|{_SYMBOL}|(Mul|Add|FloorDiv)\((-?Integer\(-?\d+\)|{_SYMBOL}|-?\d+|, )+\))")


@dataclass(frozen=True)
class Archive:
    """An archive that was checked.

    `num_parameters` is None if the format does not store it.
    """

    kind: str
    root: str
    manifest: bytes | None
    operators: dict[str, int]
    num_parameters: int | None


def read_archive(content: bytes, source: str) -> Archive:
    """Check a TorchScript file or a .pt2.

    Raises:
        ModelFileError: it is neither, or it contains what catseye's export never writes.

    """
    try:
        if not content.startswith(b"PK\x03\x04"):
            raise ModelFileError(f"{source} is not a TorchScript or torch.export file (not a zip archive)")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            root, names = _check_entries(archive, source)
            kind = _kind(names, source)
            operators: Counter[str] = Counter()
            num_parameters = None
            if kind == TORCHSCRIPT:
                operators = _check_torchscript(archive, root, names, source)
            elif kind == TORCH_EXPORT:
                operators, num_parameters = _check_export(archive, root, names, source)
            extra = f"extra/{METADATA_KEY}"
            reader = _LimitedReader(archive, root, "manifest", MAX_MANIFEST_BYTES, source)
            manifest = reader.read(extra) if extra in names else None
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        SyntaxError,
        tokenize.TokenError,
        zlib.error,
    ) as error:
        raise ModelFileError(f"{source} is damaged ({str(error)[:200]})") from None
    except (RecursionError, MemoryError, TypeError, AttributeError):
        raise ModelFileError(f"{source} is damaged (its entries have the wrong structure)") from None
    return Archive(kind, root, manifest, dict(operators.most_common()), num_parameters)


def with_manifest(archive: bytes, manifest: str) -> bytes:
    """The archive with the manifest among its extra files."""
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a") as opened:
        root = opened.namelist()[0].split("/", 1)[0]
        opened.writestr(zipfile.ZipInfo(f"{root}/extra/{METADATA_KEY}"), manifest)
    return stream.getvalue()


def _check_entries(archive: zipfile.ZipFile, source: str) -> tuple[str, set[str]]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise ModelFileError(f"{source} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes or {MAX_ENTRIES:,} entries")
    paths = [entry.filename for entry in entries]
    if len(set(paths)) != len(paths):
        raise ModelFileError(f"{source} has two entries with the same name; such a file is not opened")
    roots = {path.split("/", 1)[0] for path in paths}
    if len(roots) != 1 or any("/" not in path or ".." in path.split("/") or "\\" in path for path in paths):
        raise ModelFileError(f"{source}: the entries of such an archive lie in one folder; got {sorted(roots)[:3]}")
    (root,) = roots
    return root, {path.split("/", 1)[1] for path in paths}


def _kind(names: set[str], source: str) -> str:
    if any(name.startswith("data/aotinductor/") for name in names):
        return AOTINDUCTOR
    if "models/model.json" in names:
        return TORCH_EXPORT
    if "constants.pkl" in names:
        return TORCHSCRIPT
    if "data.pkl" in names:
        raise ModelFileError(f"{source} is a pickle of torch.save, which is never opened; export the run instead")
    raise ModelFileError(f"{source} is not a TorchScript or torch.export file")


def _check_torchscript(archive: zipfile.ZipFile, root: str, names: set[str], source: str) -> Counter[str]:
    operators: Counter[str] = Counter()
    code = _LimitedReader(archive, root, "code", MAX_CODE_BYTES, source)
    pickles = _LimitedReader(archive, root, "pickles", MAX_PICKLE_BYTES, source)
    for name in sorted(names):
        if name.endswith((".pkl", ".debug_pkl")):
            _check_pickle(pickles.read(name), f"{source}: {name}")
        elif name.startswith("code/"):
            for text in _dotted_names(code.read(name)):
                _count_operator(text, operators, source)
    return operators


class _LimitedReader:
    """Unpacks entries of one kind, up to a limit of bytes for all of them together."""

    def __init__(self, archive: zipfile.ZipFile, root: str, kind: str, num_bytes: int, source: str) -> None:
        self.archive, self.root, self.kind, self.source = archive, root, kind, source
        self.most = self.left = num_bytes

    def read(self, name: str) -> bytes:
        """An entry, whose size is checked before it is unpacked."""
        path = f"{self.root}/{name}"
        self.left -= self.archive.getinfo(path).file_size
        if self.left < 0:
            raise ModelFileError(f"{self.source} has more than {self.most:,} bytes of {self.kind}, up to {name[:80]!r}")
        return self.archive.read(path)


def _dotted_names(code: bytes) -> Iterator[str]:
    """The complete dotted names in TorchScript code: `torch.relu`, not `torch`.

    A name after a call or an index begins with a dot. Tokens rather than a tree: a tree of 25 MB of code takes 8 GB.
    """
    words: list[str] = []
    size = 0
    for token in tokenize.tokenize(io.BytesIO(code).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING):
            continue
        if token.type == tokenize.NAME and (not words or words[-1] == "."):
            words.append(token.string)
        elif token.string == "." and token.type == tokenize.OP:
            words.append(".")
        else:
            if words:
                yield "".join(words)
            words = [token.string] if token.type == tokenize.NAME else []
            size = 0
        size += len(token.string)
        if size > MAX_NAME_CHARS and words:
            raise ValueError(f"a name of more than {MAX_NAME_CHARS:,} characters")
    if words:
        yield "".join(words)


def _count_operator(text: str, operators: Counter[str], source: str) -> None:
    words = text.split(".")
    if words[0] == "torch":
        allowed = len(words) == 2 and words[1] not in _REFUSED
    elif words[0] == "ops":
        allowed = len(words) == 3 and words[1] in _NAMESPACES and words[2] not in _REFUSED
    else:
        allowed = "torch.classes" not in text  # C++ objects that came with foreign code
    if not allowed:
        raise ModelFileError(
            f"{source} uses the operator {text[:80]!r}, which is not opened; a network does not need it"
        )
    if words[0] == "torch":
        operators[words[1]] += 1


def _check_export(archive: zipfile.ZipFile, root: str, names: set[str], source: str) -> tuple[Counter[str], int]:
    known = r"(data/weights/(weight_\d+|model_weights_config\.json)"
    known += r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    known += rf"|data/sample_inputs/model\.pt|models/model\.json|extra/{METADATA_KEY}|archive_\w+|byteorder"
    known += r"|version|\.data/\w+)"
    for name in sorted(names):
        if not re.fullmatch(known, name):
            raise ModelFileError(
                f"{source} contains {name[:80]!r}, which catseye's export never writes; it is not opened"
            )
    documents = _LimitedReader(archive, root, "JSON", MAX_JSON_BYTES, source)
    program = json.loads(documents.read("models/model.json"))
    if program.get("guards_code"):
        raise ModelFileError(f"{source} contains Python code for guards, which is never executed; export it again")
    operators: Counter[str] = Counter()
    for key, value in _leaves(program):
        if key == "target":
            if not _TARGET.fullmatch(value):
                raise ModelFileError(f"{source} uses the operator {value[:80]!r}, which is not opened")
            operators[value.removeprefix("torch.ops.aten.")] += 1
        elif key == "expr_str" and not _EXPRESSION.fullmatch(value):
            raise ModelFileError(f"{source} has the expression {value[:80]!r} in it, which is not evaluated")
    sizes: dict[str, int] = {}  # by file: two names may share one tensor
    for part in ("weights", "constants"):
        config = json.loads(documents.read(f"data/{part}/model_{part}_config.json"))["config"]
        for payload in config.values():
            if payload["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
                raise ModelFileError(f"{source} stores weights as pickles, which are never opened; export it again")
            if part == "weights":
                sizes[payload["path_name"]] = math.prod(size["as_int"] for size in payload["tensor_meta"]["sizes"])
    sample = _LimitedReader(archive, root, "sample inputs", MAX_SAMPLE_BYTES, source).read(
        "data/sample_inputs/model.pt"
    )
    with zipfile.ZipFile(io.BytesIO(sample)) as samples:
        inner, inside = _check_entries(samples, f"{source}: sample inputs")
        pickles = _LimitedReader(samples, inner, "pickles", MAX_PICKLE_BYTES, f"{source}: sample inputs")
        for name in sorted(inside):
            if name.endswith(".pkl"):
                _check_pickle(pickles.read(name), f"{source}: sample inputs")
    return operators, sum(sizes.values())


def _check_pickle(content: bytes, source: str) -> None:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _UNCLEAR or (opcode.name == "GLOBAL" and not _HARMLESS.fullmatch(str(argument))):
            raise ModelFileError(f"{source} is a pickle that would call {str(argument)[:80]!r}; it is not opened")


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    """Every key of a JSON document whose value is a text, with that text."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            for key, inner in node.items():
                if isinstance(inner, str):
                    yield key, inner
                pending.append(inner)
        elif isinstance(node, list):
            pending += node
