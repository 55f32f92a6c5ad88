"""Extraction of small SBU-shaped folders, whole and damaged, into a real store."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from privadv.data import synthetic
from privadv.data.manifest import Clip, ClipSet, Quarantined
from privadv.data.shards import read_shard
from privadv.data.stand_ins import generated
from privadv.data.synthetic import SyntheticConfig, render, videos
from privadv.data.video import decode, write_h264
from privadv.errors import PrivadvError
from privadv.stages.extract_frames import Config, run
from privadv.stages.stage import StageContext
from privadv.store import Store

SMALL = {"dataset": "sbu", "frames": 8, "resize": (24, 32), "crop": (20, 24), "workers": 1}


class Recorder:
    """Stands for the tracker, whose own tests speak for it."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        self.values |= values


def context_of(store: Store) -> Any:
    return StageContext(store, Recorder(), SimpleNamespace(), 2)  # type: ignore[arg-type]


def film(name: str, count: int) -> list[np.ndarray]:
    """Smooth frames, each a little brighter; the pattern depends on ``name``."""
    y, x, _ = np.indices((24, 32, 3))
    shade = sum(map(ord, name)) % 40
    return [(shade + 4 * number + 2 * y + x).astype(np.uint8) for number in range(count)]


def frame_folder(path: Path, count: int, first: int = 55) -> None:
    path.mkdir(parents=True)
    for number, frame in enumerate(film(path.name, count), first):
        Image.fromarray(frame).save(path / f"rgb_{number:06d}.png")
        (path / f"depth_{number:06d}.png").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve good takes of two actions by one pair, as files and as frame folders."""
    folder = tmp_path / "SBU"
    for take in range(1, 5):
        frame_folder(folder / "s01s02" / "s01s02" / "01" / f"{take:03d}", 10 + take)
    (folder / "files").mkdir()
    for take in range(1, 9):
        write_h264(folder / "files" / f"s02s01_02_{take:03d}.mp4", film(str(take), 8 + take), fps=15)
    return folder


def extract(store: Store, root: Path | str | None, **settings: Any) -> tuple[ClipSet, dict[str, float]]:
    context = context_of(store)
    config = Config.parse(SMALL | {"root": None if root is None else str(root)} | settings, "test")
    return run(config=config, context=context), context.tracker.values


def clips_of(store: Store, clip_set: ClipSet, folder: Path) -> dict[str, list[Clip]]:
    return {split: [clip for shard in shards for clip in
                    read_shard(store.get(shard.blob), "shard", clip_set.geometry, clip_set.encoding)]
            for split, shards in clip_set.splits.items()}


def test_every_source_becomes_its_clip(store: Store, root: Path, tmp_path: Path) -> None:
    clip_set, metrics = extract(store, root)
    splits = clips_of(store, clip_set, tmp_path / "cache")
    assert clip_set.geometry.shape == (8, 20, 24, 3) and clip_set.row == "raw" and not clip_set.synthetic
    assert {split: len(clips) for split, clips in splits.items()} == {"train": 7, "val": 2, "test": 3}
    assert {split: clip_set.count(split) for split in splits} == {"train": 7, "val": 2, "test": 3}
    clips = [clip for split in splits.values() for clip in split]
    assert len({clip.id for clip in clips}) == 12
    for clip in clips:
        path = root / clip.source
        media = sorted(path.glob("rgb_*.png")) if path.is_dir() else path
        expected = decode(media, clip.indices, (24, 32))[:, 2:22, 4:28]
        assert np.array_equal(clip.frames, expected)
        assert len(set(clip.indices)) == 8
        assert (clip.target, clip.budget) == (0 if path.is_dir() else 1, 0)
    assert metrics == clip_set.metrics
    assert {name: metrics[name] for name in metrics if name not in ("seconds", "frames_per_second")} == {
        "clips_train": 7, "clips_val": 2, "clips_test": 3, "quarantined": 0, "clips_with_repeated_frames": 0,
        "copies_left_aside": 0, "video_fps": 15}
    assert metrics["seconds"] > 0 and metrics["frames_per_second"] > 0


def test_the_result_depends_on_configuration_and_files_alone(store: Store, root: Path) -> None:
    first = extract(store, root)[0]
    moved = root.rename(root.with_name("moved"))
    assert first.digest() == extract(store, moved, workers=2)[0].digest()
    other = extract(store, moved, seed=1)[0]
    assert first.splits != other.splits and first.digest() != other.digest()


def test_a_new_file_changes_no_other_clip(store: Store, root: Path, tmp_path: Path) -> None:
    def chosen() -> dict[str, tuple[int, ...]]:
        splits = clips_of(store, extract(store, root)[0], tmp_path / "cache")
        return {clip.id: clip.indices for clips in splits.values() for clip in clips}

    before = chosen()
    write_h264(root / "s01s03_01_001.mp4", film("new", 12), fps=15)
    after = chosen()
    assert after.keys() - before.keys() == {"s01s03_01_001"}
    assert {name: after[name] for name in before} == before


def test_bad_files_are_named_counted_and_left_out(
    store: Store, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (root / "files" / "s02s01_02_001.mp4").read_bytes()
    (root / "files" / "s02s01_02_011.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "files" / "s02s01_02_012.mp4").write_bytes(b"")
    (root / "files" / "s02s01_02_013.mp4").write_text("words")
    (root / "files" / "holiday.mp4").write_bytes(whole)
    (root / "s01s02" / "s01s02" / "01" / "004" / "rgb_000060.png").write_bytes(b"")
    clip_set, metrics = extract(store, root)
    reasons = {bad.source: bad.reason for bad in clip_set.quarantined}
    assert reasons.keys() == {"files/s02s01_02_011.mp4", "files/s02s01_02_012.mp4", "files/s02s01_02_013.mp4",
                              "files/holiday.mp4", "s01s02/s01s02/01/004"}
    assert reasons["files/s02s01_02_012.mp4"] == "is empty (0 bytes)"
    assert "rgb_000060.png" in reasons["s01s02/s01s02/01/004"]
    assert metrics["quarantined"] == 5
    assert sum(clip_set.count(split) for split in clip_set.splits) == 11
    said = capsys.readouterr().out
    assert "5 files quarantined" in said and "files/s02s01_02_012.mp4: is empty (0 bytes)" in said
    assert str(root) not in clip_set.canonical()
    with pytest.raises(PrivadvError, match=r"mp4: .*: mend or remove it, or set on_bad: quarantine"):
        extract(store, root, on_bad="refuse")


def test_a_short_video_does_what_the_configuration_says(store: Store, root: Path, tmp_path: Path) -> None:
    write_h264(root / "s02s01_02_020.mp4", film("short", 5), fps=15)
    clip_set, metrics = extract(store, root)
    found = [clip for clips in clips_of(store, clip_set, tmp_path / "cache").values() for clip in clips]
    (short,) = [clip for clip in found if clip.id == "s02s01_02_020"]
    assert short.indices == (0, 1, 2, 3, 4, 4, 4, 4) and np.array_equal(short.frames[4], short.frames[7])
    assert metrics["clips_with_repeated_frames"] == 1 and len(found) == 13
    clip_set, metrics = extract(store, root, too_short="quarantine")
    assert clip_set.quarantined == (
        Quarantined(source="s02s01_02_020.mp4", reason="is too short: 5 frames, a clip has 8"),)
    assert metrics["clips_with_repeated_frames"] == 0
    with pytest.raises(PrivadvError, match=r"s02s01_02_020.mp4: is too short.*or set too_short: quarantine"):
        extract(store, root, too_short="refuse")


def test_dense_gives_several_clips_a_video(store: Store, root: Path, tmp_path: Path) -> None:
    clip_set, _ = extract(store, root, sampling="dense", clips=3, stride=2, encoding="jpeg")
    found = [clip for clips in clips_of(store, clip_set, tmp_path / "cache").values() for clip in clips]
    indices = {clip.id: clip.indices for clip in found}
    assert [name for name in sorted(indices) if name.startswith("s02s01_02_003")] == [
        "s02s01_02_003_c000", "s02s01_02_003_c001"]  # 11 frames: from 0 and 2, 4 would need 12
    assert indices["s02s01_02_003_c001"] == tuple(range(2, 10))
    assert [name for name in indices if name.startswith("s02s01_02_008")] == [
        f"s02s01_02_008_c{number:03d}" for number in range(3)]


def test_an_s3_prefix_gives_the_clips_of_the_folder(store: Store, root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            store.write(f"sets/sbu/{path.relative_to(root).as_posix()}", path.read_bytes())
    there, here = extract(store, f"s3://{store.bucket}/sets/sbu")[0], extract(store, root)[0]
    assert there.splits == here.splits
    with pytest.raises(PrivadvError, match=f"s3://{store.bucket}/sets/none/ holds nothing"):
        extract(store, f"s3://{store.bucket}/sets/none")


def test_an_empty_split_is_an_error(store: Store, tmp_path: Path) -> None:
    write_h264(tmp_path / "s01s02_01_001.mp4", film("a", 9), fps=15)
    with pytest.raises(PrivadvError, match="split 'val' of sbu has no clips: the dataset is too small"):
        extract(store, tmp_path)
    (tmp_path / "s01s02_01_001.mp4").write_bytes(b"")
    with pytest.raises(PrivadvError, match=r"split 'train' .* is s01s02_01_001.mp4 .is empty"):
        extract(store, tmp_path)


@pytest.mark.parametrize(("settings", "problem"), [
    ({"dataset": "imagenet", "root": "x"}, "dataset 'imagenet' is unknown: choose one of sbu, hmdb51, ucf101, vispr"),
    ({"root": None}, "dataset 'sbu' needs root"),
    ({"root": "x", "crop": (25, 24)}, r"crop \(25, 24\) is larger than resize \(24, 32\)"),
    ({"root": "x", "shares": {"train": 0.5}}, "must add up to 1"),
    ({"root": "x", "frames": 0}, "'frames' = 0"),
    ({"root": "x", "frame": 8}, "unknown key 'frame'"),
])
def test_wrong_settings_are_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(PrivadvError, match=problem):
        Config.parse(SMALL | settings, "test")


def test_a_root_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PrivadvError, match="is no folder"):
        extract(store, tmp_path / "absent")
    with pytest.raises(PrivadvError, match="names no bucket"):
        extract(store, "s3:///x")
    with pytest.raises(PrivadvError, match="holds no SBU sequence"):
        extract(store, tmp_path)


class Generator:
    """Stands for the generator of the synthetic set: one pair, one action, and it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, config: SyntheticConfig, folder: Path) -> None:
        self.calls += 1
        for take in range(1, config.takes + 1):
            write_h264(folder / f"s01s02_01_{take:03d}.mp4", film(str(take), 10), fps=15)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator:
    fake = Generator()
    monkeypatch.setattr(synthetic, "generate", fake)
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    return fake


MADE = {"dataset": "synthetic", "synthetic": {"train_takes": 3, "val_takes": 1, "test_takes": 2}}


def test_the_generator_gives_the_same_frames_on_every_machine() -> None:
    """Whatever NumPy's kernels for its processor: results on other frames could not be laid side by side."""
    config, digest = SyntheticConfig(), hashlib.sha256()
    for video in videos(config)[::78]:
        for frame in render(config, video):
            digest.update(frame.tobytes())
    assert digest.hexdigest()[:16] == "c6a054c4ec40c573"


def test_synthetic_videos_are_split_by_take(store: Store, generator: Generator, tmp_path: Path) -> None:
    clip_set, _ = extract(store, None, **MADE)
    assert clip_set.synthetic and clip_set.dataset == "synthetic"
    takes = {split: [int(clip.id[-3:]) for clip in clips]
             for split, clips in clips_of(store, clip_set, tmp_path / "cache").items()}
    assert takes == {"train": [1, 2, 3], "val": [4], "test": [5, 6]}
    (folder,) = (tmp_path / "videos").iterdir()
    assert len(list(folder.iterdir())) == 6
    assert extract(store, folder, **MADE)[0].splits == clip_set.splits
    assert generator.calls == 1


def test_a_generator_that_fails_leaves_nothing_half_made(
    store: Store, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: SyntheticConfig, folder: Path) -> None:
        (folder / "s01s02_01_001.mp4").touch()
        raise PrivadvError("disk full")

    monkeypatch.setattr(synthetic, "generate", fail)
    with pytest.raises(PrivadvError, match="disk full"):
        extract(store, None, **MADE)
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_set_is_made_once_and_anew_by_another_generator(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generated(SyntheticConfig(), tmp_path)
    assert generated(SyntheticConfig(), tmp_path) == first
    assert generator.calls == 1
    assert generated(SyntheticConfig(seed=1), tmp_path) != first
    (tmp_path / "edited.py").write_text("another generator")
    monkeypatch.setattr(synthetic, "__file__", str(tmp_path / "edited.py"))
    assert generated(SyntheticConfig(), tmp_path) != first
    assert generator.calls == 3


def test_extraction_needs_no_torch() -> None:
    code = "import sys, privadv.stages.extract_frames; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
