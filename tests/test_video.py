"""Decoding against frames that carry their own number, and against files broken in every way that was met."""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

from privadv.data.video import BadVideo, count_frames, decode, write_h264
from privadv.errors import PrivadvError

HEIGHT, WIDTH, COUNT = 48, 64, 30


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame that shows ``number`` as six vertical bars (binary), its top right corner red."""
    bits = [number >> bit & 1 for bit in range(6)]
    row = np.repeat([40 + 170 * bit for bit in bits], math.ceil(width / 6))[:width]
    image = np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2).astype(np.uint8)
    image[: height // 4, -width // 6 :] = (220, 30, 30)
    return image


def number_of(image: np.ndarray) -> int:
    height, width, _ = image.shape
    bars = image[height * 3 // 4, [int((bit + 0.5) * width / 6) for bit in range(6)], 1]
    return sum(int(bar > 125) << bit for bit, bar in enumerate(bars))


def make(path: Path, codec: str = "libx264", size: tuple[int, int] = (HEIGHT, WIDTH),
         pix_fmt: str = "yuv420p", b_frames: int = 0, movflags: str = "") -> Path:
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream: Any = container.add_stream(codec, rate=15)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.max_b_frames = b_frames
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def independent(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """A plain decode of everything by PyAV's own loop, scaled by its own call."""
    how = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    with av.open(str(path)) as container:
        return [frame.reformat(size[1], size[0], "rgb24", interpolation=how).to_ndarray()
                for frame in container.decode(video=0)]


KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {}, "b_frames.mp4": {"b_frames": 3}, "front.mp4": {"movflags": "faststart"},
    "divx.avi": {"codec": "mpeg4"}, "divx_b.avi": {"codec": "mpeg4", "b_frames": 2},
    "odd.avi": {"codec": "mpeg4", "size": (47, 61)}, "odd.mp4": {"size": (47, 61), "pix_fmt": "yuv444p"},
    "motion_jpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
}
if "libxvid" in av.codecs_available:
    KINDS["xvid.avi"] = {"codec": "libxvid"}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_right_one(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, **KINDS[name])
    assert count_frames(path) == COUNT
    size = KINDS[name].get("size", (HEIGHT, WIDTH))
    frames = decode(path, range(COUNT), size)
    assert frames.shape == (COUNT, *size, 3) and frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == list(range(COUNT))
    assert np.array_equal(frames, independent(path, size))


def test_wanted_frames_in_any_order_scaled(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", b_frames=2)
    frames = decode(path, [29, 3, 3, 0, 17], (24, 32))
    assert [number_of(frame) for frame in frames] == [29, 3, 3, 0, 17]
    assert np.array_equal(frames, np.stack(independent(path, (24, 32)))[[29, 3, 3, 0, 17]])


def test_colours_are_those_that_went_in(tmp_path: Path) -> None:
    write_h264(tmp_path / "a.mp4", [picture(5)] * 3, fps=15, crf=1)
    found = decode(tmp_path / "a.mp4", [1], (HEIGHT, WIDTH))[0]
    assert np.abs(found.astype(int) - picture(5)).mean() < 4
    assert found[3, -3] == pytest.approx([220, 30, 30], abs=12)


def test_a_frame_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match="has 30 frames, but frame 30 was asked for"):
        decode(make(tmp_path / "a.mp4"), [30], (HEIGHT, WIDTH))


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "name", ["plain.mp4", "b_frames.mp4", "front.mp4", "divx.avi", "divx_b.avi", "motion_jpeg.mov"])
def test_a_truncated_file_never_gives_fewer_frames(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, **KINDS[name])
    whole, frames, passed = path.read_bytes(), decode(path, range(COUNT), (HEIGHT, WIDTH)), []
    for percent in range(1, 100, 2):
        cut = broken(tmp_path / f"cut_{name}", whole[: percent * len(whole) // 100])
        try:
            assert np.array_equal(decode(cut, range(count_frames(cut)), (HEIGHT, WIDTH)), frames)
            passed.append(percent)  # only an index or a comment behind the last frame was cut
        except BadVideo as error:
            assert error.path == cut and str(tmp_path) not in error.reason
    assert len(passed) < 10 and passed == list(range(100 - 2 * len(passed) + 1, 100, 2))


def test_a_file_cut_between_frames_never_passes(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.avi", codec="mpeg4").read_bytes()
    end = whole.rindex(b"00dc", 0, whole.index(b"idx1"))
    with pytest.raises(BadVideo, match="29 of its stated 30 frames"):
        count_frames(broken(tmp_path / "b.avi", whole[:end]))
    with pytest.raises(BadVideo, match="packet 29 is damaged or cut short"):
        count_frames(broken(tmp_path / "b.avi", whole[: whole.index(b"idx1") - 5]))


@pytest.mark.parametrize("name", ["plain.mp4", "divx.avi"])
def test_damaged_frames_never_pass(tmp_path: Path, name: str) -> None:
    data = bytearray(make(tmp_path / name, **KINDS[name]).read_bytes())
    with av.open(str(tmp_path / name)) as container:
        packet = next(container.demux(video=0))
    at, size = packet.pos or 0, packet.size
    data[at + size - 60 : at + size - 20] = bytes(range(200, 240))
    path = broken(tmp_path / f"damaged_{name}", bytes(data))
    with pytest.raises(BadVideo, match="damaged"):
        decode(path, [29], (HEIGHT, WIDTH))


@pytest.mark.parametrize(("name", "data", "reason"), [
    ("zero.mp4", b"", r"is empty \(0 bytes\)"),
    ("text.mp4", b"just some words\n" * 50, "is no video"),
    ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile:///etc/passwd\n", "is no video"),
    ("noise.avi", bytes(range(256)) * 20, "is no video"),
    ("concat.mp4", b"ffconcat version 1.0\nfile a.mp4\n", "is no mp4, mov or avi"),
])
def test_no_video_at_all(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(BadVideo, match=reason):
        count_frames(broken(tmp_path / name, data))


def test_other_containers_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.ts"):
        with pytest.raises(BadVideo, match="is no mp4, mov or avi: remux it"):
            count_frames(make(tmp_path / name))
    Image.fromarray(picture(1)).save(tmp_path / "still.png")
    with pytest.raises(BadVideo):
        count_frames((tmp_path / "still.png").rename(tmp_path / "still.mp4"))
    with pytest.raises(BadVideo, match="does not state its number of frames"):
        count_frames(make(tmp_path / "a.mp4", movflags="frag_keyframe+empty_moov"))
    with pytest.raises(BadVideo, match="cannot be read"):
        count_frames(tmp_path / "absent.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(BadVideo, match="has no video stream"):
        count_frames(tmp_path / "sound.mp4")


def with_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """The mp4 with its track's display matrix (16.16 fixed point) overwritten in place."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return broken(path.with_name("turned.mp4"), bytes(data))


TURNS = {
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "half": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "counterclockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "none": ((1, 0, 0, 1), lambda image: image),
}


@pytest.mark.parametrize("turn", TURNS)
def test_the_display_matrix_is_applied(tmp_path: Path, turn: str) -> None:
    matrix, expected = TURNS[turn]
    plain = make(tmp_path / "a.mp4")
    upright = expected(decode(plain, [21], (HEIGHT, WIDTH))[0])
    found = decode(with_matrix(plain, [65536 * factor for factor in matrix]), [21], upright.shape[:2])[0]
    assert np.array_equal(found, upright)


def test_a_slanted_display_matrix_is_refused(tmp_path: Path) -> None:
    cosine, sine = int(65536 * math.cos(0.6)), int(65536 * math.sin(0.6))
    path = with_matrix(make(tmp_path / "a.mp4"), (cosine, sine, -sine, cosine))
    with pytest.raises(BadVideo, match="no multiple of 90 degrees"):
        decode(path, [0], (HEIGHT, WIDTH))


def test_frames_cut_by_an_edit_list_are_not_there(tmp_path: Path) -> None:
    data = bytearray(make(tmp_path / "a.mp4").read_bytes())
    at = data.index(b"elst") + 16
    data[at : at + 4] = struct.pack(">i", struct.unpack(">i", data[at : at + 4])[0] + 5 * 1024)
    path = broken(tmp_path / "b.mp4", bytes(data))
    assert count_frames(path) == COUNT - 5
    frames = decode(path, range(COUNT - 5), (HEIGHT, WIDTH))
    assert [number_of(frame) for frame in frames] == list(range(5, COUNT))


def chunks(movie: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(movie):
        size = struct.unpack("<I", movie[at + 4 : at + 8])[0]
        yield movie[at : at + 8 + size + size % 2]
        at += 8 + size + size % 2


def with_not_coded_packet(path: Path, padding: int) -> Path:
    """The MPEG-4 AVI with a "not coded" picture after the seventh; decoders give no frame for it."""
    data = path.read_bytes()
    start, end = data.index(b"movi") + 4, data.index(b"idx1")
    packet = bytes.fromhex("000001b6569f") + bytes(padding)
    parts = list(chunks(data[start:end]))
    parts.insert(7, b"00dc" + struct.pack("<I", len(packet)) + packet)
    stated = data.index(b"strh") + 40
    head = data[:stated] + struct.pack("<I", COUNT + 1) + data[stated + 4 : start]
    return broken(path.with_name("not_coded.avi"), head + b"".join(parts))


def test_a_packet_that_gives_no_frame_is_damage(tmp_path: Path) -> None:
    path = with_not_coded_packet(make(tmp_path / "a.avi", codec="mpeg4"), padding=40)
    with pytest.raises(BadVideo, match="is damaged: 30 frames decoded of 31"):
        decode(path, [0], (HEIGHT, WIDTH))


def test_a_packet_that_repeats_the_frame_before_is_no_damage(tmp_path: Path) -> None:
    """XviD writes such small ones where nothing moved."""
    path = with_not_coded_packet(make(tmp_path / "a.avi", codec="mpeg4"), padding=0)
    assert count_frames(path) == COUNT
    assert [number_of(frame) for frame in decode(path, range(COUNT), (HEIGHT, WIDTH))] == list(range(COUNT))


def test_frame_folders_are_read_like_videos(tmp_path: Path) -> None:
    paths = [tmp_path / f"rgb_{number:06d}.png" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(number)).save(path)
    assert count_frames(paths) == 5
    assert np.array_equal(decode(paths, [4, 0], (HEIGHT, WIDTH)), [picture(4), picture(0)])
    small = decode(paths, [3], (24, 32))
    assert small.shape == (1, 24, 32, 3) and number_of(small[0]) == 3


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-60], lambda data: b"words"])
def test_a_bad_image_names_itself_but_no_folder_of_this_machine(tmp_path: Path, spoil) -> None:
    paths = [tmp_path / f"rgb_{number:06d}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    paths[1].write_bytes(spoil(paths[1].read_bytes()))
    with pytest.raises(BadVideo) as caught:
        decode(paths, [0], (HEIGHT, WIDTH))
    assert "rgb_000001.png" in caught.value.reason and str(tmp_path) not in caught.value.reason


def test_an_image_that_would_fill_the_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    paths = [tmp_path / f"rgb_{number}.png" for number in range(2)]
    Image.fromarray(picture(0)).save(paths[0])
    Image.new("1", (8200, 8200)).save(paths[1])
    with pytest.raises(BadVideo, match=r"holds rgb_1\.png, which .*8200"):
        decode(paths, [1], (HEIGHT, WIDTH))


def test_a_bad_video_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(BadVideo(Path("a.mp4"), "is empty")))
    assert (error.path, error.reason, str(error)) == (Path("a.mp4"), "is empty", "a.mp4: is empty")


def test_writing_is_repeatable_and_leaves_nothing_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (40, 12, 16, 3), np.uint8)
    frames = blocks.repeat(10, axis=1).repeat(10, axis=2)
    written = set()
    for number in range(8):
        path = tmp_path / f"{number}.mp4"
        assert write_h264(path, iter(frames), fps=15) == 40
        written.add(path.read_bytes())
    assert len(written) == 1
    assert len(list(tmp_path.iterdir())) == 8


@pytest.mark.parametrize(("frames", "problem"), [
    ([], "no frames to write"), ([np.zeros((47, 64, 3), np.uint8)], "needs an even height and width"),
    ([np.zeros((48, 64, 3), np.uint8), np.zeros((46, 64, 3), np.uint8)], r"frame 1 is \(46, 64, 3\)"),
])
def test_writing_refuses_and_leaves_no_file(tmp_path: Path, frames, problem: str) -> None:
    with pytest.raises(PrivadvError, match=problem):
        write_h264(tmp_path / "a.mp4", frames, fps=15)
    assert list(tmp_path.iterdir()) == []
