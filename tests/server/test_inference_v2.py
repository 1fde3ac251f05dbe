"""The Open Inference Protocol, asked by its own client (tritonclient, from PyPI)."""

import json

import numpy as np
import pytest

import catseye
from catseye.classifier import softmax
from catseye.preprocess import normalise, preprocess
from tests.server import models
from tests.server.running import noise
from tests.unit.onnx_files import SPEC, manifest, tiny_model

httpclient = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")


@pytest.fixture(scope="module")
def client(server):
    client = httpclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def test_health_and_metadata(client, server):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tints")
    assert client.get_server_metadata()["name"] == "catseye"
    said = client.get_model_metadata("tints")
    assert said["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4, 3]}]
    assert said["outputs"] == [{"name": "probability", "datatype": "FP32", "shape": [-1, 3]}]
    assert said["versions"] == [server.get("/model").json()["version"]]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(client, server, binary_in, binary_out):
    pixels = np.stack([preprocess(noise(seed), SPEC) for seed in range(7)])
    given = httpclient.InferInput("image", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=binary_in)
    wanted = [httpclient.InferRequestedOutput("probability", binary_data=binary_out)]
    answer = client.infer("tints", [given], outputs=wanted, request_id="seven")
    expected = [catseye.load(server.facts["model"]).predict(noise(seed)).probabilities for seed in range(7)]
    np.testing.assert_allclose(answer.as_numpy("probability"), expected, atol=1e-6)
    assert answer.get_response()["id"] == "seven"


def test_a_compressed_body_is_refused(client):
    """It could unfold into gigabytes."""
    given = httpclient.InferInput("image", [1, 4, 4, 3], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(Exception, match="content-encoding"):
        client.infer("tints", [given], request_compression_algorithm="gzip")


def test_an_unknown_model(client):
    with pytest.raises(Exception, match="the model is called"):
        client.get_model_metadata("other")


def test_a_model_of_normalised_floats(start, tmp_path):
    """The wire type follows the file; so does /predict."""
    from onnx import TensorProto, helper, numpy_helper

    model = tiny_model(manifest(input_kind="float"))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4]))
    axes = next(one for one in model.graph.initializer if one.name == "axes")
    axes.CopyFrom(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    running = start(models.write(tmp_path / "floats.onnx", model))
    tensor = normalise(preprocess(noise(5), SPEC)[None], SPEC)
    said = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": tensor.ravel().tolist()}
    body = json.dumps({"inputs": [said]}).encode()
    found = running.predict(body, "/v2/models/floats/infer", content_type="application/json").json()
    logits = tensor.mean(axis=(2, 3)) @ np.eye(3, dtype=np.float32) / 64
    np.testing.assert_allclose(found["outputs"][0]["data"], softmax(logits)[0], atol=1e-6)
    percent = list(running.predict(noise(5)).json()["all_probabilities"].values())
    np.testing.assert_allclose(percent, softmax(logits)[0] * 100, atol=0.0051)
