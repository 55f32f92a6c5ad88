"""A stage as a container of its image: by Docker, or by podman behind the same socket."""

import codecs
import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import docker
import kfp.local
import requests
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import Mount
from kfp.local import docker_task_handler

from components.launcher import Child, Seam
from components.processes import python_command
from privadv.cluster import IMAGES
from privadv.errors import PrivadvError

# What a pod of the pipeline is given too; the rest of this machine's environment stays here.
PASSED_ON = ("PRIVADV_RUN", "PRIVADV_S3_ENDPOINT", "PRIVADV_S3_BUCKET", "PRIVADV_S3_REGION", "PRIVADV_WORKERS",
             "PRIVADV_TRACKING_WAIT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
             "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME",
             "MLFLOW_TRACKING_PASSWORD", "MLFLOW_EXPERIMENT_NAME", "PRIVADV_DETERMINISTIC", "OMP_NUM_THREADS")
SHARED_MEMORY = "8g"
LABEL = "privadv.image"
LOST = DockerException, requests.RequestException


class Containers:
    """Starts stages as pods of the cluster are: not as root, on a read-only file system, without capabilities.

    They see of this machine its network, ``folders``, read-only, and the folder of the run's manifests. S3 and
    MLflow must therefore be reached by network.
    """

    def __init__(self, images: Mapping[str, str], folders: Sequence[Path]) -> None:
        self._images, self._folders = images, folders

    @classmethod
    def open(cls, images: Path, folders: Sequence[Path]) -> Self:
        """Read which images there are, and see that an engine has them.

        Raises:
            PrivadvError: ``images`` is missing or bad, no engine answers, or an image is not there.
        """
        try:
            named = json.loads(images.read_text(encoding="utf-8"))
            references = {str(image): str(reference) for image, reference in named.items()}
        except FileNotFoundError:
            raise PrivadvError(f"{images} is not there: build the images with `make images`") from None
        except (OSError, ValueError, AttributeError) as error:
            raise PrivadvError(f"{images} names no images ({error}): write it with `make images`") from None
        if missing := [image for image in IMAGES if f"privadv/{image}" not in references]:
            raise PrivadvError(f"{images} names no image for {', '.join(missing)}: write it with `make images`")
        with _engine() as engine:
            for image in IMAGES:
                _require(engine, references[f"privadv/{image}"])
        return cls(references, folders)

    def runner(self, root: Path) -> kfp.local.DockerRunner:
        environment = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        return kfp.local.DockerRunner(
            environment=environment, network_mode="host", read_only=True, cap_drop=["ALL"],
            security_opt=["no-new-privileges"], shm_size=SHARED_MEMORY, user=_user(root),
            # A volume of its own, because /tmp takes clips that would not fit into memory.
            mounts=[Mount("/tmp", None), *_bound(self._folders)])

    def seam(self, play: Callable[[Child], int], scratch: str) -> Seam:
        def run(client: docker.DockerClient, image: str, command: list[str], **options: Any) -> int:
            # Not kfp's own function: it lets the engine remove the container, and reports success when the
            # exit code went with it.
            options |= {"detach": True, "labels": {LABEL: image}}
            try:
                return play(_Stage(client.containers.run(
                    self._images[image], python_command(command, "python3"), **options)))
            except LOST as error:
                raise PrivadvError(f"the container engine failed ({_short(error)}): look at its log") from None

        return docker_task_handler, "run_docker_container", run


class _Stage:
    def __init__(self, container: Container) -> None:
        self._container = container

    def lines(self) -> Iterator[str]:
        decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
        try:
            for part in self._log():
                *lines, rest = (rest + decoder.decode(part)).split("\n")
                yield from (line + "\n" for line in lines)
        except LOST as error:
            rest += f"(the engine gives no more of its log: {_short(error)})"
        if rest:
            yield rest + "\n"

    def _log(self) -> Iterator[bytes]:
        """All that the container says, as it says it."""
        seen = 0
        for part in self._container.logs(stream=True, follow=True):
            seen += len(part)
            yield part
        # podman may end the stream before the last line, which is the one that says what went wrong.
        self._container.wait()
        yield self._container.logs()[seen:]

    def signal(self, number: int) -> None:
        # Signal handlers come here, while this thread may hold a lock of the client's.
        threading.Thread(target=self._kill, args=(number,), daemon=True).start()

    def _kill(self, number: int) -> None:
        with contextlib.suppress(*LOST):  # it has ended
            self._container.kill(signal=number)

    def wait(self) -> int:
        code = self._container.wait()["StatusCode"]
        return 128 - code if code > 128 else code

    def close(self) -> None:
        self._container.remove(v=True, force=True)


@contextlib.contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    try:
        with contextlib.closing(docker.from_env()) as engine:
            engine.ping()
            yield engine
    except LOST as error:
        where = os.environ.get("DOCKER_HOST") or "its usual socket"
        raise PrivadvError(f"no container engine answers at {where} ({_short(error)}): start Docker, or podman "
                           "with `podman system service` and set DOCKER_HOST") from None


def _require(engine: docker.DockerClient, reference: str) -> None:
    try:
        engine.images.get(reference)
    except ImageNotFound:
        raise PrivadvError(f"the image {reference} is not on this machine: pull it, or `make images`") from None


def _user(root: Path) -> str | None:
    """As whom a stage runs: whoever runs the pipeline, so that its files are theirs; but never as root."""
    if os.getuid():
        return f"{os.getuid()}:{os.getgid()}"
    # The image's own user writes there; the workspace above is for root only.
    root.chmod(0o777)
    return None


def _bound(folders: Sequence[Path]) -> list[Mount]:
    return [Mount(str(folder), str(folder), type="bind", read_only=True) for folder in folders]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
