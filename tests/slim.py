"""slim's image networks by their published definitions alone: plain torch under TensorFlow's names, no layer of the project.

Weights are drawn where a name is first met, in TensorFlow's layouts, so that a network leaves the variables of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Norm = Literal["moving", "batch"]
# (kernel, stride): SAME's pixels before and after an axis of even length, and of odd length.
PADDING = {
    (7, 2): ((2, 3), (3, 3)), (3, 2): ((0, 1), (1, 1)), (3, 1): ((1, 1), (1, 1)), (2, 2): ((0, 0), (0, 1)),
    (1, 1): ((0, 0), (0, 0)), (1, 2): ((0, 0), (0, 0)),
}  # fmt: skip
DRAWN = np.random.default_rng(0).standard_normal(3 << 20, "f4")


def around(x: Tensor, kernel: int, stride: int, fill: float) -> Tensor:
    top, bottom = PADDING[kernel, stride][x.shape[2] % 2]
    left, right = PADDING[kernel, stride][x.shape[3] % 2]
    return F.pad(x, (left, right, top, bottom), value=fill)


def max_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    return F.max_pool2d(around(x, kernel, stride, -torch.inf), kernel, stride)


def no_activation(x: Tensor) -> Tensor:
    return x


class Slim:
    """slim.conv2d and its like on (B, C, H, W), with the defaults of one network's arg_scope.

    Each normalised value has a deviation of about two and a mean near half: relu6 cuts at both ends, and no layer dies out.
    Moving averages are drawn around what the first images give, apart from it by up to half.
    """

    def __init__(self, epsilon: float, *, gamma: bool, seed: int = 0) -> None:
        self.epsilon, self.gamma = epsilon, gamma
        self.random = np.random.default_rng(seed)
        self.values: dict[str, np.ndarray] = {}
        self.scopes: list[str] = []
        self.statistics: Norm = "moving"
        self.clipped = 0

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self.scopes.append(name)
        yield
        self.scopes.pop()

    def variable(self, name: str, first: Callable[[], np.ndarray]) -> Tensor:
        name = "/".join((*self.scopes, name))
        if name not in self.values:
            self.values[name] = first().astype("f4", copy=False)
        return torch.from_numpy(self.values[name])

    def kernel(self, name: str, *shape: int, inputs: int, variance: float = 0.05) -> Tensor:
        """``shape`` as TensorFlow has it; out of ``inputs`` numbers comes something small, so that an epsilon tells."""
        size = int(np.prod(shape))
        at = int(self.random.integers(len(DRAWN) - size))
        return self.variable(name, lambda: DRAWN[at : at + size].reshape(shape) * np.float32((variance / inputs) ** 0.5))

    def biases(self, channels: int) -> Tensor:
        return self.variable("biases", lambda: self.random.normal(0, 0.3, channels))[:, None, None]

    def normalised(self, x: Tensor, scope: str = "BatchNorm") -> Tensor:
        channels, (variance, mean) = x.shape[1], torch.var_mean(x, (0, 2, 3), correction=0)
        first_mean, first_variance, apart = mean.numpy(), variance.numpy(), self.random.normal(0, 0.3, channels)
        with self.scope(scope):
            moving_mean = self.variable("moving_mean", lambda: first_mean + apart * np.sqrt(first_variance))
            moving_variance = self.variable("moving_variance", lambda: first_variance * self.random.uniform(0.5, 1.5, channels))
            beta = self.variable("beta", lambda: self.random.normal(0.5, 0.5, channels))
            gamma = self.variable("gamma", lambda: self.random.uniform(1, 3, channels)) if self.gamma else torch.ones(channels)
        if self.statistics == "moving":
            mean, variance = moving_mean, moving_variance
        mean, variance, gamma, beta = (one[:, None, None] for one in (mean, variance, gamma, beta))
        return (x - mean) / torch.sqrt(variance + self.epsilon) * gamma + beta

    def relu6(self, x: Tensor) -> Tensor:
        self.clipped += int((x > 6).sum())
        return x.clamp(0, 6)

    def conv(
        self, x: Tensor, outputs: int, kernel: int, stride: int = 1, *, scope: str, normal: bool = True,
        activation: Callable[[Tensor], Tensor] = torch.relu, valid: bool = False,
    ) -> Tensor:
        with self.scope(scope):
            shape = (kernel, kernel, x.shape[1], outputs)
            weights = self.kernel("weights", *shape, inputs=kernel * kernel * x.shape[1], variance=0.05 if normal else 0.5)
            x = F.conv2d(x if valid else around(x, kernel, stride, 0.0), weights.permute(3, 2, 0, 1), stride=stride)
            return activation(self.normalised(x) if normal else x + self.biases(outputs))

    def conv2d_same(self, x: Tensor, outputs: int, kernel: int, stride: int, **rest: Any) -> Tensor:
        """Of slim's resnet_utils: with a stride it pads alike on both sides, whatever SAME would."""
        if stride == 1:
            return self.conv(x, outputs, kernel, **rest)
        return self.conv(F.pad(x, [kernel // 2] * 4), outputs, kernel, stride, valid=True, **rest)

    def depthwise(self, x: Tensor, kernel: int, stride: int, multiplier: int = 1) -> Tensor:
        """Output channel ``multiplier * i + m`` is filter ``m`` of channel ``i``."""
        inputs = x.shape[1]
        weights = self.kernel("depthwise_weights", kernel, kernel, inputs, multiplier, inputs=kernel * kernel)
        filters = torch.cat([weights[:, :, i].permute(2, 0, 1) for i in range(inputs)])[:, None]
        return F.conv2d(around(x, kernel, stride, 0.0), filters, stride=stride, groups=inputs)

    def separable(self, x: Tensor, outputs: int, kernel: int, stride: int, multiplier: int, scope: str) -> Tensor:
        with self.scope(scope):
            x = self.depthwise(x, kernel, stride, multiplier)
            weights = self.kernel("pointwise_weights", 1, 1, x.shape[1], outputs, inputs=x.shape[1])
            return torch.relu(F.conv2d(x, weights.permute(3, 2, 0, 1)) + self.biases(outputs))

    def logits(self, x: Tensor, classes: int, scope: str) -> Tensor:
        x = x.mean((2, 3), keepdim=True)
        return self.conv(x, classes, 1, scope=scope, normal=False, activation=no_activation)[..., 0, 0]


MOBILENET = ((32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1),
             (512, 1), (1024, 2), (1024, 1))  # fmt: skip
"""Howard et al. 2017, table 1: the outputs of each convolution, and the stride of its 3 x 3 part."""


def mobilenet(s: Slim, x: Tensor, multiplier: float, classes: int) -> Tensor:
    for number, (depth, stride) in enumerate(MOBILENET):
        outputs, name = max(int(depth * multiplier), 8), f"Conv2d_{number}"
        if number == 0:
            x = s.conv(x, outputs, 3, stride, scope=name, activation=s.relu6)
            continue
        with s.scope(f"{name}_depthwise"):
            x = s.relu6(s.normalised(s.depthwise(x, 3, stride)))
        x = s.conv(x, outputs, 1, scope=f"{name}_pointwise", activation=s.relu6)
    return s.logits(x, classes, "Logits/Conv2d_1c_1x1")


INCEPTION_V1 = """
3b 64 96 128 16 32 32
3c 128 128 192 32 96 64
MaxPool_4a_3x3
4b 192 96 208 16 48 64
4c 160 112 224 24 64 64
4d 128 128 256 24 64 64
4e 112 144 288 32 64 64
4f 256 160 320 32 128 128
MaxPool_5a_2x2
5b 256 160 320 32 128 128
5c 384 192 384 48 128 128
"""
"""Szegedy et al. 2015, table 1: 1x1; 3x3 and its reduction; the second 3x3 (there 5x5) and its reduction; pool projection."""

INCEPTION_V2 = """
3b 64 64 64 64 96 avg 32
3c 64 64 96 64 96 avg 64
4a 128 160 64 96
4b 224 64 96 96 128 avg 128
4c 192 96 128 96 128 avg 128
4d 160 128 160 128 160 avg 96
4e 96 128 192 160 192 avg 96
5a 128 192 192 256
5b 352 192 320 160 224 avg 128
5c 352 192 320 192 224 max 128
"""
"""Ioffe and Szegedy 2015, figure 5, with slim's pool projections; four numbers: a block with stride 2 and no 1x1."""


def stem(s: Slim, x: Tensor) -> Tensor:
    x = s.conv(max_pool(x, 3, 2), 64, 1, scope="Conv2d_2b_1x1")
    return max_pool(s.conv(x, 192, 3, scope="Conv2d_2c_3x3"), 3, 2)


def branch(s: Slim, number: int, x: Tensor, *convs: tuple[str, int, int, int]) -> Tensor:
    """Convolutions in a row: name, outputs, kernel, stride."""
    for name, outputs, kernel, stride in convs:
        x = s.conv(x, outputs, kernel, stride, scope=f"Branch_{number}/{name}")
    return x


def inception_v1(s: Slim, x: Tensor, classes: int) -> Tensor:
    x = stem(s, s.conv(x, 64, 7, 2, scope="Conv2d_1a_7x7"))
    for block in INCEPTION_V1.split("\n")[1:-1]:
        name, *numbers = block.split()
        if not numbers:
            x = max_pool(x, int(name[-1]), 2)
            continue
        a, b, c, d, e, f = map(int, numbers)
        second = "Conv2d_0a_3x3" if name == "5b" else "Conv2d_0b_3x3"
        with s.scope(f"Mixed_{name}"):
            x = torch.cat([
                branch(s, 0, x, ("Conv2d_0a_1x1", a, 1, 1)),
                branch(s, 1, x, ("Conv2d_0a_1x1", b, 1, 1), ("Conv2d_0b_3x3", c, 3, 1)),
                branch(s, 2, x, ("Conv2d_0a_1x1", d, 1, 1), (second, e, 3, 1)),
                branch(s, 3, max_pool(x, 3, 1), ("Conv2d_0b_1x1", f, 1, 1)),
            ], 1)  # fmt: skip
    return s.logits(x, classes, "Logits/Conv2d_0c_1x1")


def inception_v2(s: Slim, x: Tensor, classes: int) -> Tensor:
    x = stem(s, s.separable(x, 64, 7, 2, 8, "Conv2d_1a_7x7"))
    for block in INCEPTION_V2.split("\n")[1:-1]:
        name, *numbers = block.split()
        with s.scope(f"Mixed_{name}"):
            x = torch.cat(halving(s, x, *map(int, numbers)) if len(numbers) == 4 else side_by_side(s, x, *numbers), 1)
    return s.logits(x, classes, "Logits/Conv2d_1c_1x1")


def halving(s: Slim, x: Tensor, a: int, b: int, c: int, d: int) -> list[Tensor]:
    return [
        branch(s, 0, x, ("Conv2d_0a_1x1", a, 1, 1), ("Conv2d_1a_3x3", b, 3, 2)),
        branch(s, 1, x, ("Conv2d_0a_1x1", c, 1, 1), ("Conv2d_0b_3x3", d, 3, 1), ("Conv2d_1a_3x3", d, 3, 2)),
        max_pool(x, 3, 2),
    ]


def side_by_side(s: Slim, x: Tensor, *numbers: str) -> list[Tensor]:
    a, b, c, d, e = map(int, numbers[:5])
    pooled = max_pool(x, 3, 1) if numbers[5] == "max" else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return [
        branch(s, 0, x, ("Conv2d_0a_1x1", a, 1, 1)),
        branch(s, 1, x, ("Conv2d_0a_1x1", b, 1, 1), ("Conv2d_0b_3x3", c, 3, 1)),
        branch(s, 2, x, ("Conv2d_0a_1x1", d, 1, 1), ("Conv2d_0b_3x3", e, 3, 1), ("Conv2d_0c_3x3", e, 3, 1)),
        branch(s, 3, pooled, ("Conv2d_0b_1x1", int(numbers[6]), 1, 1)),
    ]


UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""He et al. 2015, table 1: the units of each block."""


def resnet(s: Slim, x: Tensor, version: int, layers: int, classes: int) -> Tensor:
    first = {} if version == 1 else {"normal": False, "activation": no_activation}
    x = max_pool(s.conv2d_same(x, 64, 7, 2, scope="conv1", **first), 3, 2)
    unit = bottleneck_v1 if version == 1 else bottleneck_v2
    for block, units in enumerate(UNITS[layers], 1):
        for number in range(1, units + 1):
            stride = 2 if number == units and block < 4 else 1
            with s.scope(f"block{block}/unit_{number}/bottleneck_v{version}"):
                x = unit(s, x, 32 << block, stride)
    return s.logits(torch.relu(s.normalised(x, "postnorm")) if version == 2 else x, classes, "logits")


def bottleneck_v1(s: Slim, x: Tensor, width: int, stride: int) -> Tensor:
    if x.shape[1] == 4 * width:
        shortcut = max_pool(x, 1, stride)
    else:
        shortcut = s.conv(x, 4 * width, 1, stride, scope="shortcut", activation=no_activation)
    x = s.conv2d_same(s.conv(x, width, 1, scope="conv1"), width, 3, stride, scope="conv2")
    return torch.relu(shortcut + s.conv(x, 4 * width, 1, scope="conv3", activation=no_activation))


def bottleneck_v2(s: Slim, x: Tensor, width: int, stride: int) -> Tensor:
    plain = {"normal": False, "activation": no_activation}
    before = torch.relu(s.normalised(x, "preact"))
    if x.shape[1] == 4 * width:
        shortcut = max_pool(x, 1, stride)
    else:
        shortcut = s.conv(before, 4 * width, 1, stride, scope="shortcut", **plain)
    x = s.conv2d_same(s.conv(before, width, 1, scope="conv1"), width, 3, stride, scope="conv2")
    return shortcut + s.conv(x, 4 * width, 1, scope="conv3", **plain)


def signed(pixels: Tensor) -> Tensor:
    return pixels / 127.5 - 1


def less_mean(pixels: Tensor) -> Tensor:
    """ImageNet's mean red, green and blue."""
    return pixels - torch.tensor([123.68, 116.78, 103.94])[:, None, None]


class Published:
    """A network as its checkpoint has it: ``scope``, and logits of pixels (B, 3, H, W) in 0 ... 255."""

    def __init__(
        self, scope: str, epsilon: float, network: Callable[..., Tensor], *, gamma: bool = True,
        reads: Callable[[Tensor], Tensor] = signed,
    ) -> None:
        self.scope, self.network, self.reads = scope, network, reads
        self.slim = Slim(epsilon, gamma=gamma)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Every variable by its name, once :meth:`logits` has been asked for."""
        return self.slim.values

    @torch.no_grad()
    def logits(self, pixels: Tensor, classes: int, statistics: Norm = "moving") -> Tensor:
        self.slim.statistics = statistics
        with self.slim.scope(self.scope):
            return self.network(self.slim, self.reads(pixels), classes=classes)


def _mobilenet(scope: str, multiplier: float, reads: Callable[[Tensor], Tensor] = signed) -> Published:
    return Published(scope, 1e-3, partial(mobilenet, multiplier=multiplier), reads=reads)


def _resnet(version: int, layers: int) -> Published:
    network = partial(resnet, version=version, layers=layers)
    return Published(f"resnet_v{version}_{layers}", 1e-5, network, reads=less_mean if version == 1 else signed)


ATTACKERS: dict[str, Callable[[], Published]] = {
    "inception_v1": lambda: Published("InceptionV1", 1e-3, inception_v1, gamma=False),
    "inception_v2": lambda: Published("InceptionV2", 1e-3, inception_v2, gamma=False),
    **{f"resnet_v{version}_{layers}": partial(_resnet, version, layers) for version in (1, 2) for layers in (50, 101)},
    **{f"mobilenet_v1_{width:g}": partial(_mobilenet, "MobilenetV1", width) for width in (1, 0.75, 0.5, 0.25)},
}
"""The ten attackers, by the role that the import of each has."""


def budget_model() -> Published:
    """The seed work's first on SBU, which reads 0 to 1."""
    return _mobilenet("BudgetModule_0_0.6", 0.6, lambda pixels: pixels / 255)
