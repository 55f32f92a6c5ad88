"""The filter as a graph: the same 8-bit frames at any size, and refused where it is another filter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from test_filter import MEASURED, film, is_filtered, network, ship, shown

from privadv import export
from privadv.camera import graph, measuring
from privadv.camera.graph import Graph, open_graph, to_int8
from privadv.camera.measuring import accept, cost, difference
from privadv.camera.opening import open_filter
from privadv.camera.step import Step
from privadv.data.video.sources import Frame, Scale, VideoSource
from privadv.errors import PrivadvError
from privadv.filter import main as filter_main
from privadv.models.checkpoint import save_weights
from privadv.models.degradation import Degradation

RELEASES = [{"gray": False}, {"noise": 0.15, "smooth": 0.5}]
TRACED: dict[str, onnx.ModelProto] = {}


def trace(filter_: Degradation) -> onnx.ModelProto:
    """The graph of a filter, which is traced once for all tests."""
    key = filter_.spec.canonical() + hashlib.sha256(save_weights(filter_)).hexdigest()
    if key not in TRACED:
        TRACED[key] = TRACE(filter_)
    copy = onnx.ModelProto()
    copy.CopyFrom(TRACED[key])
    return copy


TRACE = graph.trace


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "trace", trace)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed for the shortest, at one size."""
    monkeypatch.setattr(measuring, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(export, "SIZES", ((24, 32),))


def video(height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 256, (4, height, width, 3), dtype=np.uint8))


def planted(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose last convolution has a bias that it was not trained with."""
    biases = [one for one in model.graph.initializer if one.name.endswith("last.bias")]
    assert len(biases) == 1
    biases[0].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(biases[0]) + np.float32(0.2), biases[0].name))
    return model


@pytest.mark.parametrize(("how", "spec"), [
    (RELEASES[0], {}), (RELEASES[1], {"coarse": 2, "appearance": False}), (RELEASES[0], {"coarse": 12}),
], ids=str)
def test_one_graph_is_the_filter_at_every_size(how: dict[str, Any], spec: dict[str, Any]) -> None:
    torch.manual_seed(0)
    filter_ = network(**how).model_copy(update=spec).build()
    for parameter in filter_.parameters():
        if parameter.ndim == 1:  # else a first frame, where nothing moves, is rounding errors that were normalised
            torch.nn.init.normal_(parameter)
    step = Step(filter_)
    exported = Graph(trace(filter_).SerializeToString(), step.needs, 1)
    sizes = [size for size in ((16, 16), (48, 48), (37, 91), (120, 160)) if min(size) >= step.needs.smallest]
    for height, width in ((step.needs.smallest,) * 2, *sizes):
        assert difference(step, exported, video(height, width)) <= 2


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_broken_graph_is_refused(precision: Any) -> None:
    torch.manual_seed(0)
    filter_ = network(gray=False).build()
    step = Step(filter_)
    good, bad = (Graph(model.SerializeToString(), step.needs, 1) for model in (trace(filter_), planted(trace(filter_))))
    assert "at most" in accept(step, good, precision)
    with pytest.raises(PrivadvError, match="it is not written"):
        accept(step, bad, precision)


def test_an_export_that_is_refused_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    model, out = ship(tmp_path / "model", network(gray=False), grey=False), tmp_path / "out.onnx"
    monkeypatch.setattr(graph, "trace", lambda filter_: planted(trace(filter_)))
    assert export.main(["--onnx", str(out), "--model", model]) == 2
    said = capsys.readouterr().err
    assert "differs from PyTorch by" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_exported_filter_filters_a_video(tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = film(tmp_path / "in.mp4"), tmp_path / "filter.onnx"
    model = ship(tmp_path / "model", network(noise=0.0))
    assert export.main(["--onnx", str(out), "--model", model, "--precision", precision, "--calibrate", str(source)]) == 0
    said = capsys.readouterr().out
    parameters, flops = cost(open_filter(model)[0], 24, 32)
    assert "32x24" in said and f"{flops / 1e9:.3f}  {parameters}" in said
    assert (f"no leakage figure covers the {precision} graph" in said) == (precision != "fp32")
    assert filter_main([str(source), str(tmp_path / "out.mp4"), "--model", str(out)]) == 0
    assert (f"figures are not the {precision} graph's" in capsys.readouterr().out) == (precision != "fp32")
    frames = shown(tmp_path / "out.mp4")[1]
    assert frames.shape == (24, 24, 24, 3) and is_filtered(frames)
    assert open_graph(out)[1].measured == open_filter(model)[1].measured


def test_calibration_compares_frames_as_far_apart_as_the_filter_does(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4")
    measured = MEASURED.model_copy(update={"fps": 24.0})
    shipped = open_filter(ship(tmp_path / "model", network(), measured))[1]
    frames = [one.image for one in VideoSource(str(source), Scale((24, 32), (24, 24))) if isinstance(one, Frame)]
    learnt, left = export._calibration(str(source), shipped)
    for videos, start in ((learnt, 0), (left, 12)):
        assert len(videos) == 2 and all(len(video) == 6 for video in videos)
        for phase, video in enumerate(videos):
            assert all(np.array_equal(image, frames[start + phase + 2 * number]) for number, image in enumerate(video))
    with pytest.raises(PrivadvError, match=r"short\.mp4: has 7 frames, and calibration needs 8"):
        export._calibration(str(film(tmp_path / "short.mp4", range(7))), shipped)


def test_convolutions_of_int8_are_in_8_bit() -> None:
    torch.manual_seed(0)
    filter_ = network(gray=False).build()
    plain = Step(filter_)
    eight = Graph(to_int8(trace(filter_), plain.needs, [video(24, 24)]).SerializeToString(), plain.needs, 1)
    assert difference(plain, eight, video(24, 24)) > 0


def test_the_outer_convolutions_of_int8_stay_in_32_bit() -> None:
    filter_ = network(gray=False).build()
    exact, model = trace(filter_), to_int8(trace(filter_), Step(filter_).needs, [video(24, 24)])
    weights = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in exact.graph.node) > 4
    assert [node.input[1] in weights for node in convolutions] == [False] * 2 + [True] * (len(convolutions) - 4) + [False] * 2


def test_a_filter_of_outer_convolutions_alone_has_no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    filter_ = network(gray=False).build()
    monkeypatch.setattr(graph, "OUTER", 9)
    with pytest.raises(PrivadvError, match="take another precision"):
        to_int8(trace(filter_), Step(filter_).needs, [video(24, 24)])


def test_parameters_and_operations_are_those_counted_by_hand() -> None:
    filter_ = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = filter_

        def paint(self, clips: torch.Tensor) -> torch.Tensor:
            return self.only(clips[:, :, 0])

    assert cost(One(), 10, 12) == (3 * 5 * 9, 2 * 10 * 12 * 3 * 5 * 9)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--onnx", "no/out.onnx", "--model", "model"], "make it first"),
    (["--onnx", "out.bin", "--model", "model"], "ends with .onnx"),
    (["--onnx", "out.onnx", "--model", "model", "--precision", "int8"], "add --calibrate"),
    (["--onnx", "out.onnx", "--model", "nothing"], "cannot be read"),
    (["--onnx", "out.onnx", "--model", "model", "--calibrate", "none.mp4"], "none.mp4"),
    (["--onnx", "out.onnx", "--model", "models:/nameless"], "models:/NAME@ALIAS"),
    (["--onnx", "old.onnx", "--model", "model"], "old.onnx: exists already: name another file, or add --overwrite"),
])
def test_mistakes_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    ship(tmp_path / "model", network())
    monkeypatch.chdir(tmp_path)
    Path("old.onnx").write_text("old")
    assert export.main(arguments) == 2 and Path("old.onnx").read_text() == "old"
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not Path("out.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"no graph at all" * 9])
def test_a_graph_of_somebody_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises(PrivadvError, match=r"ONNX graph|no filter that"):
        open_graph(tmp_path / "some.onnx")
