"""TensorFlow's semantics against plain numpy: windows counted out by hand, a transposed convolution as an adjoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from slim import ATTACKERS, budget_model
from torch import nn

from privadv.models.frame import FrameNetwork
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.inception import TfInception
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.resnet import TfResNet
from privadv.models.tensorflow.same import (
    BatchNorm,
    Conv,
    Norm,
    Statistics,
    avg_pool_same,
    conv_same,
    conv_transpose_same,
    instance_norm,
    max_pool3d_same,
    max_pool_same,
    to_range,
)
from privadv.models.tensorflow.scopes import Found, Options, fill, local_name, recognise
from privadv.models.tensorflow.transform_net import TfTransformNet

# (length, kernel, stride): TensorFlow's padding before the first pixel.
BEFORE = {
    (8, 3, 1): 1, (8, 3, 2): 0, (9, 3, 2): 1, (8, 7, 2): 2, (9, 7, 2): 3, (8, 9, 1): 4, (9, 9, 1): 4,
    (8, 2, 2): 0, (9, 2, 2): 0, (9, 1, 2): 0, (8, 1, 2): 0, (9, 3, 1): 1,
}  # fmt: skip
RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def torch_of(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def windows(x: np.ndarray, kernel: int, stride: int, fill: float, before: int | None = None) -> np.ndarray:
    """(H, W, C) to (rows, columns, kernel, kernel, C), pixel by pixel."""
    rows, columns = (-(-length // stride) for length in x.shape[:2])
    result = np.full((rows, columns, kernel, kernel, x.shape[2]), fill)
    for i, j, a, b in np.ndindex(rows, columns, kernel, kernel):
        top = BEFORE[x.shape[0], kernel, stride] if before is None else before
        left = BEFORE[x.shape[1], kernel, stride] if before is None else before
        y, z = i * stride + a - top, j * stride + b - left
        if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
            result[i, j, a, b] = x[y, z]
    return result


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1, before: int | None = None) -> np.ndarray:
    """TensorFlow's conv2d of one image: ``kernel`` [k, k, in, out]."""
    return np.einsum("ijabc,abcd->ijd", windows(x, kernel.shape[0], stride, 0.0, before), kernel)


def image(x: np.ndarray) -> torch.Tensor:
    return torch_of(x).permute(2, 0, 1)[None]


def back(x: torch.Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).detach().numpy()


def out_in(kernel: np.ndarray) -> torch.Tensor:
    return torch_of(kernel).permute(3, 2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(8, 9), (9, 8)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (9, 1), (1, 2)])
def test_same_convolution_pads_the_odd_pixel_at_the_end(
    height: int, width: int, kernel: int, stride: int
) -> None:
    if (height, kernel, stride) not in BEFORE or (width, kernel, stride) not in BEFORE:
        pytest.fail("the table of paddings lacks this case")
    x, weights = draw(height, width, 2), draw(kernel, kernel, 2, 3)
    got = back(conv_same(image(x), out_in(weights), stride))
    np.testing.assert_allclose(got, conv(x, weights, stride), atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (5, 4)])
def test_transposed_convolution_is_the_adjoint_of_the_convolution(height: int, width: int) -> None:
    # TensorFlow's kernel of the transposed one is [k, k, out, in]: that of a convolution from `out` to `in` channels.
    kernel, y = draw(3, 3, 2, 3), draw(height, width, 3)
    x = draw(2 * height, 2 * width, 2)
    rows = BEFORE | {(2 * n, 3, 2): 0 for n in (height, width)}
    forward = np.einsum("ijabc,abcd->ijd", _strided(x, rows), kernel)
    got = back(conv_transpose_same(image(y), out_in(kernel), 2))
    assert got.shape == x.shape
    np.testing.assert_allclose((got * x).sum(), (forward * y).sum(), atol=1e-9)
    full = nn.functional.conv_transpose2d(image(y), out_in(kernel), stride=2)
    assert full.shape[2:] == (2 * height + 1, 2 * width + 1)
    np.testing.assert_allclose(got, back(full[..., :-1, :-1]), atol=1e-10)


def _strided(x: np.ndarray, before: dict[tuple[int, int, int], int]) -> np.ndarray:
    assert before[x.shape[0], 3, 2] == before[x.shape[1], 3, 2] == 0
    return windows(x, 3, 2, 0.0, before=0)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 1)])
def test_pools_ignore_what_is_padded(kernel: int, stride: int) -> None:
    x = draw(8, 9, 2) - 5  # all negative: a padded zero would win the maximum, and shift the mean
    seen = windows(x, kernel, stride, np.nan)
    np.testing.assert_allclose(back(max_pool_same(image(x), kernel, stride)), np.nanmax(seen, (2, 3)))
    np.testing.assert_allclose(back(avg_pool_same(image(x), kernel, stride)), np.nanmean(seen, (2, 3)))


def test_pools_in_time_keep_the_rest_at_the_end() -> None:
    x = draw(1, 1, 3, 7, 7) - 5
    got = max_pool3d_same(torch_of(x), (2, 2, 2))
    assert got.shape == (1, 1, 2, 4, 4)
    assert got[0, 0, 1, 3, 3] == x[0, 0, 2, 6, 6]
    assert got[0, 0, 0, 0, 0] == x[0, 0, :2, :2, :2].max()


def test_instance_norm_has_its_epsilon_inside_the_root() -> None:
    x, scale, shift = draw(6, 5, 3) * 0.01, draw(3), draw(3)
    wanted = scale * (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3) + shift
    np.testing.assert_allclose(
        back(instance_norm(image(x), torch_of(scale), torch_of(shift))), wanted, atol=1e-10
    )


def test_batch_norm_on_batch_statistics_reads_the_same_in_inference_and_keeps_its_averages() -> None:
    x = draw(4, 3, 5, 5) * 3 + 1
    norm = BatchNorm(3, Norm(statistics="batch")).double().eval()
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(norm(torch_of(x)).detach().numpy(), (x - mean) / np.sqrt(variance + 1e-3))
    norm.train()(torch_of(x))
    assert norm.moving_mean.eq(0).all()
    assert norm.moving_variance.eq(1).all()


def test_batch_norm_with_moving_averages_decays_them() -> None:
    x = draw(4, 3, 5, 5) * 3 + 1
    norm = BatchNorm(3, Norm(decay=0.9, scale=False)).double()
    assert norm.gamma is None
    norm(torch_of(x))
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.1 * x.mean((0, 2, 3)))
    got = norm.eval()(torch_of(x)).detach().numpy()
    np.testing.assert_allclose(
        got[:, 1], (x[:, 1] - norm.moving_mean[1].item()) / np.sqrt(norm.moving_variance[1].item() + 1e-3)
    )


def test_ranges() -> None:
    ends = torch.tensor([-1.0, 1.0]).view(1, 1, 2).expand(1, 3, 2)
    assert to_range(ends, "unit")[0, 0].tolist() == [0, 1]
    assert to_range(ends, "bytes")[0, 0].tolist() == [0, 255]
    assert to_range(ends, "bytes_less_mean")[0, :, 0].tolist() == pytest.approx([-123.68, -116.78, -103.94])


def test_the_filter_is_the_network_of_the_paper_step_by_step() -> None:
    model = TfTransformNet(width=2, blocks=1).build().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    values = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        deviation = np.sqrt(x.var((0, 1)) + 1e-3)
        return values[f"{name}_scale"] * (x - x.mean((0, 1))) / deviation + values[f"{name}_shift"]

    def layer(x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel = values[name].transpose(2, 3, 1, 0)
        return norm(conv(x, kernel, stride, before=0 if stride == 2 else kernel.shape[0] // 2), name)

    def up(x: np.ndarray, name: str) -> np.ndarray:
        inputs = values[name].shape[0]
        full = np.zeros((2 * x.shape[0] + 1, 2 * x.shape[1] + 1, values[name].shape[1]))
        for i, j, c in np.ndindex(*x.shape[:2], inputs):
            full[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += x[i, j, c] * values[name][c].transpose(1, 2, 0)
        return norm(full[:-1, :-1], name)

    frame = RANDOM.uniform(size=(12, 16, 3))
    x = frame * 255
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
        x = np.maximum(layer(x, name, stride), 0)
    x = x + layer(np.maximum(layer(x, "resid1_1"), 0), "resid1_2")
    x = np.maximum(up(np.maximum(up(x, "conv_t1"), 0), "conv_t2"), 0)
    wanted = np.tanh(layer(x, "conv_t3")) * 0.5 + 0.5
    painted = model.paint(torch_of(frame).permute(2, 0, 1)[None, :, None])
    np.testing.assert_allclose(painted[0, :, 0].permute(1, 2, 0).detach().numpy(), wanted, atol=1e-8)


def test_the_filter_keeps_sizes_that_four_does_not_divide_and_releases_grey() -> None:
    clips = torch.rand(2, 3, 2, 113, 114)
    released = TfTransformNet(width=2, blocks=1).build()(clips)
    assert released.shape == clips.shape
    assert torch.equal(released[:, 0], released[:, 2])


def test_c3d_flattens_place_by_place() -> None:
    assert TfC3D().features == 8192
    spec = TfC3D(width=2, dense=3, size=(4, 56, 56))
    assert spec.features == 16 * 2 * 2
    model = spec.build(5).eval()
    clips = torch.rand(1, 3, 4, 56, 56)
    weight = model.get_parameter("wd1")
    with torch.no_grad():
        weight.zero_()
        weight[0, 16 * 2 + 3] = 1  # place 2 = row 1, column 0; channel 3
        model.get_parameter("wd2").copy_(torch.eye(3))
        model.get_parameter("wout").fill_(1.0)
        for name in ("c1", "c2", "c3a", "c3b", "c4a", "c4b", "c5a", "c5b"):
            model.get_parameter(f"b{name}").fill_(0.1)
        got = model(clips * 2 - 1)
        x = clips
        for stage, names in enumerate((("c1",), ("c2",), ("c3a", "c3b"), ("c4a", "c4b"), ("c5a", "c5b"))):
            for name in names:
                kernel, bias = model.get_parameter(f"w{name}"), model.get_parameter(f"b{name}")
                x = torch.relu(nn.functional.conv3d(x, kernel, bias, padding=1))
            x = nn.functional.max_pool3d(x, (1 if stage == 0 else 2, 2, 2), ceil_mode=True)
        assert x.shape[2:] == (1, 2, 2)
        torch.testing.assert_close(got, x[0, 3, 0, 1, 0].expand(1, 5))


NETWORKS: dict[str, FrameNetwork] = {
    "mobilenet": TfMobileNet(width=0.25),
    "inception_v1": TfInception(version=1),
    "inception_v2": TfInception(version=2),
    "resnet_v1": TfResNet(version=1),
    "resnet_v2": TfResNet(version=2),
}


@pytest.mark.parametrize(("name", "size"), [(name, 112 + i % 2) for i, name in enumerate(NETWORKS)])
def test_every_image_network_reads_clips_of_odd_and_even_sizes(name: str, size: int) -> None:
    network = NETWORKS[name].build(7)
    logits = network(torch.rand(1, 3, 2, size, size) * 2 - 1)
    assert logits.shape == (1, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert NETWORKS[name] == type(NETWORKS[name]).parse(NETWORKS[name].canonical(), "test")


def test_slim_counts_of_parameters() -> None:
    def count(spec: FrameNetwork, classes: int) -> int:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in spec.image_network(classes).parameters())

    # Howard et al. 2017: 4.2 M and 0.47 M; He et al. 2016: 25.6 M for 50 layers, 44.5 M for 101.
    assert count(TfMobileNet(), 1001) == 3185088 + 2 * 10944 + 1025 * 1001
    assert round(count(TfMobileNet(width=0.25), 1001) / 1e6, 2) == 0.47
    assert round(count(TfResNet(version=1), 1000) / 1e6, 1) == 25.6
    assert round(count(TfResNet(version=1, layers=101), 1000) / 1e6, 1) == 44.5


@pytest.mark.parametrize("version", [1, 2])
def test_resnets_have_their_stride_in_the_last_unit_of_a_block(version: Any) -> None:
    network = TfResNet(version=version).image_network(3).eval()
    sizes: dict[str, int] = {}
    units = [name for name, _ in network.named_modules() if name.count(".") == 1 and "unit" in name]

    def remember(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            sizes[name] = output.shape[-1]

        return hook

    for name in units:
        network.get_submodule(name).register_forward_hook(remember(name))
    with torch.no_grad():
        network(torch.zeros(1, 3, 112, 112))
    of_block = [[sizes[name] for name in units if name.startswith(f"block{b}.")] for b in (1, 2, 3, 4)]
    assert of_block == [[28, 28, 14], [14, 14, 14, 7], [7, 7, 7, 7, 7, 4], [4, 4, 4]]


def test_a_resnet_pads_its_first_convolution_alike_at_both_ends() -> None:
    first = Conv(3, 4, 7, 2, fixed=True).double()
    x = draw(8, 8, 3)
    kernel = first.get_parameter("weights").detach().numpy().transpose(2, 3, 1, 0)
    wanted = conv(x, kernel, 2, before=3)
    np.testing.assert_allclose(back(first(image(x))), wanted, atol=1e-9)
    assert not np.allclose(wanted, conv(x, kernel, 2, before=2))


def test_parameters_are_named_as_in_tensorflow() -> None:
    with torch.device("meta"):
        inception = TfInception(version=2).image_network(3)
        resnet = TfResNet(version=1).image_network(3)
    names = {name.replace(".", "/") for name in inception.state_dict()}
    assert {
        "Conv2d_1a_7x7/depthwise_weights",
        "Conv2d_1a_7x7/pointwise_weights",
        "Conv2d_1a_7x7/biases",
        "Mixed_4a/Branch_1/Conv2d_1a_3x3/BatchNorm/moving_variance",
        "Mixed_5c/Branch_2/Conv2d_0c_3x3/weights",
    } <= names
    names = {name.replace(".", "/") for name in resnet.state_dict()}
    assert "block3/unit_6/bottleneck_v1/conv2/BatchNorm/gamma" in names
    assert "block1/unit_1/bottleneck_v1/shortcut/weights" in names
    assert "block1/unit_2/bottleneck_v1/shortcut/weights" not in names


@pytest.mark.parametrize("role", [*ATTACKERS, "budget_0"])
def test_a_whole_network_gives_the_logits_of_its_published_definition(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda weights, **_: weights)  # all are filled, and drawing takes longest
    pixels = torch_of(RANDOM.integers(0, 256, (2, 3, 112, 113)).astype("f4"))
    network = ATTACKERS.get(role, budget_model)()
    wanted = {statistics: network.logits(pixels, 5, statistics) for statistics in get_args(Statistics)}
    values = {local_name(name.removeprefix(f"{network.scope}/")): value for name, value in network.values.items()}
    found = Found(network.scope, Path("checkpoint"), values)
    own_role, spec = recognise(found, [network.scope], Options())
    filled, missing, unknown = fill(found, spec)
    assert (own_role, missing, unknown) == (role, [], [])
    assert isinstance(spec, TfMobileNet | TfInception | TfResNet)
    assert isinstance(spec, TfMobileNet) == (network.slim.clipped > 1000)
    for statistics, logits in wanted.items():
        model = spec.model_copy(update={"statistics": statistics}).image_network(5)
        model.load_state_dict(filled.state_dict(), assign=True)
        with torch.no_grad():
            got = model.eval()(pixels / 127.5 - 1)
        torch.testing.assert_close(got, logits, rtol=0, atol=1e-4 * logits.abs().max().item())


def test_a_whole_c3d_gives_the_logits_of_its_definition() -> None:
    size, widths = (5, 40, 56), {"1": 2, "2": 4, "3a": 8, "3b": 8, "4a": 16, "4b": 16, "5a": 16, "5b": 16}
    values: dict[str, np.ndarray] = {}
    inputs = 3
    for name, outputs in widths.items():
        values[f"wc{name}"] = draw(3, 3, 3, inputs, outputs) * (2 / (27 * inputs)) ** 0.5
        values[f"bc{name}"] = draw(outputs) * 0.3
        inputs = outputs
    for name, shape in {"d1": (16 * 1 * 2 * 2, 6), "d2": (6, 6), "out": (6, 5)}.items():
        values[f"w{name}"], values[f"b{name}"] = draw(*shape) / shape[0] ** 0.5, draw(shape[1]) * 0.3
    pixels = torch_of(RANDOM.integers(0, 256, (2, 3, *size)) * 1.0)

    x = pixels / 255
    for name in widths:
        kernel, bias = (torch_of(values[f"{kind}c{name}"]) for kind in "wb")
        x = torch.relu(nn.functional.conv3d(x, kernel.permute(4, 3, 0, 1, 2), bias, padding=1))
        if name in ("1", "2", "3b", "4b", "5b"):
            x = nn.functional.max_pool3d(x, (1 if name == "1" else 2, 2, 2), ceil_mode=True)
    rows = x.numpy().transpose(0, 2, 3, 4, 1).reshape(2, -1)
    for name in ("d1", "d2"):
        rows = np.maximum(rows @ values[f"w{name}"] + values[f"b{name}"], 0)
    wanted = rows @ values["wout"] + values["bout"]

    found = Found("UtilityModule", Path("checkpoint"), values)
    role, spec = recognise(found, ["UtilityModule"], Options(clip=size))
    network, missing, unknown = fill(found, spec)
    assert (role, missing, unknown) == ("target", [], [])
    with torch.no_grad():
        got = network.eval()(pixels.float() / 127.5 - 1).numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
