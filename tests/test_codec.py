"""What a codec makes of clips whose frames carry their own number, and rows of the filter: coded, smoothed, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
import torch

from privadv.camera.deployed import Deployed
from privadv.camera.graph import Graph, trace
from privadv.camera.step import Needs
from privadv.checkpoints import Checkpoints
from privadv.data.feeds import open_split
from privadv.data.manifest import SPLITS, Clip, ClipSet, Geometry, Task
from privadv.data.shards import write_shards
from privadv.data.video.codec import FPS, Codec
from privadv.errors import PrivadvError
from privadv.evaluation.flicker import flicker
from privadv.evaluation.variants import variant
from privadv.models.checkpoint import Trained
from privadv.models.degradation import Degradation, Release, TransformNet
from privadv.stages import render
from privadv.stages.stage import StageContext
from privadv.stages.workbench import filtered_batches, put_filter
from privadv.store import Blob, Store

FRAMES = 9


def numbered(height: int, width: int, gray: bool = False) -> np.ndarray:
    """Frame t is a smooth ramp that is brighter by 20 t; red falls where green rises, unless it is ``gray``."""
    ramp = np.linspace(0, 60, width)[None, :, None].repeat(height, 0).repeat(3, 2)
    if not gray:
        ramp[..., 0] = ramp[:, ::-1, 0]
    return np.stack([ramp + 20 * t for t in range(FRAMES)]).astype(np.uint8)


@pytest.mark.parametrize("text", ["h264:23", "h264:35", "mjpeg:5"])
@pytest.mark.parametrize("size", [(48, 48), (45, 31), (24, 20)], ids=str)
def test_every_frame_comes_back_in_its_place_and_size(text: str, size: tuple[int, int]) -> None:
    clip = numbered(*size)
    back, stored = Codec.parse(text).round_trip(clip)
    assert back.shape == clip.shape and back.dtype == np.uint8 and stored > 0
    off = np.abs(back[:, None].astype(int) - clip[None]).mean((2, 3, 4))
    assert (off.argmin(1) == np.arange(FRAMES)).all() and off.diagonal().max() < 6
    assert off.diagonal().min() > 0
    again, same = Codec.parse(text).round_trip(clip)
    assert np.array_equal(again, back) and same == stored


@pytest.mark.parametrize("text", ["h264:23", "mjpeg:5"])
def test_gray_stays_gray_and_as_bright_as_it_was(text: str) -> None:
    clip = numbered(48, 48, gray=True)
    for frames in (clip, clip[:1]):
        back, _ = Codec.parse(text).round_trip(frames)
        assert len(back) == len(frames) and np.ptp(back, axis=-1).max() == 0
        assert abs(back.mean() - frames.mean()) < 0.7


def test_a_coarser_quality_stores_less_and_is_further_off() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 48, 48, 1), np.uint8).repeat(3, 3)
    for fine, coarse in (("h264:23", "h264:35"), ("mjpeg:3", "mjpeg:20")):
        (near, much), (far, little) = (Codec.parse(text).round_trip(noise) for text in (fine, coarse))
        errors = [np.abs(back.astype(int) - noise).mean() for back in (near, far)]
        assert little < 0.8 * much and errors[0] < errors[1]


def test_as_a_file_that_another_decoder_reads(tmp_path: Path) -> None:
    """The same encoder into an mp4, decoded by PyAV's own loop; its packets are those that were counted."""
    clip, codec = numbered(48, 48), Codec.parse("h264:30")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options=codec._options())
        stream.height, stream.width, stream.pix_fmt = 48, 48, "yuvj420p"
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    back, _ = codec.round_trip(clip)
    assert read.shape == back.shape and np.abs(read.astype(int) - back).mean() < 1.5


@pytest.mark.parametrize("row", [
    "filter:", "filter:h264", "filter:h264:0", "filter:h264:x", "filter:h264:52", "filter:mjpeg:1", "filter:mjpeg:5.5",
    "filter:h265:23", "filter:smooth", "filter:smooth:1", "filter:smooth:-0.5", "filter:smooth:nan", "filter:gray",
    "filter:int4", "filter:int8:2",
])  # fmt: skip
def test_no_such_form_of_the_filter_is_one_line(row: str) -> None:
    with pytest.raises(PrivadvError, match="is no row") as caught:
        variant(row)
    assert "\n" not in str(caught.value)


class Silent:
    def __getattr__(self, name: str) -> Silent:
        return self

    def __call__(self, *arguments: object, **named: object) -> Silent:
        return self


GEOMETRY = Geometry(frames=4, height=24, width=20)


@pytest.fixture
def clips(store: Store) -> ClipSet:
    """Five clips a split: noise that stands still, below a bright block that moves."""
    rng, splits = np.random.default_rng(1), {}
    for split in SPLITS:
        made = []
        for number in range(5):
            frames = rng.integers(40, 200, (1, 24, 20, 3), np.uint8).repeat(4, 0)
            for t in range(4):
                frames[t, :8, 4 * t : 4 * t + 6] = 250
            made.append(Clip(f"{split}-{number}", frames, number % 2, number % 3, f"{split}{number}.mp4", (0, 2, 4, 6)))
        splits[split] = write_shards(store, iter(made), "raw", 1 << 20)
    return ClipSet(dataset="made", synthetic=True, row="raw", geometry=GEOMETRY, encoding="raw", splits=splits,
                   target=Task(name="action", classes=("a", "b")), budget=Task(name="pair", classes=("x", "y", "z")))


@pytest.fixture
def filter_() -> Degradation:
    torch.manual_seed(0)
    return TransformNet(width=2, blocks=0, kernel=3, stride=1, motion=True, release=Release(noise=0.15)).build()


@pytest.fixture
def shown(clips: ClipSet, filter_: Degradation, store: Store) -> Callable[[str], ClipSet]:
    """Renders a row with the seed 3."""

    def render_row(row: str) -> ClipSet:
        game = Trained(stage="train_adversarial", seed=0, models={"degradation": put_filter(store, filter_)}, metrics={},
                       curves=Blob(sha256="0" * 64, bytes=1), seconds=0.0)  # fmt: skip
        context = StageContext(store, cast(Any, Silent()), Checkpoints(store, "codec"), workers=1)
        return render.run(render.Config(draws=2), row, clips, 3, context, game)

    return render_row


@pytest.mark.parametrize("text", ["h264:23", "mjpeg:5"])
def test_a_codec_s_row_is_what_the_filter_releases_coded_clip_by_clip(
    text: str, shown: Callable[[str], ClipSet], clips: ClipSet, filter_: Degradation, store: Store, tmp_path: Path
) -> None:
    codec, stored = Codec.parse(text), shown(f"filter:{text}")
    for number, (split, draws) in enumerate((("train", 2), ("val", 1), ("test", 1))):
        raw, found = (open_split(store, one, split, tmp_path / one.row.replace(":", "-")) for one in (clips, stored))
        batches = [batch for _ in range(draws) for batch in raw.batches()]
        released = np.concatenate(list(filtered_batches(filter_, batches, 3 + number)))
        coded = [codec.round_trip(clip) for clip in released]
        assert np.array_equal(found.frames, np.stack([frames for frames, _ in coded]))
        assert found.ids == tuple(f"{name}_draw1" if draw else name for draw in range(draws) for name in raw.ids)
        assert torch.equal(found.target, raw.target.repeat(draws)) and torch.equal(found.budget, raw.budget.repeat(draws))
    rate = 8 * sum(size for _, size in coded) / 1000 * FPS / (5 * 4)
    assert stored.metrics["kbit_per_second"] == pytest.approx(rate)
    assert stored.row == f"filter:{text}" and stored.metrics["psnr"] > 0 and "A_T_game" not in stored.metrics


def test_a_smoothed_row_is_the_filter_with_that_release_and_flickers_less(
    shown: Callable[[str], ClipSet], clips: ClipSet, filter_: Degradation, store: Store, tmp_path: Path
) -> None:
    made = {weight: shown(f"filter:smooth:{weight}") for weight in ("0", "0.7")}
    raw = open_split(store, clips, "test", tmp_path / "raw")
    found = {weight: open_split(store, one, "test", tmp_path / weight).frames for weight, one in made.items()}
    same = np.concatenate(list(filtered_batches(filter_, raw.batches(), 3 + 2)))
    assert np.array_equal(found["0"], same)
    before, averaged = same[:, 0].astype(float), [same[:, 0].astype(float)]
    for t in range(1, 4):
        before = 0.7 * before + 0.3 * same[:, t]
        averaged.append(before)
    assert np.abs(found["0.7"] - np.stack(averaged, 1)).max() <= 1.01  # of 8-bit frames instead of those before rounding
    trembling = {weight: one.metrics["flicker"] for weight, one in made.items()}
    assert trembling["0"] == pytest.approx(flicker(raw.frames, same)) and trembling["0.7"] < 0.6 * trembling["0"]
    assert "kbit_per_second" not in made["0"].metrics


@pytest.mark.parametrize(("precision", "most"), [("fp16", 4), ("int8", 30)])
def test_an_exported_row_is_the_filter_with_equal_noise_in_that_precision(
    precision: str, most: int, shown: Callable[[str], ClipSet], clips: ClipSet, filter_: Degradation, store: Store, tmp_path: Path
) -> None:
    stored = shown(f"filter:{precision}")
    for number, split in enumerate(("train", "val", "test")):
        raw, found = (open_split(store, one, split, tmp_path / one.row.replace(":", "-")) for one in (clips, stored))
        batches = [batch for _ in range(2 if split == "train" else 1) for batch in raw.batches()]
        exact = np.concatenate(list(filtered_batches(filter_, batches, 3 + number)))
        apart = np.abs(np.asarray(found.frames, int) - exact)
        assert 0 < apart.max() <= most and apart.mean() < 2
    assert "A_T_game" not in stored.metrics and stored.metrics["psnr"] > 0


def test_a_graph_on_whole_clips_is_the_filter_noise_smoothing_and_all() -> None:
    torch.manual_seed(0)
    filter_ = TransformNet(width=2, blocks=0, kernel=3, motion=True, release=Release(noise=0.15, smooth=0.5)).build().eval()
    clips = torch.rand(2, 3, 4, 24, 20).mul(255).round() / 255
    graph = Graph(trace(filter_).SerializeToString(), Needs.of(filter_), 1)
    with torch.no_grad():
        one, other = (each(clips, torch.Generator().manual_seed(7)) for each in (filter_, Deployed(graph, filter_.spec)))
    assert one.std() > 0.05 and (one - other).abs().max() <= 1.01 / 255


def test_flicker_by_hand() -> None:
    """What moves is left out; of what stands still the mean over pixels, channels and steps."""
    raw = np.full((3, 2, 2, 3), 100, np.uint8)
    raw[1:, 0, 0] = 200
    shown = np.zeros((3, 2, 2, 3), np.uint8)
    shown[1] = 30
    shown[1, 0, 0] = 255
    assert flicker([raw], [shown]) == pytest.approx((3 * 30 + 3 * 30 + 255) / 7)
    assert flicker([raw[:1]], [shown[:1]]) is None


def test_a_form_of_the_filter_needs_the_game(clips: ClipSet, store: Store) -> None:
    context = StageContext(store, cast(Any, Silent()), Checkpoints(store, "codec"), workers=1)
    with pytest.raises(PrivadvError, match=r"'filter:h264:23' needs the game"):
        render.run(render.Config(), "filter:h264:23", clips, 0, context)
