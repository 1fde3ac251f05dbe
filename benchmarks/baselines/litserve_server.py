"""LitServe (Apache-2.0) around the same ONNX file: one worker per core, one thread each. For comparison only.

python litserve_server.py MODEL.onnx PORT WORKERS BATCH
"""

import sys
from typing import Annotated

import litserve
import numpy as np
import onnxruntime
from fastapi import File, UploadFile

from catseye.preprocess import preprocess
from catseye.runtimes.loading import open_model

path, port, workers, batch = sys.argv[1], *map(int, sys.argv[2:5])


class Classify(litserve.LitAPI):
    def setup(self, device):
        self.manifest = open_model(path, threads=1).manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    # LitServe makes its route's only parameter of this one: by its name, the form's field would be `request`.
    def decode_request(self, request: Annotated[UploadFile, File(alias="file")]):
        return preprocess(request.file.read(), self.manifest.preprocessing)

    def predict(self, pixels):
        rows = pixels if batch > 1 else pixels[None]
        return self.session.run(["probability"], {"image": np.ascontiguousarray(rows)})[0]

    def encode_response(self, probabilities):
        shares = np.round(np.ravel(probabilities).astype(float) * 100, 2).tolist()
        best = int(np.argmax(shares))
        classes = self.manifest.classes
        return {
            "class": classes[best],
            "confidence": shares[best],
            "all_probabilities": dict(zip(classes, shares, strict=True)),
        }


if __name__ == "__main__":
    api = Classify(max_batch_size=batch, batch_timeout=0.005 if batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
