"""Models at rest: a specification that rebuilds the network, and its weights as safetensors in the store."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.models.degradation import Degradation, TransformNet
from privadv.models.reader import Adaptive, Reader, ReaderSpec
from privadv.models.tensorflow.transform_net import TfTransformNet
from privadv.store import Blob, Store


def _kind(spec: Any) -> str:
    return spec.get("kind", "transform") if isinstance(spec, dict) else getattr(spec, "kind", "transform")


FilterSpec = Annotated[
    Annotated[TransformNet, pydantic.Tag("transform")] | Annotated[TfTransformNet, pydantic.Tag("tf_transform")],
    pydantic.Discriminator(_kind),
]
"""Rebuilds a degradation model; one that does not say its kind is our own."""


class FilterRef(Section):
    """A stored degradation model."""

    kind: Literal["filter"] = "filter"
    spec: FilterSpec
    weights: Blob

    def open(self, store: Store) -> Degradation:
        """The model, rebuilt; raises PrivadvError where the weights are not those of ``spec``."""
        return self.rebuild(store.get(self.weights), self.weights.key)

    def rebuild(self, weights: bytes, where: str) -> Degradation:
        """The model with given weights; ``where`` names them in the error."""
        model = self.spec.build()
        load_weights(model, weights, where)
        return model


class Measured(Section):
    """On which clips a filter was measured, and with what result.

    A frame was scaled to ``resize`` and its centre cropped to ``crop``, both (height, width) in pixels; a clip had ``frames``
    of them, typically ``step`` frames apart in its video, which showed ``fps`` a second (None: nobody knows). ``lower_bound``:
    fewer than four attackers were evidence of privacy. ``counts``: whether the leakage counts as such all the same.
    """

    dataset: str
    synthetic: bool
    resize: tuple[int, int]
    crop: tuple[int, int]
    frames: int
    step: int = pydantic.Field(default=1, ge=1)
    fps: float | None = pydantic.Field(default=None, gt=0)
    A_T: float
    A_B_max: float
    lower_bound: bool = True
    counts: bool

    def lag(self, rate: float) -> int:
        """How many frames of a video of ``rate`` a second lie between two that the filter compared: as much time, rounded."""
        return max(1, round(self.step * rate / (self.fps or rate)))


class ShippedFilter(FilterRef):
    """A filter on its way out of the store: filter.json, beside filter.safetensors."""

    measured: Measured | None = None


class ReaderRef(Section):
    """A stored target, budget model or attacker with ``classes`` outputs."""

    kind: Literal["reader"] = "reader"
    spec: ReaderSpec
    classes: int
    weights: Blob

    def open(self, store: Store) -> Reader:
        """The model, rebuilt; raises PrivadvError where the weights are not those of ``spec``."""
        return self.rebuild(store.get(self.weights), self.weights.key)

    def rebuild(self, weights: bytes, where: str) -> Reader:
        """The model with given weights; ``where`` names them in the error."""
        model = self.spec.build(self.classes)
        load_weights(model, weights, where)
        return model


T = TypeVar("T", FilterRef, ReaderRef)
ModelRef = Annotated[FilterRef | ReaderRef, pydantic.Field(discriminator="kind")]


class Trained(Section):
    """What a training stage leaves: its models by role, final metrics, curves, and how long it took.

    Roles: ``degradation``, ``target``, ``budget_0`` ... ``budget_{K-1}``. ``curves`` holds JSON {series: [[step, value], ...]}.
    """

    kind: Literal["trained"] = "trained"
    stage: str
    seed: int
    models: dict[str, ModelRef]
    metrics: dict[str, float]
    curves: Blob
    seconds: float
    lineage: dict[str, str] = {}

    def digest(self) -> str:
        """sha256 (hex) of everything but how long it took."""
        return Section.digest(self.model_copy(update={"seconds": 0.0}))

    @property
    def degradation(self) -> FilterRef:
        """The stage's filter."""
        return self._role("degradation", FilterRef)

    @property
    def target(self) -> ReaderRef:
        """The stage's target model."""
        return self._role("target", ReaderRef)

    @property
    def budget(self) -> list[ReaderRef]:
        """The stage's budget models, in order."""
        count = sum(role.startswith("budget_") for role in self.models)
        return [self._role(f"budget_{k}", ReaderRef) for k in range(count)]

    def first(self, count: int | None) -> Self:
        """With the first ``count`` budget models alone; None: with all of them."""
        kept = {f"budget_{k}" for k in range(len(self.budget) if count is None else count)}
        models = {role: ref for role, ref in self.models.items() if role in kept or not role.startswith("budget_")}
        return self.model_copy(update={"models": models})

    def _role(self, role: str, kind: type[T]) -> T:
        ref = self.models.get(role)
        if not isinstance(ref, kind):
            raise PrivadvError(
                f"the manifest of {self.stage} holds no model '{role}': give the manifest of another stage"
            )
        return ref


def save_weights(model: nn.Module) -> bytes:
    """A model's parameters and buffers as safetensors."""
    return save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def load_tensors(weights: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises PrivadvError where it is none."""
    try:
        return load(weights)
    except (SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PrivadvError(f"{where}: no safetensors file ({reason}): convert it, or get it again") from None


def load_weights(model: nn.Module, weights: bytes, where: str) -> None:
    """Take weights that :func:`save_weights` gave.

    Raises:
        PrivadvError: they are no safetensors, or belong to another network; ``where`` names them.
    """
    try:
        tensors = load(weights)
        if isinstance(model, Reader) and isinstance(model.treatment, Adaptive):
            model.treatment.adapt(*(_statistics(tensors[f"treatment.{name}"]) for name in ("mean", "deviation")))
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PrivadvError(
            f"{where}: not the weights of this network ({reason}): use the checkpoint's own manifest"
        ) from None


def _statistics(image: Tensor) -> Tensor:
    """A mean or deviation of pixels, whose height and width are the clips'."""
    if image.ndim != 4 or image.shape[:2] != (3, 1):
        raise ValueError(f"statistics of shape {tuple(image.shape)} are none of pixels")
    return image
