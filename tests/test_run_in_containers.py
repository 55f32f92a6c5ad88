"""`pipeline.py run --runner docker` short of an engine: what it asks of one, and what it says without one."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from kfp.local import docker_task_handler

import pipeline
from components.containers import Containers
from components.launcher import Child
from privadv.errors import PrivadvError

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = {f"privadv/{name}": f"localhost/privadv/{name}:v1"
          for name in ("extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate")}
COMMAND = ["sh", "-ec", "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main", "python3 as an argument"]


class Container:
    """One that has said something and ended; its stream ends after ``streamed`` of what it said."""

    def __init__(self, log: list[bytes], code: int, streamed: int | None = None) -> None:
        self._log, self._code, self._streamed, self.removed = log, code, streamed, False

    def logs(self, stream: bool = False, **_: Any) -> Iterator[bytes] | bytes:
        return iter(self._log[: self._streamed]) if stream else b"".join(self._log)

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self._code}

    def remove(self, **_: Any) -> None:
        self.removed = True


class Engine:
    """A client whose containers have all ended."""

    def __init__(self, log: list[bytes], code: int, streamed: int | None = None) -> None:
        self.containers, self.made, self.calls = self, Container(log, code, streamed), []

    def run(self, image: str, command: list[str], **options: Any) -> Container:
        self.calls.append((image, command, options))
        return self.made


def play(engine: Any) -> tuple[int, list[str]]:
    """The exit code and the lines of a stage that ``engine`` runs."""
    said: list[str] = []

    def played(child: Child) -> int:
        code = child.wait()
        said.extend(child.lines())
        child.close()
        return code

    owner, name, run = Containers(IMAGES, []).seam(played, "scratch")
    assert getattr(owner, name) and owner is docker_task_handler
    return run(engine, image="privadv/extract", command=COMMAND, volumes={}, read_only=True), said


@pytest.mark.parametrize(("code", "told"), [(0, 0), (2, 2), (137, -signal.SIGKILL), (139, -signal.SIGSEGV)])
def test_a_stage_s_exit_code_is_its_container_s(code: int, told: int) -> None:
    engine = Engine([], code)
    assert play(engine)[0] == told
    ((image, command, options),) = engine.calls
    assert image == "localhost/privadv/extract:v1" and engine.made.removed
    assert command[2] == "exec env _KFP_RUNTIME=true python3 -m kfp.dsl.executor_main" and command[3] == COMMAND[3]
    # The engine must not take the exit code away with the container.
    assert "auto_remove" not in options and options["detach"] and options["read_only"]


def test_its_log_is_whole_lines_however_it_comes() -> None:
    log = [b"one\ntw", b"o\nz\xc3", b"\xbcrich\n\xff", b"end"]
    assert play(Engine(log, 0))[1] == ["one\n", "two\n", "zürich\n", "\N{REPLACEMENT CHARACTER}end\n"]


@pytest.mark.parametrize("streamed", [0, 1, 2, 3])
def test_what_the_stream_left_out_is_said_at_the_end(streamed: int) -> None:
    log = [b"started\n", b"privadv: ", b"no such key\n"]
    assert play(Engine(log, 2, streamed)) == (2, ["started\n", "privadv: no such key\n"])


def test_an_engine_that_fails_is_named() -> None:
    class Failing:
        @property
        def containers(self) -> Any:
            raise APIError("no space left on device")

    with pytest.raises(PrivadvError, match=r"the container engine failed .*no space left"):
        play(Failing())


def test_containers_get_the_network_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    monkeypatch.setenv("PRIVADV_WORKSPACE", "/home/somebody")
    monkeypatch.setenv("SOMETHING_PRIVATE", "secret")
    given = Containers(IMAGES, [Path("/videos")]).runner(tmp_path).container_run_args
    assert given["read_only"] and given["cap_drop"] == ["ALL"] and given["security_opt"] == ["no-new-privileges"]
    assert given["environment"]["AWS_SECRET_ACCESS_KEY"] == "key"
    assert not {"PRIVADV_WORKSPACE", "SOMETHING_PRIVATE"} & given["environment"].keys()
    temporary, videos = given["mounts"]
    assert temporary["Target"] == "/tmp" and temporary["Type"] == "volume"
    assert videos["Target"] == "/videos" and videos["ReadOnly"]
    assert given["user"] == (f"{os.getuid()}:{os.getgid()}" if os.getuid() else None)


def test_a_run_that_cannot_begin_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str, runner: str = "docker") -> str:
        command = ["pipeline.py", "run", "--runner", runner, "--config", str(PROJECT / "configs" / "smoke.yaml")]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        assert pipeline.main() == 2
        said = capsys.readouterr()
        assert said.out == "" and len(said.err.splitlines()) == 1
        return said.err

    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path / "workspace"))
    images, nobody = tmp_path / "images.json", f"unix://{tmp_path}/none.sock"
    assert "is not there: build the images with `make images`" in refused("--images", str(images))
    images.write_text("[]")
    assert "names no images" in refused("--images", str(images))
    images.write_text(json.dumps({"privadv/extract": "privadv/extract:v1"}))
    assert "names no image for pretrain-degradation" in refused("--images", str(images))
    images.write_text(json.dumps(IMAGES))
    assert "only --runner docker runs in images" in refused("--images", str(images), runner="process")
    elsewhere = ("--set", "extract_frames.dataset=sbu", "--set", "extract_frames.root=videos")
    said = refused(*elsewhere, "--images", str(images))
    assert "extract_frames.root = 'videos': containers need the absolute path of something that exists" in said
    monkeypatch.setenv("DOCKER_HOST", nobody)
    assert "no container engine answers at unix://" in refused("--images", str(images))


def test_containers_are_given_all_that_a_run_reads_here(tmp_path: Path) -> None:
    videos, photos, attacked, boxes = (tmp_path / name for name in ("videos", "photos", "attacked", "boxes.json"))
    for folder in (videos, photos, attacked):
        folder.mkdir()
    boxes.write_text("{}")
    config = pipeline.load(PROJECT / "configs" / "hmdb51_pa_kbeam.yaml", [
        f"extract_frames.root={videos}", f"extract_frames.private.root={photos}",
        f"extract_frames.private.test.root={attacked}",
        f"render.masking={{boxes: {boxes}, resize: [120, 160]}}"], None)  # fmt: skip
    assert pipeline.read_here(config) == sorted([videos, photos, attacked, boxes])
    boxes.unlink()
    with pytest.raises(PrivadvError, match=r"render\.masking\.boxes"):
        pipeline.read_here(config)
