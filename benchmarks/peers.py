"""The peers' int8 models, made as well as their own tools allow, and kept as files.

    onnxruntime_int8   onnxruntime.quantization: static QDQ, unsigned activations, per channel
    nncf_int8          NNCF post-training quantization of the OpenVINO model

Where a tool leaves a choice open, all are tried and the best on `valid` is kept.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contest import INSTALL, Contestant

from lighten.core.task import Task
from lighten.errors import InputError
from lighten.measure import quality

Array = np.ndarray[Any, Any]
SAMPLES = 512
MAKE = "python benchmarks/{}.py --train int8"


def contestants(script: str, folder: Path) -> list[Contestant]:
    """The int8 models of a benchmark, made or not."""
    how, peers = MAKE.format(script), folder / "peers"
    return [
        Contestant("onnxruntime int8 (U8S8)", "onnxruntime", peers / "int8.onnx", how),
        Contestant("NNCF int8", "openvino", peers / "nncf.xml", how),
    ]


def make(net: Any, task: Task, folder: Path) -> None:
    """Make both, in the places where `contestants` looks."""
    fp32 = to_onnx(net, task)
    onnxruntime_int8(fp32, task, folder / "peers" / "int8.onnx")
    nncf_int8(fp32, task, folder / "peers" / "nncf.xml")


def accuracy_on_valid(contestant: Contestant, task: Task) -> float:
    """How good a peer's model is on `valid`, by which its settings are chosen."""
    net = contestant.load(1)
    return quality.quality(quality.rows(net, task.valid(), task.metric), task.metric)


def samples(task: Task) -> Iterator[Array]:
    """The calibration samples one by one, each `[1, …]`: the ones that ours are."""
    batches = [batch.inputs[0] for batch in task.calibration(SAMPLES)]
    for x in np.concatenate(batches)[:SAMPLES]:
        yield x[None]


def onnxruntime_int8(fp32: bytes, task: Task, out: Path) -> None:
    """U8S8 by onnxruntime's own tool, of the calibration methods the better on `valid`."""
    from onnxruntime import quantization as tool
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(tool.CalibrationDataReader):
        """Feeds the samples, one a call."""

        def __init__(self, name: str) -> None:
            self.left = ({name: x} for x in samples(task))

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        raw, ready = Path(folder) / "raw.onnx", Path(folder) / "ready.onnx"
        raw.write_bytes(fp32)
        quant_pre_process(str(raw), str(ready))
        tried = []
        for method in (tool.CalibrationMethod.MinMax, tool.CalibrationMethod.Entropy):
            path = Path(folder) / f"{method.name}.onnx"
            tool.quantize_static(
                str(ready),
                str(path),
                Reader(_input_name(fp32)),
                quant_format=tool.QuantFormat.QDQ,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
                per_channel=True,
                reduce_range=False,
                calibrate_method=method,
            )
            tried.append(Contestant(method.name, "onnxruntime", path))
        _keep(_best(tried, task), out)


def nncf_int8(fp32: bytes, task: Task, out: Path) -> None:
    """NNCF's post-training int8 of the OpenVINO model, of its presets the better on `valid`."""
    nncf, openvino = module("nncf"), module("openvino")
    presets = (nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED)
    with tempfile.TemporaryDirectory() as folder:
        tried = []
        for preset in presets:
            model = openvino.Core().read_model(fp32)
            data = nncf.Dataset(list(samples(task)))
            made = nncf.quantize(model, data, preset=preset, subset_size=SAMPLES)
            path = Path(folder) / f"{preset.value}.xml"
            openvino.save_model(made, path, compress_to_fp16=False)
            tried.append(Contestant(preset.value, "openvino", path))
        _keep(_best(tried, task), out)


def to_onnx(net: Any, task: Task) -> bytes:
    """A live network as the bytes of an ONNX model, BatchNorm folded."""
    from lighten.network import lower
    from lighten.program import onnx_out

    return onnx_out.to_onnx(lower(net, task.example(2)))


def module(name: str) -> Any:
    """A peer's package. Raises `InputError` saying how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} is not installed.", f"Install it with: {INSTALL}") from error


def _input_name(fp32: bytes) -> str:
    import onnx

    return str(onnx.load_model_from_string(fp32).graph.input[0].name)


def _best(tried: Sequence[Contestant], task: Task) -> Path:
    scores = {one.model: accuracy_on_valid(one, task) for one in tried}
    for one in tried:
        print(f"{one.name} ({one.backend}): {scores[one.model]:.2f} on valid")
    best = max(scores, key=lambda model: scores[model])
    assert isinstance(best, Path)
    return best


def _keep(path: Path, out: Path) -> None:
    """Put a model, and the weights beside it, where it is to stay."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix in {path.suffix, ".bin"}:
        if path.with_suffix(suffix).exists():
            shutil.copy(path.with_suffix(suffix), out.with_suffix(suffix))
