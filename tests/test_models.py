"""Every network, forward and backward, and the treatments against arithmetic by hand."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from privadv.errors import PrivadvError
from privadv.models.checkpoint import load_weights, save_weights
from privadv.models.clip import C3D, R2Plus1D
from privadv.models.degradation import TransformNet
from privadv.models.frame import DenseNet, Inception, MobileNet, PerFrame, ResNet, Vgg, _Pointwise
from privadv.models.library import IMAGENET, KNOWN, Name, Normalised, Torchvision
from privadv.models.reader import (
    TREATMENTS,
    Adaptive,
    Average,
    Local,
    Network,
    Own,
    ReaderSpec,
    Standardised,
    Temporal,
    Treatment,
    pixel_statistics,
)
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.inception import TfInception
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.resnet import TfResNet

SMALL: dict[type, Any] = {
    MobileNet: MobileNet(width=0.25, depth=1),
    Vgg: Vgg(width=4),
    ResNet: ResNet(width=4),
    Inception: Inception(width=8),
    DenseNet: DenseNet(growth=4, layers=1),
    R2Plus1D: R2Plus1D(width=4),
    C3D: C3D(width=4, dense=16, size=(8, 32, 32)),
    TfMobileNet: TfMobileNet(width=0.25),
    TfInception: TfInception(version=2),
    TfResNet: TfResNet(version=2),
    TfC3D: TfC3D(width=4, dense=16, size=(8, 32, 32)),
    Torchvision: Torchvision(name="mobilenet_v3_small"),
}
LISTED = typing.get_args(typing.get_args(Network)[0])
SEEDS_TEN = [
    *(TfInception(version=version) for version in (1, 2)),
    *(TfMobileNet(width=width) for width in (1.0, 0.75, 0.5, 0.25)),
    *(TfResNet(version=version, layers=layers) for version in (1, 2) for layers in (50, 101)),
]


@pytest.mark.parametrize("kind", LISTED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("treatment", typing.get_args(Treatment))
def test_every_reader_goes_forward_backward_and_to_disk(kind: type, treatment: str) -> None:
    if kind in (TfInception, TfResNet, Torchvision) and treatment not in ("plain", "adaptive"):
        return  # large, and one treatment before them is like another
    spec = ReaderSpec(network=SMALL[kind], input=treatment)  # pyright: ignore[reportArgumentType]
    reader, clips = spec.build(5), torch.rand(2, 3, 8, 32, 32)
    if isinstance(reader.treatment, Adaptive):
        reader.treatment.adapt(*pixel_statistics(np.full((2, 8, 32, 32, 3), 100, np.uint8)))
    logits = reader(clips)
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in reader.parameters())
    again = ReaderSpec.parse(spec.canonical(), "test").build(5)
    load_weights(again, save_weights(reader), "test")
    assert torch.equal(again.eval()(clips), reader.eval()(clips))


def test_weights_of_another_network_are_refused_by_name() -> None:
    weights = save_weights(ReaderSpec(network=ResNet(width=4)).build(5))
    with pytest.raises(PrivadvError, match=r"here\.safetensors: not the weights"):
        load_weights(ReaderSpec(network=Vgg(width=4)).build(5), weights, "here.safetensors")
    with pytest.raises(PrivadvError, match="not the weights"):
        load_weights(TransformNet(width=4).build(), b"a pickle, perhaps", "here")


def test_a_family_is_an_architecture_whatever_its_width() -> None:
    assert MobileNet(width=0.25).family == MobileNet(width=1.0, norm="group").family
    own = typing.get_args(Own)
    assert len({kind.family for kind in own}) == len(own)


def test_a_family_is_an_architecture_whatever_its_framework() -> None:
    def family(network: Any) -> str:
        return ReaderSpec(network=network).family

    assert family(TfMobileNet()) == family(Torchvision(name="mobilenet_v2")) == family(MobileNet())
    assert {family(TfResNet(layers=101)), family(Torchvision(name="resnet50"))} == {family(ResNet())}
    assert family(TfInception()) == family(Torchvision(name="googlenet")) == family(Inception())
    assert family(TfC3D()) == family(C3D())
    assert family(Torchvision(name="r2plus1d_18")) == family(R2Plus1D())
    assert set(KNOWN) == set(typing.get_args(Name))


def test_published_networks_are_told_apart_by_the_name_they_are_known_by() -> None:
    labels = [ReaderSpec(network=network).label for network in SEEDS_TEN]
    assert labels == [
        *("inception_v1", "inception_v2"),
        *("mobilenet_v1_1", "mobilenet_v1_0.75", "mobilenet_v1_0.5", "mobilenet_v1_0.25"),
        *("resnet_v1_50", "resnet_v1_101", "resnet_v2_50", "resnet_v2_101"),
    ]
    assert ReaderSpec(network=ResNet()).label == "resnet"


@pytest.mark.parametrize("name", [name for name in typing.get_args(Name) if name != "resnet101"])
def test_library_networks_end_in_the_layer_that_is_told(name: Any) -> None:
    network, spec = Torchvision(name=name).build(7), Torchvision(name=name)
    heads = [m for n, m in network.named_modules() if n.endswith(f".{spec.head[0]}")]
    assert [m.out_features for m in heads if isinstance(m, torch.nn.Linear)] == [7]


def test_library_networks_see_the_colours_they_were_trained_with() -> None:
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    black, white = Normalised(torch.nn.Identity(), IMAGENET)(x)[:, :, 0, 0]
    assert black.tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    assert white.tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])


def test_per_frame_averages_the_logits_of_the_frames() -> None:
    network = ResNet(width=4).build(3).eval()
    assert isinstance(network, PerFrame)
    clips = torch.rand(2, 3, 4, 16, 16)
    by_hand = torch.stack([network.network(clips[:, :, t]) for t in range(4)]).mean(0)
    assert torch.allclose(network(clips), by_hand, atol=1e-6)


@pytest.mark.parametrize("inputs", [3, 4, 5, 12])
def test_a_shortcut_is_a_strided_convolution_and_so_are_its_gradients(inputs: int) -> None:
    shortcut = _Pointwise(inputs, 8, 2)
    clips = torch.rand(16, inputs, 15, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = clips.detach().double().requires_grad_()
    kernel = shortcut.weight.detach().double().requires_grad_()
    wanted = torch.nn.functional.conv2d(exact, kernel, stride=2)
    found = shortcut(clips)
    found.square().sum().backward()
    wanted.square().sum().backward()
    for mine, its in ((found, wanted), (clips.grad, exact.grad), (shortcut.weight.grad, kernel.grad)):
        assert mine is not None and its is not None
        assert torch.allclose(mine.double(), its, rtol=1e-4, atol=1e-4)


def test_standardised_clips_have_mean_0_and_deviation_near_1() -> None:
    clips = torch.rand(3, 3, 4, 16, 16) * torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1, 1, 1)
    treated = Standardised()(clips)
    assert treated.mean((2, 3, 4)).abs().max() < 1e-5
    assert torch.allclose(
        treated.std((2, 3, 4)), clips.std((2, 3, 4)) / (clips.std((2, 3, 4)) + 0.02), atol=1e-3
    )
    assert torch.isfinite(Standardised()(torch.full((1, 3, 2, 8, 8), 0.5))).all()


def test_pixel_statistics_match_numpy_over_many_blocks() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (150, 2, 5, 6, 3), np.uint8)
    mean, deviation = pixel_statistics(frames)
    flat = frames.reshape(300, 5, 6, 3) / 255
    assert np.allclose(mean[:, 0].permute(1, 2, 0), flat.mean(0), atol=1e-6)
    assert np.allclose(deviation[:, 0].permute(1, 2, 0), flat.std(0), atol=1e-6)


def test_adaptive_treatment_removes_a_fixed_pattern() -> None:
    rng = np.random.default_rng(0)
    pattern = rng.integers(0, 100, (8, 8, 3))
    frames = (pattern + rng.integers(0, 20, (40, 2, 8, 8, 3))).astype(np.uint8)
    treatment = Adaptive()
    treatment.adapt(*pixel_statistics(frames))
    treated = treatment(torch.from_numpy(frames / 255).permute(0, 4, 1, 2, 3).float())
    assert treated.mean((0, 2)).abs().max() < 1e-3


def test_temporal_treatment_keeps_only_what_changes() -> None:
    still = torch.rand(1, 3, 1, 8, 8).expand(1, 3, 4, 8, 8)
    assert Temporal()(still).abs().max() < 1e-4
    code = torch.tensor([1.0, -1.0, -1.0, 1.0]).view(1, 1, 4, 1, 1)
    flickering = Temporal()(still + 2 / 255 * code)
    assert torch.allclose(flickering, (flickering * code).mean() * code.expand_as(flickering), atol=1e-3)
    assert (flickering * code).mean() > 0.5


def test_average_treatment_reads_a_still_picture_through_noise_that_is_drawn_for_every_frame() -> None:
    picture = torch.rand(2, 3, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    noise = 0.5 * torch.randn(2, 3, 64, 12, 12, generator=torch.Generator().manual_seed(2))
    averaged = Average()(0.2 * picture + noise)
    assert averaged.shape == picture.shape
    assert torch.allclose(averaged.mean((2, 3, 4)), torch.zeros(2, 3), atol=1e-6)
    wanted, one = Standardised()(picture), Standardised()(0.2 * picture + noise[:, :, :1])
    assert (averaged * wanted).mean() > 0.6 > 0.3 > (one * wanted).mean()


def test_local_treatment_keeps_only_fine_detail() -> None:
    smooth = torch.linspace(0, 1, 24).view(1, 1, 1, 1, 24).expand(1, 3, 2, 24, 24)
    assert Local()(smooth)[..., 4:-4].abs().max() < 0.05
    board = (torch.arange(24).view(-1, 1) + torch.arange(24)) % 2 * 2.0 - 1
    detail = Local()(smooth * 0.1 + 2 / 255 * board)[..., 4:-4, 4:-4]
    assert (detail * board[4:-4, 4:-4]).mean() > 0.5


def test_local_treatment_takes_means_and_deviations_as_numpy_does() -> None:
    """At the edges of what lies in the picture alone; frames, channels and clips do not mix."""
    clips = torch.rand(2, 3, 2, 9, 10, dtype=torch.float64)
    detail = np.empty(clips.shape)
    for y in range(9):
        for x in range(10):
            window = clips.numpy()[..., max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
            detail[..., y, x] = clips.numpy()[..., y, x] - window.mean((-2, -1))
    wanted = detail / (detail.std((2, 3, 4), keepdims=True) + 1 / 255)
    assert np.allclose(Local()(clips), wanted, atol=1e-12)


@pytest.mark.parametrize("treatment", TREATMENTS.values())
def test_what_does_not_vary_has_a_gradient_that_is_a_number(treatment: Callable[[], torch.nn.Module]) -> None:
    """A filter may release nothing at all, and must get out of there."""
    clips = torch.full((2, 3, 4, 8, 8), 0.5, requires_grad=True)
    treatment()(clips).sum().backward()
    assert clips.grad is not None and torch.isfinite(clips.grad).all()


def test_c3d_has_the_paper_s_sizes() -> None:
    network = C3D().build(8)
    dense = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert [d.in_features for d in dense] == [512 * 1 * 4 * 4, 4096, 4096]
