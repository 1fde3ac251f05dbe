"""The table of targets. A target is made once per process and then called with bytes; it returns or raises.

`words` help the mutator: tokens of the format. `max_bytes` bounds an input. `others` are modules of Python's own whose
branches are worth being guided by. One that `forks` is replayed in a process without threads.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent
SEEDS, REGRESSIONS = FOLDER / "seeds", FOLDER / "regressions"
MOST_S = 5.0
MOST_MB = 1024

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """One reader. `maker` is module:function in this room; the function returns a `Run`."""

    maker: str
    max_bytes: int = 8192
    words: tuple[bytes, ...] = ()
    others: tuple[str, ...] = ()
    forks: bool = False

    def make(self) -> Run:
        module, _, function = self.maker.partition(":")
        run: Run = getattr(import_module(f"tests.fuzz.{module}"), function)()
        return run


HTTP_WORDS = (
    b"GET / HTTP/1.1\r\n", b"POST /predict HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: ", b"Transfer-Encoding: ",
    b"chunked", b"\r\n\r\n", b"0\r\n\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/2.0", b"http://a/", b"/v2/models/m/infer", b"/predict/batch",
    b"/healthz", b"/metrics", b"/model", b"/openapi.json", b"?top=1", b"&explain=cam", b"HEAD ", b"OPTIONS ",
    b"Content-Type: multipart/form-data; boundary=b\r\n", b"Content-Type: image/png\r\n", b"Origin: http://a\r\n",
    b"Content-Type: application/json\r\n", b"Inference-Header-Content-Length: ", b"Content-Encoding: gzip\r\n",
    b"Authorization: Bearer a\r\n",
)  # fmt: skip
FORM_WORDS = (
    b"multipart/form-data; boundary=b\n", b"--b\r\n", b"--b--\r\n", b"\r\n\r\n", b'name="file"', b'filename="a.png"',
    b"Content-Disposition: form-data; ", b"image/png\n", b"application/octet-stream\n",
)  # fmt: skip
JSON_WORDS = (
    b'{"inputs":[', b'"name":"image"', b'"datatype":"UINT8"', b'"datatype":"FP32"', b'"shape":[1,4,4,3]', b'"data":[',
    b'"parameters":{', b'"binary_data_size":48', b'"binary_data":true', b'"outputs":[{"name":"probability"}]', b"1e999",
    b"NaN", b"-0", b'"id":"', b"null", b"true", b"\\ud800", b'"binary_data_output":true',
)  # fmt: skip
TOML_WORDS = (
    b"[training]\n", b"epochs = 1\n", b"[model]\n", b'name = "lenet5"\n', b"[data]\n", b"[augment]\n", b"lr = 1e999\n",
    b"= nan\n", b"= true\n", b"= []\n", b"= {}\n", b'"""', b"2026-01-01", b"seed = 0\n", b'recipe = "quick"\n',
    b"[[a]]\n",
)  # fmt: skip
LIST_WORDS = (
    b"path,label\n", b"path,label,split\n", b"sep=;\n", b"\xef\xbb\xbf", b"\xff\xfe", b"train", b"val", b"test",
    b"cat.png",
    b'"', b"\t", b";", b"|", b"\\", b"../", b"C:\\", b"https://", b"0,1\n", b"nan", b"fold", b"patient_id", b"xmin",
)  # fmt: skip
IMAGE_WORDS = (
    b"\xff\xd8\xff", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xd9", b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT",
    b"IEND",
    b"acTL", b"fdAT", b"PLTE", b"tRNS", b"eXIf", b"zTXt", b"RIFF", b"WEBPVP8 ", b"WEBPVP8L", b"WEBPVP8X", b"ANMF",
    b"GIF89a",
    b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n", b"jP  ", b"ftypjp2 ", b"Exif\0\0", b"MPF\0",
)  # fmt: skip
ONNX_WORDS = (b"catseye", b"ai.onnx", b"image", b"probability", b"prediction", b"If", b"Loop", b"Constant", b"Expand")
XML_WORDS = (
    b'<?xml version="1.0"?>', b"<net ", b"<layers>", b"<layer ", b'type="Const"', b'version="opset1"', b"<data ",
    b"<rt_info>",
    b'<catseye value="', b"<catseye_weights_sha256 value=", b"@SHA256@", b"xmlns=", b"&#0;", b"&amp;", b"<![CDATA[",
    b"<!--",
)  # fmt: skip
PICKLE_WORDS = (
    b"torch._utils _rebuild_tensor_v2", b"ctorch\nFloatStorage\n", b"c__torch__\nA\n", b"\x80\x02", b"}q\x00",
    b"import torch\n",
    b"def forward(self, x: Tensor) -> Tensor:\n", b"torch.relu(x)", b"ops.prim.", b"__torch__.torch.classes.",
    b"torch.ops.aten.",
    b"archive/constants.pkl", b"archive/data.pkl", b"archive/code/a.py", b"archive/extra/catseye",
    b"archive/models/model.json",
)  # fmt: skip
EVENT_WORDS = (b"requestContext", b"multiValueHeaders", b"isBase64Encoded", b"pathParameters", b"httpMethod")
TENSOR_WORDS = (b"__metadata__", b"data_offsets", b"dtype", b"shape", b"F32")
ZIP_WORDS = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"cat/1.png", b"..\\")
PLAN_WORDS = (b"offsets", b"catseye", b"num_images", b"images_sha256", b"pictures", b"part_size")

TARGETS = {
    "http": Target("of_http:connection", words=HTTP_WORDS),
    "multipart": Target("of_http:multipart", words=FORM_WORDS),
    "parameters": Target("of_http:parameters", 1024, (b"; name=", b"form-data", b'"', b"\\", b"top=", b"&explain=cam")),
    "v2": Target("of_http:tensors", 65_536, JSON_WORDS, ("json",)),
    "event": Target("of_http:event", 4096, EVENT_WORDS),
    "onnx": Target("of_models:onnx", 16_384, ONNX_WORDS, forks=True),
    "openvino": Target("of_models:openvino", 65_536, XML_WORDS, forks=True),
    "safetensors": Target("of_models:safetensors", 65_536, TENSOR_WORDS),
    "torch": Target("of_models:torch_archive", 65_536, PICKLE_WORDS, ("pickletools", "tokenize", "zipfile")),
    "engine": Target("of_models:engine", 8192, (b"classes", b"preprocessing", b"temperature", b"architecture")),
    "csv": Target("of_data:listing", words=LIST_WORDS),
    "zip": Target("of_data:zipped", 16_384, ZIP_WORDS, ("zipfile",)),
    "image": Target("of_data:image", 32_768, IMAGE_WORDS, ("PIL",)),
    "settings": Target("of_data:settings", 4096, TOML_WORDS, ("tomllib",)),
    "plan": Target("of_data:plan", 4096, PLAN_WORDS),
}  # fmt: skip


def committed(name: str) -> list[Path]:
    """The inputs of a target that are kept: seeds, and what once fell."""
    folders = (SEEDS / name, REGRESSIONS / name)
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def own_folder() -> Path:
    """An empty folder with nothing beside it; it goes when the process ends in good order."""
    outer = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, outer, ignore_errors=True)
    (outer / "own").mkdir()
    return outer / "own"
