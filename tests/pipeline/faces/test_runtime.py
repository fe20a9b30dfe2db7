"""Runtimes of the face network: equal within the stated tolerances, chosen as the machine allows, and named."""

import builtins
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dferc.core.errors import InputError
from pipeline.faces import pooling, runtime
from pipeline.faces.densenet import FaceNet, FoldedFaceNet, load_face_net, save_face_net
from pipeline.faces.pooling import FaceNetWorker, face_vectors
from pipeline.faces.runtime import OpenVinoFaceNet, choose_runtime, nearest_runtime, runtime_identity
from tests.helpers.common import REPOSITORY

pytest.importorskip("openvino")
FASTEST = runtime.runtimes()[0]
BFLOAT16 = pytest.mark.skipif(
    FASTEST != "openvino_bfloat16", reason="this processor does not multiply in bfloat16 (AVX512_BF16, AMX)"
)
RUNTIMES = ["openvino", pytest.param("openvino_bfloat16", marks=BFLOAT16)]
TOLERANCES = {"openvino": 1e-5, "openvino_bfloat16": 1e-2}  # shares of the largest value, as params.yaml states them


@pytest.fixture(scope="module")
def net() -> FaceNet:
    """Network whose statistics, scales and shifts are none that a fold could leave out."""
    torch.manual_seed(2)
    net = FaceNet(image_size=32, mean=100.0, std=50.0).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.weight.data.uniform_(-0.3, 1.5)[0] = 0
        norm.bias.data.normal_(0, 0.3)
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.3, 2)
    return net


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "face.safetensors"
    save_face_net(path, net, {})
    return str(path)


@pytest.fixture
def without_openvino(monkeypatch):
    importing = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "openvino":
            raise ImportError(name)
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtime_gives_the_features_of_the_network_within_its_tolerance(net, faces, name):
    with torch.inference_mode():
        expected = net(torch.from_numpy(faces)).features.numpy()
    given = OpenVinoFaceNet(net, name, at_once=1, threads=1)(faces)
    assert given.dtype == np.float32 and given.shape == expected.shape
    np.testing.assert_allclose(given, expected, rtol=0, atol=TOLERANCES[name] * expected.max())


@BFLOAT16
def test_bfloat16_is_what_its_name_promises(net, faces):
    exact, rounded = (OpenVinoFaceNet(net, name, at_once=1, threads=1)(faces[:1]) for name in TOLERANCES)
    assert np.abs(exact - rounded).max() > 1e-4 * exact.max()


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_face_has_the_same_bytes_in_any_company_and_number_of_threads(net, faces, name):
    one, two = (OpenVinoFaceNet(net, name, at_once=4, threads=threads) for threads in (1, 2))
    together = face_vectors(one, faces)
    assert together.shape == (11, 342)
    assert np.array_equal(together, face_vectors(two, faces))
    assert np.array_equal(together[::-1], face_vectors(one, faces[::-1]))
    assert np.array_equal(together[7:8], face_vectors(one, faces[7:8]))
    assert face_vectors(one, faces[:0]).shape == (0, 342)


def test_worker_computes_by_the_runtime_that_it_is_given(saved, net, faces, monkeypatch):
    monkeypatch.setattr(pooling, "_PIXELS", 2 * 32 * 32)
    by_name = {name: FaceNetWorker(saved, "cpu", name)(faces).result for name in ("pytorch", "openvino")}
    assert np.array_equal(by_name["pytorch"], face_vectors(FoldedFaceNet(load_face_net(saved)), faces))
    expected = OpenVinoFaceNet(net, "openvino", at_once=2, threads=torch.get_num_threads())
    assert np.array_equal(by_name["openvino"], face_vectors(expected, faces))
    assert not np.array_equal(*by_name.values())


def test_auto_is_the_fastest_of_this_machine_and_pytorch_elsewhere():
    assert choose_runtime("auto", "cpu") == FASTEST and FASTEST.startswith("openvino")
    assert choose_runtime("openvino", "cpu") == "openvino"
    assert choose_runtime("pytorch", "cuda") == choose_runtime("pytorch", "cpu") == "pytorch"
    assert choose_runtime("auto", "cuda") == choose_runtime("auto", "cpu", elsewhere=True) == "pytorch"


def test_auto_is_pytorch_without_openvino(without_openvino):
    assert runtime.runtimes() == ("pytorch",) and choose_runtime("auto", "cpu") == "pytorch"
    assert nearest_runtime("openvino_bfloat16", "cpu") == "auto"
    with pytest.raises(InputError, match=r"extract_visual\.runtime: openvino, and openvino is not installed.*pip"):
        choose_runtime("openvino", "cpu")


def test_without_bfloat16_auto_is_float32_and_its_name_is_refused(net, monkeypatch):
    there = runtime.runtimes()
    monkeypatch.setattr(runtime, "runtimes", lambda: there[-2:])
    assert choose_runtime("auto", "cpu") == "openvino"
    with pytest.raises(InputError, match=r"processor does not .* bfloat16\. Set auto or one of openvino, pyto"):
        choose_runtime("openvino_bfloat16", "cpu")
    with pytest.raises(InputError, match="this machine lacks openvino_bfloat16"):  # another machine of a cluster
        OpenVinoFaceNet(net, "openvino_bfloat16", at_once=1, threads=1)
    assert nearest_runtime("openvino_bfloat16", "cpu") == "auto" and nearest_runtime("openvino", "cpu") == "openvino"


def test_openvino_is_refused_on_another_device():
    with pytest.raises(InputError, match="openvino computes on the CPU, and the device is cuda.*--device cpu"):
        choose_runtime("openvino", "cuda")
    assert nearest_runtime("openvino", "cuda") == "auto" and nearest_runtime("pytorch", "cuda") == "pytorch"


def test_identity_names_runtime_and_version():
    import openvino

    named = runtime_identity("openvino")
    assert named["runtime"] == "openvino" and openvino.__version__.startswith(named["extractor"].split()[-1])
    before = runtime_identity("pytorch")
    assert before.keys() == {"extractor"} and before["extractor"].endswith(f"torch {torch.__version__.split('+')[0]}")
    # the name in front of the version is that of the network: features of both can be predicted from
    assert named["extractor"].split()[0] == before["extractor"].split()[0]


@pytest.mark.slow
def test_openvino_reports_nothing_to_its_makers(saved, tmp_path):
    """Its telemetry, which would report the import, keeps an identifier in the home."""
    code = (
        "import numpy, sys; from pipeline.faces.pooling import FaceNetWorker; "
        "FaceNetWorker(sys.argv[1], 'cpu', 'openvino')(numpy.zeros((2, 32, 32), 'uint8'))"
    )
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code, saved], check=True, env=environment, timeout=300)
    assert not list(tmp_path.iterdir())
