"""torchvision's own networks, whose published weights (ImageNet, Kinetics-400) fit them and not TensorFlow's variants.

torchvision's ResNets put a block's stride in its first unit, slim's in the last: weights of one are no start for the other.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from privadv.models.frame import FrameNetwork, PerFrame

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Colours = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF: Colours = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
KINETICS: Colours = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
Name = Literal[
    "resnet18", "resnet50", "resnet101", "googlenet", "mobilenet_v2", "mobilenet_v3_small", "densenet121",
    "vgg11_bn", "efficientnet_b0", "r2plus1d_18", "r3d_18",
]  # fmt: skip
KNOWN: dict[Name, tuple[str, str]] = {
    "resnet18": ("resnet", "fc"),
    "resnet50": ("resnet", "fc"),
    "resnet101": ("resnet", "fc"),
    "googlenet": ("inception", "fc"),
    "mobilenet_v2": ("mobilenet", "classifier.1"),
    "mobilenet_v3_small": ("mobilenet", "classifier.3"),
    "densenet121": ("densenet", "classifier"),
    "vgg11_bn": ("vgg", "classifier.6"),
    "efficientnet_b0": ("efficientnet", "classifier.1"),
    "r2plus1d_18": ("r2plus1d", "fc"),
    "r3d_18": ("r3d", "fc"),
}
"""Family and last layer."""

VIDEO = ("r2plus1d_18", "r3d_18")


class Torchvision(FrameNetwork):
    """A network of torchvision by ``name``; image networks look at every frame (``glimpse``), video networks at the clip."""

    kind: Literal["torchvision"] = "torchvision"
    name: Name

    @property
    def family(self) -> str:
        return KNOWN[self.name][0]

    @property
    def published(self) -> str:
        """Under which role its published weights lie among the named ones."""
        return self.name

    @property
    def head(self) -> tuple[str, ...]:
        """The last layer, which another task's weights do not fill."""
        return KNOWN[self.name][1:]

    def build(self, classes: int) -> nn.Module:
        if self.name in VIDEO:
            return Normalised(self._plain(classes), KINETICS)
        return PerFrame(self.image_network(classes), self.glimpse)

    def image_network(self, classes: int) -> nn.Module:
        # With its published weights torchvision's GoogLeNet reads -1 to 1.
        return Normalised(self._plain(classes), HALF if self.name == "googlenet" else IMAGENET)

    def _plain(self, classes: int) -> nn.Module:
        # Two seconds of a stage's start, for those who build such a network.
        from torchvision.models import get_model

        extra = {"aux_logits": False, "init_weights": False} if self.name == "googlenet" else {}
        return get_model(self.name, weights=None, num_classes=classes, **extra)


class Normalised(nn.Module):
    """``network`` on (B, 3, ...) in [-1, 1], brought to the mean and deviation that its published weights were trained with."""

    def __init__(self, network: nn.Module, colours: Colours) -> None:
        super().__init__()
        self.network, self.colours = network, colours

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = (x.new_tensor(values).view(1, 3, *[1] * (x.ndim - 2)) for values in self.colours)
        return self.network(((x + 1) / 2 - mean) / deviation)
