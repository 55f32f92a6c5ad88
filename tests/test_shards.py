"""Shards against tars made by hand and by the shard writer, through a real store."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privadv.data.feeds import ClipArray
from privadv.data.manifest import Clip, ClipSet, Geometry, Task
from privadv.data.shards import decode, encode, read_shard, write_shards
from privadv.errors import PrivadvError
from privadv.store import Store

GEOMETRY = Geometry(frames=5, height=12, width=20)
LABELS = {"id": "a", "target": 1, "budget": 2, "source": "a.mp4", "indices": [0, 1, 2, 3, 4]}
GOOD = ("00000000.json", json.dumps(LABELS).encode())


def clip(number: int, budget: int | tuple[int, ...] = 3) -> Clip:
    frames = np.random.default_rng(number).integers(0, 256, GEOMETRY.shape, np.uint8)
    group = "one film" if number in (1, 2) else ""
    return Clip(f"clip é/{number}", frames, number % 8, budget, f"folder/{number}.mp4", (0, 2, 4, 6, number), group)


def smooth(geometry: Geometry) -> np.ndarray:
    """Each frame one smooth gradient of its own, so that JPEG loses little and mixed-up frames would show."""
    t, y, x, c = np.indices(geometry.shape)
    return (20 + 30 * t + 2 * y + x + 10 * c).astype(np.uint8)


def tar_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def read(path: Path) -> list[Clip]:
    return list(read_shard(path.read_bytes(), path.name, GEOMETRY, "raw"))


def test_raw_clips_come_back_exactly(store: Store, tmp_path: Path) -> None:
    clips = [clip(number, budget=(1, 0, 1) if number == 2 else 3) for number in range(7)]
    shards = write_shards(store, iter(clips), "raw", shard_bytes=12_000)
    assert [shard.clips for shard in shards] == [3, 3, 1]
    found = [one for shard in shards for one in read_shard(store.get(shard.blob), "shard", GEOMETRY, "raw")]
    assert len(found) == 7
    for one, other in zip(found, clips, strict=True):
        assert np.array_equal(one.frames, other.frames) and one.frames.flags.writeable
        assert vars(one) | {"frames": None} == vars(other) | {"frames": None}


def test_equal_clips_give_equal_shards(store: Store) -> None:
    assert write_shards(store, [clip(1)], "raw") == write_shards(store, [clip(1)], "raw")
    assert write_shards(store, [clip(1)], "raw") != write_shards(store, [clip(2)], "raw")
    assert write_shards(store, [], "raw") == ()


def test_a_shard_is_a_plain_tar_of_pairs(store: Store, tmp_path: Path) -> None:
    (shard,) = write_shards(store, [clip(0), clip(1)], "raw")
    with tarfile.open(fileobj=io.BytesIO(store.get(shard.blob))) as tar:
        assert tar.getnames() == ["00000000.json", "00000000.raw", "00000001.json", "00000001.raw"]
        pixels, labels = tar.extractfile("00000001.raw"), tar.extractfile("00000001.json")
        assert pixels and pixels.read() == clip(1).frames.tobytes()
        facts = json.loads(labels.read()) if labels else {}
        assert facts["id"] == "clip é/1" and facts["group"] == "one film"


@pytest.mark.parametrize("shape", [(16, 44, 44), (5, 12, 20), (1, 7, 9), (2, 16, 16), (7, 33, 16)])
def test_jpeg_mosaic_keeps_every_frame_in_its_place(shape) -> None:
    geometry = Geometry(frames=shape[0], height=shape[1], width=shape[2])
    single = smooth(geometry.model_copy(update={"frames": 1}))
    frames = np.concatenate([single + 9 * step for step in range(shape[0])])
    found = decode(encode(frames, "jpeg"), geometry, "jpeg", "x")
    assert found.shape == geometry.shape and found.dtype == np.uint8 and found.flags.writeable
    assert np.abs(found.astype(int) - frames).mean() < 3


def test_jpeg_frames_do_not_bleed_into_each_other() -> None:
    frames = np.stack([np.full((20, 20, 3), 255 * (number % 2), np.uint8) for number in range(9)])
    found = decode(encode(frames, "jpeg"), Geometry(frames=9, height=20, width=20), "jpeg", "x")
    assert np.abs(found.astype(int) - frames).max() <= 2


def test_jpeg_mosaic_is_an_image_read_row_by_row() -> None:
    frames = np.stack([np.full((16, 16, 3), 60 * number, np.uint8) for number in range(4)])
    image = np.asarray(Image.open(io.BytesIO(encode(frames, "jpeg"))))
    assert image.shape == (32, 32, 3)
    assert [int(image[y, x, 0]) for y in (8, 24) for x in (8, 24)] == pytest.approx([0, 60, 120, 180], abs=2)


def test_writing_refuses_what_would_be_misread(store: Store) -> None:
    with pytest.raises(PrivadvError, match="two clips have this id"):
        write_shards(store, [clip(1), clip(2), clip(1)], "raw")
    with pytest.raises(PrivadvError, match="clip é/2: uint8"):
        write_shards(store, [clip(1), replace(clip(2), frames=clip(2).frames[:4])], "raw")
    with pytest.raises(PrivadvError, match="float64"):
        write_shards(store, [replace(clip(2), frames=clip(2).frames / 255)], "raw")


@pytest.mark.parametrize("name", ["../00000000.json", "/etc/00000000.json", "a/00000000.json", "00000000.js"])
def test_foreign_names_are_refused(tmp_path: Path, name: str) -> None:
    path = tar_of(tmp_path / "x.tar", (name, json.dumps(LABELS).encode()), ("00000000.raw", bytes(3600)))
    with pytest.raises(PrivadvError, match=r"x\.tar: member .* does not belong in a shard"):
        read(path)


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo("00000000.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(PrivadvError, match="does not belong in a shard"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize(("members", "problem"), [
    ([("00000000.json", b"x" * 70_000)], "has 70000 bytes, at most 65536"),
    ([GOOD, ("00000000.raw", bytes(3601))], "has 3601 bytes, at most 3600"),
    ([GOOD, ("00000000.raw", bytes(3599))], "3599 bytes are no clip"),
    ([GOOD, ("00000001.raw", bytes(3600))], "does not belong"),
    ([GOOD, ("00000000.jpg", bytes(3600))], "does not belong"),
    ([GOOD], "00000000.json has no pixels"),
    ([("00000000.json", b"[1]"), ("00000000.raw", bytes(3600))], "not the labels of a clip"),
    ([("00000000.json", b"{"), ("00000000.raw", bytes(3600))], "not the labels of a clip"),
    ([("00000000.json", b'{"id": 1}'), ("00000000.raw", bytes(3600))], "not the labels of a clip"),
])
def test_wrong_members_are_refused(tmp_path: Path, members, problem: str) -> None:
    with pytest.raises(PrivadvError, match=problem):
        read(tar_of(tmp_path / "x.tar", *members))


def test_a_cut_or_foreign_file_is_refused(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "x.tar", GOOD, ("00000000.raw", bytes(3600)))
    assert len(read(whole)) == 1
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "text.tar").write_text("no tar at all")
    for name in ("cut.tar", "text.tar"):
        with pytest.raises(PrivadvError, match=f"{name}: not a readable shard"):
            read(tmp_path / name)


def test_a_jpeg_of_another_size_or_kind_is_refused() -> None:
    data = encode(smooth(GEOMETRY), "jpeg")
    for other in (GEOMETRY.model_copy(update={"frames": 16}), GEOMETRY.model_copy(update={"height": 17})):
        with pytest.raises(PrivadvError, match=r"member x: RGB image of .* is no clip"):
            decode(data, other, "jpeg", "member x")
    with pytest.raises(PrivadvError, match="not a readable JPEG"):
        decode(data[: len(data) // 2], GEOMETRY, "jpeg", "member x")
    png = io.BytesIO()
    Image.open(io.BytesIO(data)).save(png, "PNG")
    with pytest.raises(PrivadvError, match="not a readable JPEG"):
        decode(png.getvalue(), GEOMETRY, "jpeg", "member x")


def test_a_clip_set_is_the_same_whatever_its_metrics() -> None:
    one = ClipSet(dataset="sbu", synthetic=False, row="raw", geometry=GEOMETRY, encoding="raw", splits={},
                  target=Task(name="t", classes=("a",)), budget=Task(name="b", classes=("a",)))
    slow, other = one.model_copy(update={"metrics": {"seconds": 9.0}}), one.model_copy(update={"row": "gray"})
    assert one.digest() == slow.digest() != other.digest()
    assert ClipSet.parse(slow.canonical(), "x") == slow
    assert one.count("train") == 0


def test_clips_of_one_film_are_one_group_and_others_stand_alone(tmp_path: Path) -> None:
    """What the bootstrap draws together; a shard that names no group, as those of most datasets, says so too."""
    array = ClipArray.write(tmp_path / "a.u8", map(clip, range(4)), 4, GEOMETRY)
    assert array.groups == ("folder/0.mp4", "one film", "one film", "folder/3.mp4")
    assert [one.group for one in array.iterate()] == ["", "one film", "one film", ""]
    assert read(tar_of(tmp_path / "good.tar", GOOD, ("00000000.raw", bytes(5 * 12 * 20 * 3))))[0].group == ""
