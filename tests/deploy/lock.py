"""Writes the requirements of container and Lambda function anew: `make lock`. Needs uv and PyPI.

What the container installs is what constraints.txt pins, which is what the tests run with. The lock has to be one for
every Python and machine it is meant for: where uv finds different versions for two of them, it is not written.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "catseye" / "deploying" / "templates"
PYTHONS = ("3.11", "3.12", "3.13")
LAMBDA_PYTHONS = ("3.12", "3.13", "3.14")  # those of deploying/aws_lambda.py
HEAD = "# {what}, for Python {pythons} on Linux, {machines}.\n# Written by `make lock`; do not edit.\n"


def resolve(uv: str, wanted: list[str], constraints: Path, python: str, machine: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "requirements.in"
        asked.write_text("\n".join(wanted) + "\n")
        words = ["--no-annotate", "--no-header", "--generate-hashes", "--only-binary", ":all:", "--no-config"]
        platform = ["--python-version", python, "--python-platform", f"{machine}-manylinux_2_28"]
        command = [uv, "pip", "compile", "--quiet", asked, "-c", constraints, *words, *platform]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write(
    path: Path,
    what: str,
    uv: str,
    wanted: list[str],
    constraints: Path,
    machines: tuple[str, ...],
    pythons: tuple[str, ...] = PYTHONS,
) -> None:
    found = {(p, m): resolve(uv, wanted, constraints, p, m) for p in pythons for m in machines}
    texts = set(found.values())
    if len(texts) > 1:
        sys.exit(f"{path.name}: the answer differs between {', '.join(' '.join(key) for key in found)}")
    head = HEAD.format(what=what, pythons=f"{pythons[0]} to {pythons[-1]}", machines=" and ".join(machines))
    path.write_text(head + texts.pop())
    print(f"written: {path.relative_to(ROOT)}")


def main() -> None:
    uv = sys.argv[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["serve"]
    wanted = [one for one in wanted if not one.startswith("uvloop")] + ["uvloop>=0.21"]  # Linux only, so no marker
    cpu, gpu = TEMPLATES / "docker" / "requirements.lock", TEMPLATES / "docker" / "requirements-gpu.lock"
    write(cpu, "What catseye serve needs", uv, wanted, ROOT / "constraints.txt", ("x86_64", "aarch64"))
    for_gpu = [one for one in wanted if not re.match(r"onnxruntime\b", one)] + ["onnxruntime-gpu[cuda,cudnn]>=1.31"]
    write(gpu, "The same with ONNX Runtime for CUDA", uv, for_gpu, cpu, ("x86_64",))
    in_function = [one for one in project["dependencies"] if re.match(r"(numpy|onnxruntime|pillow|pydantic)\b", one)]
    for name, what, asked in (
        ("requirements.lock", "What a Lambda function needs", in_function),
        ("requirements-image.lock", "Lambda's runtime client, for images", ["awslambdaric>=4"]),
    ):
        write(TEMPLATES / "aws_lambda" / name, what, uv, asked, ROOT / "constraints.txt", ("x86_64",), LAMBDA_PYTHONS)


if __name__ == "__main__":
    main()
