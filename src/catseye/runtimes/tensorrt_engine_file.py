"""The file around a TensorRT plan: the manifest's length (4 bytes, little-endian), the manifest, the plan. No torch.

Enters: a plan and a manifest, or a file's bytes. Leaves: the other. Called by exporting and
`tensorrt.py`.
"""

from catseye.errors import ModelFileError
from catseye.manifest import MAX_MANIFEST_BYTES, Manifest


def join_engine(plan: bytes, manifest: Manifest) -> bytes:
    """The file: length, manifest, plan."""
    text = manifest.to_json().encode()
    return len(text).to_bytes(4, "little") + text + plan


def split_engine(content: bytes, source: str) -> tuple[Manifest, bytes]:
    """What `join_engine` joined.

    Raises:
        ModelFileError: it did not.

    """
    length = int.from_bytes(content[:4], "little")
    if not 0 < length <= min(MAX_MANIFEST_BYTES, len(content) - 4):
        raise ModelFileError(f"{source} is no engine that catseye wrote; export it again")
    return Manifest.from_json(content[4 : 4 + length], source), content[4 + length :]
