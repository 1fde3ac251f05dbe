"""The formats that export can write, checked before torch is loaded.

Enters: the user's options. Leaves: nothing, or a `UsageError`. Called by export.py and cli/export.py; drafts.py builds
the formats. Imports no torch.
"""

from collections.abc import Sequence

from catseye.errors import UsageError

FORMATS = {
    "onnx": "model.onnx",
    "torchscript": "model.torchscript",
    "torch-export": "model.pt2",
    "aotinductor": "model.aoti.pt2",
    "openvino": "model.xml",
    "tensorrt": "model.engine",
    "hub": "hub",
}
INT8_FORMATS = ("onnx", "openvino", "tensorrt")


def require_formats(formats: Sequence[str], *, int8: bool, max_drop: float, input_kind: str) -> None:
    """Refuse what export cannot write.

    Raises:
        UsageError: an unknown format or kind of input, INT8 for a format without it, or a budget out of range.

    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--to is one of: {', '.join(FORMATS)}; got {name!r}")
    if not formats:
        raise UsageError(f"--to needs a format: {', '.join(FORMATS)}")
    if input_kind not in ("uint8", "float"):
        raise UsageError(f"--input is uint8 or float; got {input_kind!r}")
    if int8 and not set(formats) & set(INT8_FORMATS):
        raise UsageError(
            f"--int8 is for {', '.join(INT8_FORMATS)}; got {', '.join(formats)}; add one of them with --to"
        )
    if not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop is a number of points, 0 to 100; got {max_drop:g}")
