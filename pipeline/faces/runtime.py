"""Runtimes of the face network on a CPU: PyTorch, or OpenVINO in float32 or in bfloat16.

Features of OpenVINO's float32 are within 1e-5 of the largest value of PyTorch's, those of its bfloat16 within 1e-2
(measured: 4e-3). The identity of features names the runtime, so that a mixture is seen.

B faces of one pass, S side of a face in pixels, D pooled values of a face.
"""

import functools
import sys
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from dferc.core.errors import InputError
from pipeline.faces.densenet import WIDTH, FaceNet, FoldedFaceNet

AUTO, PYTORCH, OPENVINO, OPENVINO_BFLOAT16 = "auto", "pytorch", "openvino", "openvino_bfloat16"
_SETTING = "extract_visual.runtime"
_CPU = "CPU"  # OpenVINO's name of the device


def runtimes() -> tuple[str, ...]:
    """Return the runtimes of this machine, the fastest first."""
    try:
        openvino = _openvino()
    except ImportError:
        return (PYTORCH,)
    # OpenVINO's own choice is bfloat16 where the processor multiplies in it (AVX512_BF16, AMX), not where it emulates.
    native = openvino.Core().get_property(_CPU, "INFERENCE_PRECISION_HINT") == openvino.Type.bf16
    return (*[OPENVINO_BFLOAT16] * native, OPENVINO, PYTORCH)


def choose_runtime(wanted: str, device: str, elsewhere: bool = False) -> str:
    """Return the runtime that a setting `extract_visual.runtime` stands for here.

    Args:
        wanted: auto, the fastest of this machine, or the name of a runtime.
        device: of the network: cpu or cuda. `auto` is PyTorch on CUDA.
        elsewhere: a cluster's machines compute, which may differ; `auto` is then PyTorch.

    Raises:
        InputError: this machine lacks the runtime, or it does not compute on this device.
    """
    if wanted == PYTORCH or wanted == AUTO and (elsewhere or device != "cpu"):
        return PYTORCH
    if device != "cpu":
        raise InputError(
            f"{_SETTING}: {wanted} computes on the CPU, and the device is {device}. Set {AUTO} or {PYTORCH}, or add "
            "`--device cpu`."
        )
    there = runtimes()
    if wanted != AUTO and wanted not in there:
        lacks = "this processor does not multiply in bfloat16" if OPENVINO in there else "openvino is not installed"
        remedy = "" if OPENVINO in there else ", or `pip install openvino`"
        raise InputError(f"{_SETTING}: {wanted}, and {lacks}. Set {AUTO} or one of {', '.join(there)}{remedy}.")
    return there[0] if wanted == AUTO else wanted


def nearest_runtime(wanted: str, device: str) -> str:
    """Return the runtime that features were made with, or the fastest of this machine where it has another one."""
    return wanted if wanted == PYTORCH or device == "cpu" and wanted in runtimes() else AUTO


def runtime_identity(runtime: str) -> dict[str, str]:
    """Return the part of the features' identity that names the runtime and its version."""
    if runtime == PYTORCH:  # as before there were others
        return {"extractor": f"densenet-bc-100-12, normalisation folded in, torch {torch.__version__.split('+')[0]}"}
    version = _openvino().__version__.split("-")[0]
    return {"extractor": f"densenet-bc-100-12, normalisation folded in, openvino {version}", "runtime": runtime}


class OpenVinoFaceNet:
    """Forward pass of a trained `FaceNet` by OpenVINO, about three times as fast in bfloat16 as `FoldedFaceNet`.

    Passes of `at_once` faces run side by side, each in a thread, so values do not depend on the number of threads.
    """

    def __init__(self, net: FaceNet, runtime: str, at_once: int, threads: int):
        openvino = _openvino()
        if runtime not in runtimes():
            raise InputError(f"{_SETTING}: this machine lacks {runtime}, which the machine that began has.")
        options = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if runtime == OPENVINO_BFLOAT16 else "f32",
            "ENABLE_CPU_PINNING": False,  # processes of one machine would share cores
        }
        self.at_once = at_once
        self._queue = openvino.AsyncInferQueue(openvino.Core().compile_model(_graph(net, at_once), _CPU, options))
        self._queue.set_callback(lambda request, keep: keep(request.get_output_tensor(0).data))

    def __call__(self, faces_BSS: np.ndarray) -> np.ndarray:
        """Return the features [B, D] float32 of grey faces uint8; B is a multiple of `at_once`."""
        features_BD = np.empty((len(faces_BSS), WIDTH), np.float32)
        for first in range(0, len(faces_BSS), self.at_once):
            part = slice(first, first + self.at_once)
            self._queue.start_async([faces_BSS[part]], functools.partial(features_BD.__setitem__, part))
        self._queue.wait_all()
        return features_BD


def _openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which reports each import to its makers."""
    unknown = "openvino_telemetry" not in sys.modules
    if unknown:
        sys.modules["openvino_telemetry"] = None  # as if it was not installed, which OpenVINO allows for
    try:
        import openvino
    finally:
        if unknown:
            del sys.modules["openvino_telemetry"]
    return openvino


def _graph(net: FaceNet, at_once: int):
    """Return the network as OpenVINO's model from faces [B, S, S] uint8; one built from PyTorch's trace is slower."""
    openvino = _openvino()
    from openvino import opset13 as ops

    def constant(values: Tensor) -> object:
        return ops.constant(np.ascontiguousarray(values.detach().cpu().numpy()))

    def channels(values_C: Tensor) -> object:
        return constant(values_C.reshape(1, -1, 1, 1))

    def convolve(maps: object, weights: Tensor, padding: int) -> object:
        return ops.convolution(maps, constant(weights), [1, 1], [padding] * 2, [padding] * 2, [1, 1])

    def point(maps: object, matrix: Tensor) -> object:
        return convolve(maps, matrix.T[:, :, None, None], 0)

    def active(maps: object, scale: Tensor, shift: Tensor) -> object:
        return ops.relu(ops.add(ops.multiply(maps, channels(scale)), channels(shift)))

    folded = FoldedFaceNet(net)
    faces = ops.parameter([at_once, net.image_size, net.image_size], np.uint8)
    images = ops.divide(ops.subtract(ops.convert(faces, "f32"), constant(folded.mean)), constant(folded.std))
    maps = convolve(ops.unsqueeze(images, ops.constant(np.int64(1))), folded.stem, 1)  # [B, C, S, S]
    for layers, transition in zip(folded.blocks, [*folded.transitions, None], strict=True):
        for scale, shift, narrow, bias, wide in layers:
            narrowed = ops.relu(ops.add(point(active(maps, scale, shift), narrow), channels(bias)))
            maps = ops.concat([maps, convolve(narrowed, wide, 1)], 1)
        if transition:
            scale, shift, narrow = transition
            window = {"strides": [2, 2], "kernel_shape": [2, 2], "pads_begin": [0, 0], "pads_end": [0, 0]}
            maps = point(ops.avg_pool(active(maps, scale, shift), exclude_pad=True, **window), narrow)
    pooled = ops.reduce_mean(active(maps, *folded.last), ops.constant(np.array([2, 3], np.int64)), False)
    return openvino.Model([pooled], [faces], "face")
