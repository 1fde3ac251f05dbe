"""The file around a TensorRT plan: the manifest's length, the manifest, the plan.

The length takes 4 bytes, little-endian. No torch.

Enters: a plan and a manifest, or a file's bytes. Leaves: the other of the two. Called by exporting and `tensorrt.py`.
"""

from catseye.errors import ModelFileError
from catseye.manifest import MAX_MANIFEST_BYTES, Manifest


def join_engine(plan: bytes, manifest: Manifest) -> bytes:
    """The file: length, manifest, plan."""
    text = manifest.to_json().encode()
    return len(text).to_bytes(4, "little") + text + plan


def split_engine(content: bytes, source: str) -> tuple[Manifest, bytes]:
    """Manifest and plan of the bytes that `join_engine` made.

    Raises:
        ModelFileError: `join_engine` did not make them.

    """
    length = int.from_bytes(content[:4], "little")
    if not 0 < length <= min(MAX_MANIFEST_BYTES, len(content) - 4):
        raise ModelFileError(f"{source} is not an engine written by catseye; export it again")
    return Manifest.from_json(content[4 : 4 + length], source), content[4 + length :]
