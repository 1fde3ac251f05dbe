"""Makes package/ and package.zip, with Python @{python} and its pip.

package/ is the content of /var/task.

    python@{python} build.py             # package.zip, for template.yaml
    python@{python} build.py --image     # package/ alone, with Lambda's runtime client in it; the Dockerfile does this

Everything is pinned and checked against its hash, no compiler runs, and the same files give the same zip, byte for
byte. Written by `catseye deploy lambda`.
"""

import compileall
import platform
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "@{python}"
OURS = ("handler.py", "model.onnx", "catseye")
# Amazon Linux 2023 has glibc 2.34. pip does not know that a newer glibc runs what was built for an older one.
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(34, 16, -1)), "manylinux2014_x86_64")
# Files that the function never opens. Licences stay. Nothing is stripped: that breaks the libraries inside wheels.
TRIMMED = (
    "bin",
    "**/__pycache__",
    "**/*.pyi",
    "numpy/**/tests",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/f2py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
)
MAX_BYTES = 262_144_000  # Lambda takes 250 MB, unzipped


def main(words: Sequence[str]) -> None:
    """Build all of it, beside this file."""
    if words not in ([], ["--image"]):
        sys.exit(f"build.py takes --image or nothing; got {' '.join(words)}")
    if platform.python_version_tuple()[:2] != tuple(PYTHON.split(".")):
        sys.exit(
            f"compiled files are for one Python version: run this with python{PYTHON}; got "
            f"{platform.python_version()}; "
            "`catseye deploy lambda --python` chooses another one"
        )
    package = HERE / "package"
    if package.exists():
        shutil.rmtree(package)
    install(HERE / "requirements.txt", package)
    if words:
        install(HERE / "requirements-image.txt", package)
    for name in OURS:
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, package / name)
        else:
            shutil.copyfile(HERE / name, package / name)
    trim(package)
    compile_all(package)
    num_bytes = size_of(package)
    print(f"package: {num_bytes:,} bytes of {MAX_BYTES:,}")
    if num_bytes > MAX_BYTES and not words:
        sys.exit("that is more than Lambda takes as a zip; deploy it as an image: template-image.yaml")
    if not words:
        print(f"package.zip: {write_zip(package, HERE / 'package.zip'):,} bytes")


def install(requirements: Path, package: Path) -> None:
    """Have pip unpack the wheels, each checked against its hash."""
    wanted = [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run(  # noqa: S603 - all words are ours
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--implementation", "cp"),
            *("--python-version", PYTHON, *wanted, "--target", str(package), "-r", str(requirements)),
        ],
        check=True,
    )


def trim(package: Path) -> None:
    """Remove files that are never opened."""
    for pattern in TRIMMED:
        for path in list(package.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()


def compile_all(package: Path) -> None:
    """Compile every module, so that it is valid whatever the file times are.

    Unzipping changes the times, and /var/task is read-only.
    """
    done = compileall.compile_dir(
        package,
        quiet=1,
        maxlevels=30,
        stripdir=str(package),
        prependdir="/var/task",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not done:
        sys.exit("a module cannot be compiled; see above")


def size_of(package: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def write_zip(package: Path, target: Path) -> int:
    """Zip it, with names in order and one date for all; returns the bytes of the zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        for path in sorted(path for path in package.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(package).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100755 << 16 if path.suffix == ".so" or ".so." in path.name else 0o100644 << 16
            bundle.writestr(entry, path.read_bytes())
    return target.stat().st_size


if __name__ == "__main__":
    main(sys.argv[1:])
