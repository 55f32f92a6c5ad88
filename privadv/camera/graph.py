"""A filter and its release as an ONNX graph: 8-bit frames in, 8-bit frames out, of any size; run with onnxruntime.

The noise is an input, not a node. So the graph is a function, and can be held against PyTorch; and whoever runs it draws the
noise from a source that cannot be guessed, which onnxruntime's RandomNormal (a 31-bit generator) is not.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from privadv.camera.step import FIRST, Needs, Step
from privadv.errors import PrivadvError
from privadv.models.checkpoint import ShippedFilter
from privadv.models.degradation import Degradation
from privadv.scratch import scratch

Precision = Literal["fp32", "fp16", "int8"]
KEY, PRECISION = "privadv", "precision"
"""Of the graph's metadata: which filter it is, and in what arithmetic."""
OUTPUTS = ["released", "smoothed_after"]
OPSET = 18
OUTER = 2
"""Convolutions at either end that int8 leaves in 32 bit; docs/filter.md has what fewer of them cost."""
TRACED = (2, 40, 48)
"""(N, H, W) that the filter is traced with, or larger ones; the graph takes any from the smallest at which the filter works."""


class Graph:
    """An exported filter, a :class:`privadv.camera.step.Stepping`; ``threads`` 0 = as many as there are cores."""

    def __init__(self, model: bytes, needs: Needs, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.needs = needs
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, frames: Tensor, before: Tensor | None = None, noise: Tensor | None = None,
                 smoothed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        given = {"frames": frames, "before": before, "noise": noise, "smoothed": smoothed}
        fed = {name: value.numpy() for name in self.needs.names if (value := given[name]) is not None}
        released, *rest = (torch.from_numpy(value) for value in self._session.run(None, fed))
        return released, rest[0] if rest else None


def trace(filter_: Degradation) -> onnx.ModelProto:
    """The filter as a graph in 32 bit."""
    step = Step(filter_)
    smallest, (clips, height, width) = step.needs.smallest, TRACED
    given = inputs(step.needs, clips, max(height, 2 * smallest), max(width, 2 * smallest))
    n, h, w = (torch.export.Dim(name, min=low) for name, low in (("n", 1), ("height", smallest), ("width", smallest)))
    spatial = {"frames": {0: n, 1: h, 2: w}, "before": {0: n, 1: h, 2: w}, "noise": {0: n, 2: h, 3: w},
               "smoothed": {0: n, 2: h, 3: w}}
    with _quiet():
        program = torch.onnx.export(
            step, kwargs=given, dynamo=True, opset_version=OPSET, input_names=list(given), verbose=False,
            output_names=OUTPUTS[: 1 + step.needs.smoothed], external_data=False,
            dynamic_shapes={name: spatial[name] for name in given})
    assert program is not None
    return program.model_proto


def convert(filter_: Degradation, precision: Precision, seen: Iterable[Iterable[np.ndarray]] = ()) -> onnx.ModelProto:
    """The filter as a graph in ``precision``; int8 takes its ranges from the videos ``seen``, each uint8 frames (H, W, 3).

    Raises:
        PrivadvError: it cannot be had in this precision.
    """
    model = trace(filter_)
    if precision == "int8":
        return to_int8(model, Needs.of(filter_), seen)
    return to_half(model) if precision == "fp16" else model


def inputs(needs: Needs, n: int, height: int, width: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Random frames with all that goes with them, of the first moment of N videos."""
    frames = torch.randint(0, 256, (2, n, height, width, 3), dtype=torch.uint8, generator=generator)
    memory = (n, needs.channels, height, width)
    every = {"frames": frames[0], "before": frames[1], "noise": torch.randn(memory, generator=generator),
             "smoothed": torch.full(memory, FIRST)}
    return {name: every[name] for name in needs.names}


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in 16 bit; noise and memory stay in 32 at the border."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        return convert_float_to_float16(model, keep_io_types=True)


def to_int8(model: onnx.ModelProto, needs: Needs, videos: Iterable[Iterable[np.ndarray]]) -> onnx.ModelProto:
    """Convolutions in 8 bit but the outer ones, with ranges as they are on ``videos``, each uint8 frames (H, W, 3) in order.

    Raises:
        PrivadvError: the network has outer convolutions alone.
    """
    with scratch() as folder, _quiet():
        plain, ready, done = (folder / name for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
        if not (inner := convolutions[OUTER:-OUTER]):
            raise PrivadvError(f"int8 leaves the first and last {OUTER} convolutions as they are, and this filter has no others: "
                               "take another precision")
        quantize_static(
            str(ready), str(done), _Calibration(needs, videos), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"], nodes_to_quantize=inner, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax)
        return onnx.load(done)


class _Calibration(CalibrationDataReader):
    def __init__(self, needs: Needs, videos: Iterable[Iterable[np.ndarray]]) -> None:
        self._fed = itertools.chain.from_iterable(self._feeds(needs, video) for video in videos)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._fed, None)

    @staticmethod
    def _feeds(needs: Needs, frames: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        before = None
        for frame in frames:
            now = torch.from_numpy(frame)[None]
            given = inputs(needs, 1, *frame.shape[:2])
            given["frames"] = now
            if needs.before:
                given["before"] = now if before is None else before
            before = now
            yield {name: value.numpy() for name, value in given.items()}


def seal(model: onnx.ModelProto, shipped: ShippedFilter, precision: Precision) -> bytes:
    """The graph's bytes, with what it is written into it."""
    del model.metadata_props[:]
    for name, text in ((KEY, shipped.canonical()), (PRECISION, precision)):
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    model.producer_name, model.doc_string = "privadv", ""
    return model.SerializeToString()


def open_graph(path: Path) -> tuple[Graph, ShippedFilter, str]:
    """An exported filter, what it is, and its precision.

    Raises:
        PrivadvError: the file cannot be read, is no graph, or none that this project exported.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_from_string(data)
        facts = {one.key: one.value for one in model.metadata_props}
        if not {KEY, PRECISION} <= facts.keys():
            raise PrivadvError(f"{path}: is no filter that `privadv export` wrote")
        shipped = ShippedFilter.parse(facts[KEY], str(path))
        return Graph(data, Needs.of(shipped.spec.build())), shipped, facts[PRECISION]
    except OSError as error:
        raise PrivadvError(f"{path}: cannot be read ({error.strerror})") from None
    except PrivadvError:
        raise
    except Exception as error:  # onnx and onnxruntime raise whatever their parsers do
        reason = " ".join(str(error).split())[:160]
        raise PrivadvError(f"{path}: is no ONNX graph ({reason}): export it again") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk a lot, and warn of their own ways."""
    earlier = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(earlier)
