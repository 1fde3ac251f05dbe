"""Writes `seeds/`: small inputs of every format, made here and nowhere else: `python -m tests.fuzz.seeds`."""

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from PIL import Image

from tests.fuzz.entries import as_entries
from tests.fuzz.targets import SEEDS

SIDE = 12


def pixels(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, shape, dtype)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def images() -> Iterator[tuple[str, bytes]]:
    colour, grey, clear = (Image.fromarray(pixels(channels)) for channels in (3, 1, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg", encoded(colour, "JPEG", exif=exif)
    yield "jpeg-progressive", encoded(colour, "JPEG", progressive=True)
    yield "jpeg-grey", encoded(grey, "JPEG")
    yield "jpeg-cmyk", encoded(colour.convert("CMYK"), "JPEG")
    yield "png", encoded(colour, "PNG")
    yield "png-16", encoded(Image.fromarray(pixels(1, np.uint16)), "PNG")
    yield "png-clear", encoded(clear, "PNG")
    yield "png-palette", encoded(colour.convert("P"), "PNG", transparency=0)
    yield "png-bits", encoded(grey.convert("1"), "PNG")
    yield "png-animated", encoded(colour, "PNG", save_all=True, append_images=[colour.rotate(90)])
    yield "webp-lossy", encoded(colour, "WEBP")
    yield "webp-lossless", encoded(clear, "WEBP", lossless=True)
    yield "webp-animated", encoded(colour, "WEBP", save_all=True, append_images=[colour.rotate(90)])
    yield "gif", encoded(colour, "GIF", save_all=True, append_images=[colour.rotate(90)])
    yield "bmp", encoded(colour, "BMP")
    yield "bmp-palette", encoded(colour.convert("P"), "BMP")
    yield "bmp-run-length", run_length_bmp()
    yield "tiff", encoded(colour, "TIFF")
    yield "tiff-lzw", encoded(colour, "TIFF", compression="tiff_lzw")
    yield "tiff-jpeg", encoded(colour, "TIFF", compression="jpeg")
    yield "tiff-16", encoded(Image.fromarray(pixels(1, np.uint16)), "TIFF")
    yield "tiff-float", encoded(Image.fromarray(pixels(1).astype(np.float32)), "TIFF")
    yield "tiff-group4", encoded(grey.convert("1"), "TIFF", compression="group4")
    yield "ppm", encoded(colour, "PPM")
    yield "pgm-16", b"P5 4 4 65535\n" + bytes(range(32))
    yield "ppm-plain", b"P3\n2 1 255\n1 2 3 4 5 6\n"
    yield "jpeg2000", encoded(colour, "JPEG2000")


def run_length_bmp() -> bytes:
    """Four pixels of one colour in a row, twice."""
    data = b"\x04\x01\0\0\x04\x00\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(data), 0, 0, 2, 0)
    palette = b"\0\0\0\0\xff\xff\xff\0"
    size = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", size + len(data), 0, 0, size) + head + palette + data


def small_png() -> bytes:
    return encoded(Image.fromarray(pixels()[:4, :4]), "PNG")


def form(*contents: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return b"".join(head + content + b"\r\n" for content in contents) + b"--b--\r\n"


def http() -> Iterator[tuple[str, bytes]]:
    def post(path: str, kind: str, body: bytes, *more: str) -> bytes:
        lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
        return "\r\n".join([*lines, "", ""]).encode() + body

    ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    png = small_png()
    yield "get", b"\xff" + ask
    yield "get-bytewise", b"\0" + ask
    yield "pipeline", b"\x20" + ask * 3
    yield "image", b"\xff" + post("/predict?top=1", "image/png", png)
    yield "form", b"\x40" + post("/predict/batch", "multipart/form-data; boundary=b", form(png, b"no image"))
    body = (
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,4,4,3],"data":[' + b",".join([b"7"] * 48) + b"]}]}"
    )
    yield "v2", b"\xff" + post("/v2/models/m/infer", "application/json", body)
    tensor = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,4,4,3],"parameters":{"binary_data_size":48}}],'
    tensor += b'"outputs":[{"name":"probability","parameters":{"binary_data":true}}]}'
    length = f"Inference-Header-Content-Length: {len(tensor)}"
    yield "v2-binary", b"\xff" + post("/v2/models/m/infer", "application/octet-stream", tensor + bytes(48), length)
    chunks = b"%x\r\n%s\r\n10;a=b\r\n%s\r\n0\r\nT: 1\r\n\r\n" % (len(png) - 16, png[:-16], png[-16:])
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield "chunked", b"\x18" + head + chunks + ask
    upgrade = b"GET /model HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"
    yield "upgrade", b"\xff" + upgrade + ask
    yield "expect", b"\xff" + post("/predict", "image/png", png, "Expect: 100-continue")
    yield "absolute", b"\xff" + b"GET http://a HTTP/1.1\r\nHost: b\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "old", b"\xff" + b"HEAD /metrics HTTP/1.0\r\n\r\n"
    yield "unknown", b"\x08" + post("/nothing", "text/plain", b"hello") + ask
    yield (
        "preflight",
        b"\xff"
        + b"OPTIONS /predict HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n"
        + (b"Access-Control-Request-Method: POST\r\n\r\n"),
    )


def of_requests() -> Iterator[tuple[str, str, bytes]]:
    png = small_png()
    for name, content in http():
        yield "http", name, content
    kind = b'multipart/form-data; boundary="b"\n'
    yield "multipart", "one", kind + form(png)
    yield "multipart", "three", kind + b"preamble\r\n" + form(png, b"x", b"")
    yield (
        "multipart",
        "quoted",
        kind + b'--b \t\r\ncontent-disposition: form-data; filename="a; name=\\"b"; NAME=file\r\n\r\nx\r\n--b--',
    )
    yield "multipart", "plain", b"image/png\n" + png
    yield "parameters", "form", b'form-data; filename="a; name=b.png"; name="file"'
    yield "parameters", "query", b"top=3&explain=cam"
    numbers = ",".join(["0.5"] * 48)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4, 3]}
    yield "v2", "flat", b"-\n" + json.dumps({"id": "a", "inputs": [{**tensor, "data": [7] * 48}]}).encode()
    floats = f'{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1,3,4,4],"data":[{numbers}]}}]}}'
    yield "v2", "floats", b"-\n" + floats.encode()
    nested = np.zeros((2, 4, 4, 3), int).tolist()
    yield "v2", "nested", b"-\n" + json.dumps({"inputs": [{**tensor, "shape": [2, 4, 4, 3], "data": nested}]}).encode()
    long = np.zeros((100, 4, 4, 3), int).tolist()
    yield "v2", "long", b"-\n" + json.dumps({"inputs": [{**tensor, "shape": [100, 4, 4, 3], "data": long}]}).encode()
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 48}}]}).encode()
    yield "v2", "binary", b"%d\n" % len(head) + head + bytes(range(48))
    new = {
        "requestContext": {"http": {"method": "POST"}, "stage": "s"},
        "rawPath": "/s/predict",
        "rawQueryString": "top=1",
    }
    new |= {"headers": {"Content-Type": "image/png"}, "body": "iVBORw0KGgo=", "isBase64Encoded": True}
    yield "event", "two", json.dumps(new).encode()
    old = {"httpMethod": "GET", "path": "/model", "multiValueQueryStringParameters": {"top": ["1", "2"]}, "body": "é"}
    old |= {"multiValueHeaders": {"Host": ["a"]}, "pathParameters": {"proxy": "predict"}, "requestContext": {}}
    yield "event", "one", json.dumps(old).encode()


def of_models() -> Iterator[tuple[str, str, bytes]]:
    import tempfile
    from pathlib import Path

    import torch
    from torch import nn

    from catseye.exporting.graph import Graph
    from catseye.exporting.openvino_ir import convert, write_ir
    from catseye.exporting.torch_export import build_torch_export
    from catseye.exporting.torchscript import build_torchscript
    from catseye.manifest import Architecture
    from catseye.models import registry
    from catseye.runs import save_model
    from catseye.runtimes.tensorrt_engine_file import join_engine
    from catseye.runtimes.torch_archive import with_manifest
    from tests.server import models
    from tests.unit import onnx_files
    from tests.unit.onnx_files import manifest, tiny_model

    yield "onnx", "tiny", tiny_model().SerializeToString()
    yield "onnx", "cam", models.with_cam().SerializeToString()
    yield "onnx", "familiarity", models.with_familiarity(0.5, cam=True).SerializeToString()
    for hide in onnx_files.HIDING_PLACES:
        yield "onnx", hide.__name__, hide(onnx_files.outside("w")).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.xml"
        for name, model, said in (("tiny", tiny_model(), manifest()), ("cam", models.with_cam(), manifest())):
            write_ir(convert(model.SerializeToString()), path, said)
            weights = path.with_suffix(".bin").read_bytes()
            xml = path.read_bytes().replace(sha256(weights).hexdigest().encode(), b"@SHA256@")
            yield "openvino", name, len(xml).to_bytes(4, "little") + xml + weights
        torch.manual_seed(0)
        file = Path(folder) / "model.safetensors"
        for name, options in (("tower", {"depth": 4, "width": 0.1}),):
            said = manifest(architecture=Architecture(name=name, options=options), input_kind=None)
            network = registry.create(name, num_classes=3, in_channels=3, input_px=4, **options)
            save_model(file, network.state_dict(), said)
            yield "safetensors", name, file.read_bytes()

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 3, 1)
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))

    graph = Graph(Tiny(), manifest()).eval()
    said = manifest(outputs=tuple(graph.output_names))
    for name, build in (("torchscript", build_torchscript), ("pt2", build_torch_export)):
        content = with_manifest(build(graph), said.to_json())
        yield "torch", name, as_entries(content)
    yield "engine", "small", join_engine(b"ftrt" + bytes(60), manifest(outputs=("prediction", "probability")))


def of_data() -> Iterator[tuple[str, str, bytes]]:
    yield "csv", "plain", b"path,label\ncat.png,cat\ndog.png,dog\n"
    yield "csv", "split", b"image;class;split\ncat.png;cat;train\ndog.png;dog;test\n"
    yield "csv", "excel", b'sep=;\r\n\xef\xbb\xbffile;label\r\n"cat.png";cat\r\n'
    yield "csv", "utf16", "path\tlabel\ncat.png\tcät\ndog.png\tdog\n".encode("utf-16")
    yield "csv", "one-hot", b"image,cat,dog\ncat,1,0\ndog,0,1\n"
    yield "csv", "group", b"id_code,diagnosis,patient_id\ncat.png,0,a\ndog.png,1,a\nimages/a.png,1,b\n"
    yield "csv", "nameless", b"cat.png,cat\ndog.png,dog\nC:\\x\\images\\a.png,cat\n"
    yield "csv", "boxes", b"filename,xmin,ymin,xmax,ymax,class\ncat.png,0,0,1,1,cat\ncat.png,1,1,2,2,dog\n"
    for name, tree in ZIPS.items():
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in tree.items():
                archive.writestr(zipfile.ZipInfo(path), content)
        yield "zip", name, b"P" + stream.getvalue()
        yield "zip", f"{name}-entries", as_entries(stream.getvalue())
    for method, name in ((zipfile.ZIP_LZMA, "lzma"), (zipfile.ZIP_BZIP2, "bzip2")):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("cat/1.png", b"x" * 100)
        yield "zip", name, b"P" + stream.getvalue()
    for number, (name, content) in enumerate(images()):
        yield "image", name, bytes([(4 + number % 3 + 8 * (number % 2))]) + content
    yield "settings", "small", b'recipe = "quick"\n[training]\nepochs = 2\nlr = 0.1\n[model]\nname = "lenet5"\n'
    yield "settings", "odd", b"training.epochs = 1e400\nmodel = [1]\n[augment]\nflip = nan\n"
    yield "settings", "set", b"training.epochs=5\n"
    said = {"model_sha256": "a", "images_sha256": "b", "num_images": 3, "part_size": 2, "top": 1, "offsets": [0, 9]}
    yield "plan", "plan", json.dumps({**said, "catseye": "0.1"}).encode()
    yield "plan", "history", b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.4}\n'


ZIPS = {
    "folders": {"cat/1.png": b"1", "cat/2.png": b"2", "dog/1.png": b"3"},
    "backslashes": {"cat\\1.png": b"1", "dog\\1.png": b"3", "__MACOSX/._1.png": b""},
    "splits": {
        "d/train/cat/1.png": b"1",
        "d/train/dog/1.png": b"2",
        "d/test/cat/1.png": b"3",
        "d/test/dog/1.png": b"4",
    },
    "list": {"train.csv": b"path,label\na.png,cat\n", "a.png": b"1", "b.png": b"2"},
}


def main() -> None:
    for part in (of_requests, of_models, of_data):
        for target, name, content in part():
            path = SEEDS / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    main()
