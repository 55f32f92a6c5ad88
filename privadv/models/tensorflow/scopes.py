"""What the variables of old checkpoints belong to: scopes by name, networks by shape, values in torch's layouts."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import torch
from torch import Tensor, nn

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.models.degradation import Release
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.inception import TfInception
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.resnet import TfResNet
from privadv.models.tensorflow.same import Range, Statistics
from privadv.models.tensorflow.transform_net import TfTransformNet

Spec = TfTransformNet | TfC3D | TfMobileNet | TfInception | TfResNet
# What training leaves in a checkpoint beside the network. `Variable` is an accumulator of gradients in the seed's code.
DROPPED = re.compile(
    r"(?:^|/)(Adam|RMSProp|Momentum|Adagrad|Ftrl|ExponentialMovingAverage|beta[12]_power|Variable|global_step|mean_rgb)"
    r"(?:_\d+)?$"
)
HEAD = re.compile(r"^(?:Logits/(?:logits|Conv2d_0c_1x1|Conv2d_1c_1x1)|logits)/")


class Options(Section):
    """What the caller decides. Patterns as in a shell; ``clip`` is (T, H, W) of C3D's clips.

    Of the filter: ``white`` is the value that it read as white, ``gray`` whether the mean over its channels was what the others
    saw, if not as its scope tells.
    """

    allow_unknown: tuple[str, ...] = ()
    allow_missing: tuple[str, ...] = ()
    clip: tuple[int, int, int] = (16, 112, 112)
    reads: Range | None = None
    statistics: Statistics | None = None
    white: float = pydantic.Field(default=255.0, gt=0)
    gray: bool | None = None


@dataclass
class Found:
    """The variables of one scope, by their names below it."""

    scope: str
    source: Path
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.values:
            raise PrivadvError(
                f"{self.source}: {self.scope}/{name} is missing: without it the network's shape is open"
            )
        return self.values[name].shape


def slot(name: str) -> str | None:
    """What kind of by-product of training a variable is, None for a network's own."""
    match = DROPPED.search(name)
    return match[1] if match else None


def is_scope(scope: str) -> bool:
    """Whether a network lies under this name."""
    return any(re.fullmatch(pattern, scope) for pattern, _ in SCOPES)


def local_name(name: str) -> str:
    """A variable's name below its scope, the last layer called ``logits`` whatever it is called there."""
    return HEAD.sub("logits/", name)


def recognise(found: Found, beside: Collection[str], options: Options) -> tuple[str, Spec]:
    """The role and the specification that a scope's name, the shapes in it and the scopes ``beside`` it tell."""
    for pattern, make in SCOPES:
        match = re.fullmatch(pattern, found.scope)
        if match:
            role, spec = make(match, found, options)
            wanted = _company(make, beside)
            wanted |= {"reads": options.reads} if options.reads else {}
            wanted |= {"statistics": options.statistics} if options.statistics else {}
            chosen = {key: value for key, value in wanted.items() if key in type(spec).model_fields}
            return role, spec.model_copy(update=chosen)
    raise PrivadvError(f"{found.source}: scope '{found.scope}' is not known")


def _company(make: object, beside: Collection[str]) -> dict[str, str]:
    """How slim's networks were used by the seed work, as told by the filter and the target they were saved with."""
    if make not in (_mobilenet, _inception, _resnet):
        return {}
    reads = (
        {"reads": "unit"} if "DegradationModule" in beside else {"reads": "bytes"} if "fd" in beside else {}
    )
    # Only the game on HMDB51 and VISPR saves them with its target; it never updated their moving averages.
    return reads | ({"statistics": "batch"} if "fT" in beside else {})


def _transform(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    # The code on HMDB51 and VISPR, which calls it fd, never averages its channels; that on SBU always does.
    gray = match[0] != "fd" if options.gray is None else options.gray
    width = found.shape("conv1")[-1]
    return "degradation", TfTransformNet(width=width, white=options.white, release=Release(gray=gray))


def _c3d(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    features, dense = found.shape("wd1")
    reads: Range = "bytes" if match[0] == "fT" else "unit"
    spec = TfC3D(width=found.shape("wc1")[-1], dense=dense, size=options.clip, reads=reads)
    if spec.features != features:
        raise PrivadvError(
            f"{found.source}: {found.scope}/wd1 reads {features} numbers, clips of {options.clip} give {spec.features}: "
            "give --clip FRAMES HEIGHT WIDTH"
        )
    return ("sports1m" if match[0] == "var_name" else "target"), spec


def _budget(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    role = f"budget_{match['number']}" if match["number"] else "budget"
    reads: Range = "bytes" if match[0].startswith("fb_") else "unit"
    width = round(float(match["width"]), 4)  # 0.60 - 2 * 0.02 is 0.5599999999999999 there
    return role, TfMobileNet(width=width, decay=0.999, statistics="batch", reads=reads)


def width(scope: str) -> float:
    """Of a budget model's scope without a number, as ensembles have them; infinite for all others."""
    match = re.fullmatch(ENSEMBLE, scope)
    return float(match["width"]) if match else float("inf")


def _mobilenet(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    width = float(match["width"]) if match["width"] else found.shape("Conv2d_0/weights")[-1] / 32
    return f"mobilenet_v1_{width:g}", TfMobileNet(width=width)


def _inception(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    version: Literal[1, 2] = 1 if match["version"] == "1" else 2
    return f"inception_v{version}", TfInception(version=version)


def _resnet(match: re.Match[str], found: Found, options: Options) -> tuple[str, Spec]:
    version: Literal[1, 2] = 1 if match["version"] == "1" else 2
    layers: Literal[50, 101] = 50 if match["layers"] == "50" else 101
    reads: Range = "bytes_less_mean" if version == 1 else "signed"
    return match[0], TfResNet(version=version, layers=layers, reads=reads)


ENSEMBLE = r"(BudgetModule|fb)_(?P<number>)(?P<width>\d+\.\d+)"
SCOPES = (
    (r"DegradationModule|fd", _transform),
    (r"UtilityModule|fT|var_name", _c3d),
    (r"BudgetModule_(?P<number>\d+)_(?P<width>\d+(\.\d+)?)", _budget),
    (ENSEMBLE, _budget),
    (r"MobilenetV1(_(?P<width>\d+\.\d+))?", _mobilenet),
    (r"InceptionV(?P<version>[12])", _inception),
    (r"resnet_v(?P<version>[12])_(?P<layers>50|101)", _resnet),
)


def fill(found: Found, spec: Spec) -> tuple[nn.Module, list[str], list[str]]:
    """The network with the values in it, the variables it misses and those it has no place for (full names).

    Raises:
        PrivadvError: a variable's shape is another than the network's.
    """
    network = build(spec, classes_of(found, spec))
    state, missing = network.state_dict(), []
    names = {name.replace(".", "/"): name for name in state}
    for variable, name in names.items():
        value = found.values.get(variable)
        if value is None:
            missing.append(f"{found.scope}/{variable}")
            continue
        state[name] = _torch_layout(value, state[name], f"{found.source}: {found.scope}/{variable}")
    network.load_state_dict(state)
    unknown = [f"{found.scope}/{variable}" for variable in found.values if variable not in names]
    if getattr(spec, "statistics", "") == "batch":
        missing = [name for name in missing if not name.endswith(("moving_mean", "moving_variance"))]
    return network, missing, unknown


def _torch_layout(value: np.ndarray, like: Tensor, where: str) -> Tensor:
    """TensorFlow's [spatial..., in, out] as (out, in, spatial...); a depthwise [h, w, in, multiplier] as (in * m, 1, h, w)."""
    given = value.shape
    if value.ndim > 1:
        value = np.moveaxis(value, (-1, -2), (0, 1))
        if like.ndim == 4 and where.endswith("depthwise_weights"):
            value = value.swapaxes(0, 1).reshape(-1, 1, *value.shape[2:])
    if value.shape != tuple(like.shape):
        raise PrivadvError(
            f"{where} has shape {list(given)}, which does not fit: the network has {list(like.shape)}"
        )
    if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all():
        raise PrivadvError(f"{where} holds values that are no finite floats: the checkpoint cannot be used")
    return torch.from_numpy(np.array(value, np.float32, order="C"))


def build(spec: Spec, classes: int) -> nn.Module:
    if isinstance(spec, TfTransformNet):
        return spec.build()
    return spec.build(classes) if isinstance(spec, TfC3D) else spec.image_network(classes)


def classes_of(found: Found, spec: Spec) -> int:
    if isinstance(spec, TfTransformNet):
        return 0
    return found.shape("wout" if isinstance(spec, TfC3D) else "logits/weights")[-1]
