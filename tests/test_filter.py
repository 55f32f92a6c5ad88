"""The filter at work: frame after frame it is what it is on whole clips, and nothing unfiltered ever gets out."""

from __future__ import annotations

import hashlib
import io
import itertools
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from privadv.camera.frames import FrameFilter
from privadv.camera.noise import Noise
from privadv.camera.opening import open_filter
from privadv.camera.recording import CHUNK_FRAMES, Recording, Stopped
from privadv.camera.step import Step
from privadv.data.feeds import to_float, to_uint8
from privadv.data.video.sinks import PipeSink, VideoSink
from privadv.data.video.sources import Frame, PipeSource, Scale, VideoSource
from privadv.errors import PrivadvError
from privadv.filter import _rate, main
from privadv.models.checkpoint import Measured, ShippedFilter, save_weights
from privadv.models.degradation import Release, TransformNet
from privadv.store import Blob

PROJECT = Path(__file__).resolve().parents[1]
MEASURED = Measured(dataset="synthetic", synthetic=True, resize=(24, 32), crop=(24, 24), frames=8, step=3, A_T=0.9,
                    A_B_max=0.2, counts=False)
WALL = 200
"""What the cameras of these tests show, mostly; no filter of theirs gives it."""


def network(motion: bool = True, **how: Any) -> TransformNet:
    return TransformNet(width=4, blocks=1, kernel=3, motion=motion, release=Release(**how))


def ship(folder: Path, spec: TransformNet, measured: Measured | None = MEASURED, grey: bool = True) -> str:
    """A published filter; a ``grey`` one paints every pixel 128, whatever it sees."""
    torch.manual_seed(0)
    filter_ = spec.build()
    if grey:
        for parameter in filter_.last.parameters():  # pyright: ignore[reportAttributeAccessIssue]
            torch.nn.init.zeros_(parameter)
    weights = save_weights(filter_)
    blob = Blob(sha256=hashlib.sha256(weights).hexdigest(), bytes=len(weights))
    folder.mkdir()
    (folder / "filter.safetensors").write_bytes(weights)
    (folder / "filter.json").write_text(ShippedFilter(spec=spec, weights=blob, measured=measured).model_dump_json())
    return str(folder)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return ship(tmp_path / "model", network())


def moving(count: int, size: tuple[int, int] = (48, 64)) -> Iterator[np.ndarray]:
    """A bright square that crosses a wall."""
    for number in range(count):
        image = np.full((*size, 3), WALL, np.uint8)
        image[10:22, (3 * number) % (size[1] - 12) :][:, :12] = (20, 60, 90)
        yield image


def film(path: Path, pts: Sequence[int] = range(24), sound: bool = False, codec: str = "libx264") -> Path:
    """A video whose frames show at ``pts`` / 12 s, with all that may tell of its maker."""
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": "Anna at home", "location": "+48.2082+016.3738/", "artist": "Anna"})
        stream: Any = container.add_stream(codec, rate=12)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12)
        voice: Any = container.add_stream("aac", rate=16000) if sound else None
        for at, image in zip(pts, moving(len(pts)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for number in range(20 if sound else 0):
            tone = np.sin(np.arange(1024) / 7).astype(np.float32)[None]
            heard = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 16000, 1024 * number, Fraction(1, 16000)
            container.mux(voice.encode(heard))
        if voice:
            container.mux(voice.encode(None))
    return path


def shown(path: Path) -> tuple[list[float], np.ndarray]:
    """Times (s) and frames of a video, by PyAV's own loop."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert frames[0].time_base is not None
        return ([float(frame.pts * frame.time_base) for frame in frames],  # pyright: ignore[reportOperatorIssue]
                np.stack([frame.to_ndarray(format="rgb24") for frame in frames]))


def is_filtered(frames: np.ndarray) -> bool:
    """Whether all that is seen is what the grey filter paints."""
    return bool((np.abs(frames.astype(int) - 128) <= 3).all())


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model", "in.mp4", "in.avi", "images"}


# --- frame after frame ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", [{"gray": False}, {"smooth": 0.7}, {"levels": 5}], ids=str)
@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_a_stream_is_what_the_whole_clip_is(how: dict[str, Any], chunk: int) -> None:
    torch.manual_seed(0)
    filter_ = network(**how).build().eval()
    clip = np.stack(list(moving(12)))
    with torch.no_grad():
        whole = to_uint8(filter_(to_float(clip[None])))[0]
    stream = FrameFilter(Step(filter_), Noise())
    parts = np.concatenate([stream(clip[start : start + chunk]) for start in range(0, 12, chunk)])
    difference = np.abs(parts.astype(int) - whole)
    # Convolutions of several frames at once round otherwise, which a threshold between levels may show.
    assert (difference > 0).mean() < 0.005 and difference.max() <= (64 if "levels" in how else 1)


def test_every_third_frame_is_what_the_filter_makes_of_every_third_frame_alone() -> None:
    step, clip = Step(network(gray=False).build()), np.stack(list(moving(12)))
    every = FrameFilter(step, Noise(), lag=3)(clip)
    for phase in range(3):
        alone = FrameFilter(step, Noise())(clip[phase::3])
        assert np.abs(every[phase::3].astype(int) - alone).max() <= 1
    assert np.abs(every.astype(int) - FrameFilter(step, Noise())(clip)).max() > 1


def test_noise_is_normal_and_never_the_same_unless_asked_for() -> None:
    draws = Noise().draw((1, 1, 400, 501))
    assert draws.shape == (1, 1, 400, 501) and torch.isfinite(draws).all()
    assert abs(draws.mean()) < 0.01 and abs(draws.std() - 1) < 0.01 and 4 < draws.abs().max() < 7
    quantiles = torch.quantile(draws.flatten()[:100000], torch.tensor([0.1, 0.5, 0.9, 0.99]))
    assert torch.allclose(quantiles, torch.tensor([-1.2816, 0.0, 1.2816, 2.3263]), atol=0.04)
    flat = draws.flatten()
    half = len(flat) // 2  # where the second of each pair lies
    for distance in (1, half):
        assert abs((flat[:-distance] * flat[distance:]).mean()) < 0.02
    assert not torch.equal(draws, Noise().draw(draws.shape))
    assert torch.equal(Noise(3).draw((2, 8)), Noise(3).draw((2, 8)))


def test_fresh_noise_is_released_and_no_global_seed_fixes_it() -> None:
    step, clip = Step(network(noise=0.2).build()), np.stack(list(moving(4)))
    released = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        released.append(FrameFilter(step, Noise())(clip).astype(int))
    assert 40 < np.abs(released[0] - released[1]).mean() < 80
    again = [FrameFilter(step, Noise(5))(clip) for _ in range(2)]
    assert np.array_equal(again[0], again[1])


def test_memory_is_bounded_however_long_the_video() -> None:
    taken, written = itertools.count(), []

    class Endless:
        time_base, rate, total, live, sound = Fraction(1, 25), Fraction(25), 500, False, None
        worst = 0

        def __iter__(self) -> Iterator[Frame]:
            image = np.full((24, 24, 3), WALL, np.uint8)
            for number in range(500):
                self.worst = max(self.worst, next(taken) - len(written))
                yield Frame(image, number)

    class Counting(PipeSink):
        def write(self, frame: Any) -> None:
            written.append(frame.pts)

    source = Endless()
    Recording(source, FrameFilter(Step(network().build()), Noise()), Counting(io.BytesIO())).run()
    assert written == list(range(500)) and source.worst <= CHUNK_FRAMES


# --- videos --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.avi", "in.ts"])
def test_any_container_becomes_an_mp4_of_the_same_times(tmp_path: Path, model: str, name: str) -> None:
    source, out = film(tmp_path / name), tmp_path / "out.mp4"
    assert main([str(source), str(out), "--model", model]) == 0
    times, frames = shown(out)
    assert len(times) == 24 and np.allclose(times, np.arange(24) / 12, atol=1e-3)
    assert frames.shape == (24, 24, 24, 3) and is_filtered(frames)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and float(stream.average_rate or 0) == pytest.approx(12, rel=1e-3)
        assert stream.duration is not None and stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(2, abs=1 / 12 + 1e-3)


def test_a_variable_frame_rate_stays_as_it_is(tmp_path: Path, model: str) -> None:
    pts = [0, 1, 2, 5, 9, 10, 20, 21, 33]
    source = film(tmp_path / "in.mkv", pts)
    assert main([str(source), str(tmp_path / "out.mp4"), "--model", model]) == 0
    assert np.allclose(shown(tmp_path / "out.mp4")[0], np.array(pts) / 12, atol=2e-3)


def test_nothing_tells_of_its_maker(tmp_path: Path, model: str) -> None:
    source, out = film(tmp_path / "in.mp4", sound=True), tmp_path / "out.mp4"
    assert main([str(source), str(out), "--model", model]) == 0
    assert b"Anna" in source.read_bytes() and b"Anna" not in out.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "in.mp4", "out.mp4"}
    with av.open(str(out)) as container:
        assert not container.streams.audio and len(container.streams) == 1
        assert not {"title", "artist", "location", "encoder", "creation_time"} & container.metadata.keys()


def test_sound_is_kept_only_when_asked_for(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = film(tmp_path / "in.mp4", sound=True), tmp_path / "out.mp4"
    assert main([str(source), str(out), "--model", model, "--keep-audio"]) == 0
    assert "voices identify people" in capsys.readouterr().out

    def heard(path: Path) -> list[tuple[float, bytes]]:
        with av.open(str(path)) as container:
            return [(round(float((one.pts or 0) * one.time_base), 3), bytes(one))  # pyright: ignore[reportOperatorIssue]
                    for one in container.demux(audio=0) if one.size and (one.pts or 0) >= 0]

    assert len(heard(source)) > 15 and heard(out) == heard(source)
    assert len(shown(out)[0]) == 24 and b"Anna" not in out.read_bytes()


def test_the_size_is_the_measured_one_or_by_request_the_cameras(
        tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = film(tmp_path / "in.mp4")
    assert main([str(source), str(tmp_path / "a.mp4"), "--model", model]) == 0
    said = capsys.readouterr().out
    assert "A_B_max at least 0.20, which does not count" in said and "the one 3 before it" in said
    assert main([str(source), str(tmp_path / "b.mp4"), "--model", model, "--native"]) == 0
    assert "no leakage figure covers" in capsys.readouterr().out
    assert shown(tmp_path / "a.mp4")[1].shape[1:3] == (24, 24) and shown(tmp_path / "b.mp4")[1].shape[1:3] == (48, 64)


@pytest.mark.parametrize(("fps", "frames"), [(None, 3), (12.0, 3), (24.0, 2), (4.0, 9), (120.0, 1)])
def test_frames_are_compared_over_as_much_time_as_in_training(
        tmp_path: Path, fps: float | None, frames: int, capsys: pytest.CaptureFixture[str]) -> None:
    model = ship(tmp_path / "model", network(), MEASURED.model_copy(update={"fps": fps}))
    assert main([str(film(tmp_path / "in.mp4")), str(tmp_path / "out.mp4"), "--model", model]) == 0
    assert f"the one {frames} before it ({frames / 12:.2g} s)" in capsys.readouterr().out


def test_a_leakage_that_is_a_lower_bound_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = film(tmp_path / "in.mp4")
    for bound in (True, False):
        model = ship(tmp_path / f"model-{bound}", network(), MEASURED.model_copy(update={"lower_bound": bound}))
        assert main([str(source), str(tmp_path / f"{bound}.mp4"), "--model", model]) == 0
        assert ("A_B_max at least 0.20" in capsys.readouterr().out) == bound


def test_a_filter_that_compares_no_frames_takes_no_lag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = ship(tmp_path / "model", network(motion=False)), tmp_path / "out.mp4"
    assert main([str(film(tmp_path / "in.mp4")), str(out), "--model", model, "--lag", "2"]) == 2
    assert "compares no frames: leave it out" in capsys.readouterr().err and not out.exists()


def test_a_coarse_filter_says_how_small_frames_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = network().model_copy(update={"coarse": 8})
    model = ship(tmp_path / "model", spec)
    for side, code in ((32, 2), (33, 0)):
        (tmp_path / f"in{side}").mkdir()
        for number in range(2):
            Image.new("RGB", (side, side), (90, 9 * number, 0)).save(tmp_path / f"in{side}" / f"{number}.png")
        assert main([str(tmp_path / f"in{side}"), str(tmp_path / f"out{side}"), "--native", "--model", model]) == code
        said = capsys.readouterr().err
        assert ("from 33x33 on" in said and said.count("\n") == 1) == bool(code)


def test_without_a_measured_size_nothing_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ship(tmp_path / "model", network(), measured=None)
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    assert main([str(source), str(out), "--model", model]) == 2
    assert "add --native" in capsys.readouterr().err and not out.exists()
    assert main([str(source), str(out), "--model", model, "--native"]) == 0


def test_frames_are_fitted_as_those_of_training_are(tmp_path: Path) -> None:
    from privadv.data.video import decode

    source = film(tmp_path / "in.mp4")
    images = [one.image for one in VideoSource(str(source), Scale((24, 32), (24, 24))) if isinstance(one, Frame)]
    assert np.array_equal(np.stack(images), decode(source, range(24), (24, 32))[:, :, 4:28])


def test_odd_sizes_lose_a_row_and_a_column(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", Fraction(10), Fraction(1, 10))
    for number, image in enumerate(moving(3, (33, 47))):
        sink.write(Frame(image, number))
    sink.finish()
    assert shown(tmp_path / "out.mp4")[1].shape == (3, 32, 46, 3)


# --- images, pipes, live sources ---------------------------------------------------------------------------------------------

def test_a_folder_of_images_becomes_one(tmp_path: Path, model: str) -> None:
    (tmp_path / "images").mkdir()
    for number, image in enumerate(moving(3)):
        Image.fromarray(image).save(tmp_path / "images" / f"view-{number}.{('png', 'jpg')[number % 2]}")
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    assert main([str(tmp_path / "images"), str(tmp_path / "out"), "--model", model]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["view-0.png", "view-1.png", "view-2.png"]
    frames = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())])
    assert frames.shape == (3, 24, 24, 3) and is_filtered(frames) and left(tmp_path) == {"out"}


def test_raw_frames_through_a_pipe(tmp_path: Path, model: str) -> None:
    data = b"".join(image.tobytes() for image in moving(5))
    command = [sys.executable, "-m", "privadv.filter", "-", "-", "--model", model, "--size", "64x48", "--native"]
    done = subprocess.run(command, input=data, capture_output=True, cwd=PROJECT, check=False)
    assert done.returncode == 0 and b"5 frames" in done.stderr
    assert is_filtered(np.frombuffer(done.stdout, np.uint8).reshape(5, 48, 64, 3))


def test_a_pipe_that_ends_within_a_frame() -> None:
    out, step = io.BytesIO(), Step(network().build())
    source = PipeSource(io.BytesIO(bytes(48 * 64 * 3 + 7)), (48, 64), None)
    why = Recording(source, FrameFilter(step, Noise()), PipeSink(out)).run()
    assert "ends within frame 1" in why and len(out.getvalue()) == 48 * 64 * 3
    with pytest.raises(PrivadvError, match="gave no frame"):
        Recording(PipeSource(io.BytesIO(), (48, 64), None), FrameFilter(step, Noise()), PipeSink(out)).run()


def test_a_device_by_its_input_format(tmp_path: Path, model: str) -> None:
    device = ["testsrc=size=64x48:rate=10", str(tmp_path / "out.mp4"), "--format", "lavfi"]
    assert main([*device, "--seconds", "1.5", "--model", model]) == 0
    times, frames = shown(tmp_path / "out.mp4")
    assert len(times) == 15 and is_filtered(frames)


@pytest.fixture
def broken_stream(tmp_path: Path) -> Iterator[str]:
    """A camera's address, which breaks off in the middle of the stream."""
    data = film(tmp_path / "in.ts", range(200)).read_bytes()
    (tmp_path / "in.ts").unlink()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/camera.ts"
    server.shutdown()
    server.server_close()


def test_a_stream_that_breaks_off_leaves_what_came_before(tmp_path: Path, model: str, broken_stream: str) -> None:
    assert main([broken_stream, str(tmp_path / "out.mp4"), "--model", model]) in (0, 1)
    times, frames = shown(tmp_path / "out.mp4")
    assert 50 < len(times) < 200 and is_filtered(frames)


def test_a_camera_that_is_not_there(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtsp://127.0.0.1:9/camera", str(tmp_path / "out.mp4"), "--model", model]) == 2
    assert "cannot be opened or read" in capsys.readouterr().err and not left(tmp_path)


def test_a_camera_s_password_is_not_told(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtsp://admin:hunter2@127.0.0.1:9/camera", str(tmp_path / "out.mp4"), "--model", model]) == 2
    assert capsys.readouterr().err.startswith("privadv: filter: rtsp://127.0.0.1:9/camera: cannot be opened or read (")


# --- it fails closed -----------------------------------------------------------------------------------------------------

def test_a_damaged_frame_midway_leaves_nothing(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = film(tmp_path / "in.avi", range(60), codec="mpeg4")
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    at, size = packets[40]
    data = bytearray(source.read_bytes())
    # Behind the frame's header, which might say else that the packet holds no picture, as those of whole files may.
    data[(at or 0) + 8 : (at or 0) + size] = b"\xff" * (size - 8)
    source.write_bytes(bytes(data))
    assert main([str(source), str(tmp_path / "out.mp4"), "--model", model]) == 2
    assert "damaged" in capsys.readouterr().err and not left(tmp_path)


class Spy:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.ended = ""

    def write(self, frame: Any) -> None:
        self.images.append(frame.image)

    def finish(self) -> None:
        self.ended = "finished"

    def discard(self) -> None:
        self.ended = "discarded"


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), PrivadvError("no"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", [1, 3])
def test_a_filter_that_fails_lets_nothing_through(tmp_path: Path, model: str, error: BaseException, call: int) -> None:
    step, calls = Step(open_filter(model)[0]), itertools.count(1)

    class Failing:
        needs = step.needs

        def __call__(self, *args: Any, **given: Any) -> Any:
            if next(calls) == call:
                raise error
            return step(*args, **given)

    source, spy = VideoSource(str(film(tmp_path / "in.mp4", range(60))), None), Spy()
    with pytest.raises(type(error)):
        Recording(source, FrameFilter(Failing(), Noise()), spy).run()
    assert spy.ended == "discarded" and len(spy.images) == (call - 1) * CHUNK_FRAMES
    assert not spy.images or is_filtered(np.stack(spy.images))


def test_a_filter_that_gives_the_wrong_shape_is_not_believed() -> None:
    step = Step(network().build())

    class Cropping:
        needs = step.needs

        def __call__(self, *args: Any, **given: Any) -> Any:
            released, memory = step(*args, **given)
            return released[:, :-1], memory

    with pytest.raises(PrivadvError, match="not usable"):
        FrameFilter(Cropping(), Noise())(np.stack(list(moving(2))))


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "privadv.filter", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    model = ship(tmp_path / "model", network(noise=0.3))
    source = film(tmp_path / "in.mp4", range(120))

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = start(str(source), str(tmp_path / "out.mp4"), "--model", model, "--native", preexec_fn=little_room)
    _, said = done.communicate()
    assert done.returncode == 2 and "cannot be written" in said and "Traceback" not in said and not left(tmp_path)


def begun(tmp_path: Path, model: str, *given: str) -> tuple[subprocess.Popen[str], Path]:
    """A filter at work on its output, and where that grows."""
    working = start(given[0], str(tmp_path / "out.mp4"), *given[1:], "--model", model)
    part = tmp_path / f"out.mp4.{working.pid}.part"
    deadline = time.monotonic() + 120
    while not part.exists() and working.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return working, part


def test_a_signal_ends_a_recording_of_a_camera(tmp_path: Path, model: str) -> None:
    working, part = begun(tmp_path, model, "testsrc=size=64x48:rate=10,realtime", "--format", "lavfi")
    time.sleep(1)
    working.send_signal(signal.SIGTERM)
    said = working.communicate()
    assert working.returncode == 0 and not part.exists() and is_filtered(shown(tmp_path / "out.mp4")[1]), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_file_that_is_stopped_midway_has_no_output(tmp_path: Path, model: str, number: signal.Signals) -> None:
    working, part = begun(tmp_path, model, str(film(tmp_path / "in.mp4", range(1500))))
    time.sleep(0.2)
    working.send_signal(number)
    _, said = working.communicate()
    if number == signal.SIGKILL:
        assert working.returncode == -number and left(tmp_path) == {part.name}
    else:
        assert working.returncode == 128 + number and "nothing is kept" in said and not left(tmp_path)


def test_a_signal_between_two_writes_of_a_file() -> None:
    spy, step = Spy(), Step(network().build())

    class Signalling:
        time_base, rate, total, live, sound = Fraction(1, 25), Fraction(25), 100, False, None

        def __iter__(self) -> Iterator[Frame]:
            for number, image in enumerate(moving(100)):
                if number == 50:
                    signal.raise_signal(signal.SIGTERM)
                yield Frame(image, number)

    earlier = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped):
        Recording(Signalling(), FrameFilter(step, Noise()), spy).run()
    assert spy.ended == "discarded" and signal.getsignal(signal.SIGTERM) == earlier


# --- mistakes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("arguments", "reason"), [
    (["in.mp4", "in.mp4", "--model", "model"], "is the input too"),
    (["in.mp4", "there.mp4", "--model", "model"], "add --overwrite"),
    (["in.mp4", "full", "--model", "model"], "holds files already"),
    (["in.mp4", "no/out.mp4", "--model", "model"], "make it first"),
    (["in.mp4", "out.avi", "--model", "model"], "write a .mp4"),
    (["in.mp4", "out.mp4", "--model", "nothing"], "cannot be read"),
    (["in.mp4", "out.mp4", "--model", "full"], "filter.json: cannot be read"),
    (["none.mp4", "out.mp4", "--model", "model"], "none.mp4: cannot be read"),
    (["text.mp4", "out.mp4", "--model", "model"], "is no video"),
    (["list.mp4", "out.mp4", "--model", "model"], "is no video"),
    (["full", "out", "--model", "model"], "holds no PNG or JPEG"),
    (["-", "out.mp4", "--model", "model"], "add --size"),
    (["in.mp4", "out", "--keep-audio", "--model", "model"], "--keep-audio"),
    (["in.mp4", "out.mp4", "--fps", "3", "--model", "model"], "--fps is that of raw frames or of a folder"),
    (["in.mp4", "out.mp4", "--size", "7x7", "--model", "model"], "--size is that of raw frames on a pipe"),
    (["full", "out.mp4", "--format", "nonsense", "--model", "model"], "--format is that of a device"),
    (["small", "out", "--native", "--model", "model"], "frames of 1x1 are too small for the filter ("),
])
def test_mistakes_are_told_in_one_line(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str) -> None:
    film(tmp_path / "in.mp4", range(3))
    (tmp_path / "there.mp4").write_bytes(b"precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("precious")
    (tmp_path / "text.mp4").write_text("just some words\n" * 50)
    (tmp_path / "small").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "small" / "one.png")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:3,\nin.mp4\n")
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("given", "said"), [
    (["--seconds", "nan"], "'nan' is no number of seconds"),
    (["--seconds", "0"], "'0' is no number of seconds: write one above 0"),
    (["--seconds=-1"], "'-1' is no number of seconds"),
    (["--seed", "99999999999999999999"], "'99999999999999999999' is no seed"),
    (["--lag", "99999999999999999999"], "'99999999999999999999' is no number of frames"),
    (["--fps", "1e9999999999"], "'1e9999999999' is no frame rate"),
    (["--fps", "1/100000000000000000000000"], "is no frame rate"),
    (["--fps", "0.00000000000000000000001"], "is no frame rate"),
])
def test_numbers_that_cannot_be_meant_are_refused_with_the_usage(given: list[str], said: str,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["in.mp4", "out.mp4", "--model", "model", *given])
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(("text", "rate"), [
    ("25", Fraction(25)), ("30000/1001", Fraction(30000, 1001)), ("23.976023976", Fraction(24000, 1001)),
    ("29.97002997002997", Fraction(30000, 1001)), ("12.5", Fraction(25, 2)),
])
def test_a_rate_is_the_fraction_that_was_meant(text: str, rate: Fraction) -> None:
    assert _rate(text) == rate


def test_weights_that_were_changed_are_refused(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    weights = Path(model, "filter.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main([str(film(tmp_path / "in.mp4")), str(tmp_path / "out.mp4"), "--model", model]) == 2
    assert "not the weights that filter.json names" in capsys.readouterr().err
