"""The installed catseye as a wheel, for a complete build context.

It works even for an unpublished version.

Enters: the installed package. Leaves: a wheel's name and bytes, the same for the same sources. Called by docker.
"""

import base64
import hashlib
import io
import zipfile
from importlib import metadata
from pathlib import Path

import catseye
from catseye.errors import CatseyeError

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip file, so that builds do not differ by date
WHEEL = "Wheel-Version: 1.0\nGenerator: catseye\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
DIST_INFO_FILES = ("METADATA", "entry_points.txt", "licenses/LICENSE")


def build_wheel() -> tuple[str, bytes]:
    """Name and content.

    Raises:
        CatseyeError: catseye is not installed but only found on a path, so its requirements are unknown.

    """
    try:
        installed = metadata.distribution("catseye")
    except metadata.PackageNotFoundError:
        raise CatseyeError(
            "deploy packs the installed catseye; got one that is only on the import path; install it with pip first"
        ) from None
    stem = f"catseye-{installed.version}"
    files = {f"catseye/{name}": content for name, content in _sources(Path(catseye.__file__).parent).items()}
    files |= {
        f"{stem}.dist-info/{name}": text.encode()
        for name in DIST_INFO_FILES
        if (text := installed.read_text(name)) is not None
    }
    files[f"{stem}.dist-info/WHEEL"] = WHEEL.encode()
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    return f"{stem}-py3-none-any.whl", _zip(files)


def _sources(package: Path) -> dict[str, bytes]:
    contents = {}
    for path in package.rglob("*"):
        parts = path.relative_to(package).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            contents["/".join(parts)] = path.read_bytes()
    return contents


def _digest(content: bytes) -> str:
    # As RECORD wants it: URL-safe and without padding.
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        # The folder with RECORD comes last, as the format recommends.
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()
