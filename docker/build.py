"""Builds every image with `docker buildx bake` or `podman build`, and writes down where each one lies.

    python3 docker/build.py [--version v1] [--registry registry.example/team [--push]] [-- OPTIONS OF THE BUILDER]

build/images.json then names the image of every component: {"privadv/extract":
"registry.example/team/privadv/extract@sha256:..."} once a registry has told the digest, a tag before that.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = ("extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate", "mlflow")
ARGUMENTS = ("base_image", "accelerator", "version", "revision")


def main() -> int:
    options = _parser().parse_args()
    if options.push and not options.registry:
        return _fail("name the registry to push to: --registry registry.example/team")
    for name in ("pip_config", "ca_bundle"):
        path = getattr(options, name)
        if path and not Path(path).is_file():
            return _fail(f"--{name.replace('_', '-')} {path}: there is no such file")
    options.builder = options.builder or _installed()
    if not options.builder:
        return _fail("no builder is installed: Docker with buildx, or podman")
    try:
        placed = _bake(options) if options.builder == "docker" else _podman(options)
    except FileNotFoundError as error:
        return _fail(f"{error.filename} is not installed: choose another --builder")
    except subprocess.CalledProcessError as error:
        # The builder has said why.
        return _fail(f"{' '.join(map(str, error.cmd[:3]))} failed with exit code {error.returncode}")
    written = PROJECT / "build" / "images.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps(placed, indent=2) + "\n", encoding="utf-8")
    for image in placed.values():
        print(image)
    return 0


def _bake(options: argparse.Namespace) -> dict[str, str]:
    """All images at once, by docker/docker-bake.hcl, whose variables come from the environment."""
    results = PROJECT / "build" / "bake.json"
    results.parent.mkdir(exist_ok=True)
    secrets = [part for secret in _secrets(options) for part in ("--set", f"*.secrets={secret}")]
    variables = [f"{name.upper()}={getattr(options, name)}" for name in (*ARGUMENTS, "registry")]
    _run(["env", *variables, "docker", "buildx", "bake", "-f", "docker/docker-bake.hcl", *secrets,
          "--push" if options.push else "--load", "--metadata-file", results, *options.further])
    built = json.loads(results.read_text(encoding="utf-8"))
    digests = {image: built.get(image, {}).get("containerimage.digest", "") for image in IMAGES}
    return {f"privadv/{image}": _placed(options, image, digests[image] if options.push else "")
            for image in IMAGES}


def _podman(options: argparse.Namespace) -> dict[str, str]:
    """One image after the other; what they share comes from the layers of the first."""
    arguments = [part for name in ARGUMENTS
                 for part in ("--build-arg", f"{name.upper()}={getattr(options, name)}")]
    # Again, because podman's cache takes a LABEL for the same whatever its arguments are.
    labels = [part for name in ("version", "revision")
              for part in ("--label", f"org.opencontainers.image.{name}={getattr(options, name)}")]
    secrets = [part for secret in _secrets(options) for part in ("--secret", secret)]
    placed = {}
    for image in IMAGES:
        print(f"privadv/{image}: building", flush=True)
        _run(["podman", "build", "-f", "docker/Dockerfile", "--target", image, "--format", "oci",
              "--tag", _tag(options, image), *arguments, *labels, *secrets, *options.further, "."])
    for image in IMAGES:
        placed[f"privadv/{image}"] = _placed(options, image, _pushed(options, image) if options.push else "")
    return placed


def _pushed(options: argparse.Namespace, image: str) -> str:
    told = PROJECT / "build" / "digest"
    told.parent.mkdir(exist_ok=True)
    told.unlink(missing_ok=True)
    # TLS is podman's default; its registries.conf names the registries that have none.
    _run(["podman", "push", "--digestfile", told, _tag(options, image)])
    return told.read_text(encoding="ascii").strip() if told.is_file() else ""


def _placed(options: argparse.Namespace, image: str, digest: str) -> str:
    return f"{_name(options, image)}@{digest}" if digest else _tag(options, image)


def _tag(options: argparse.Namespace, image: str) -> str:
    return f"{_name(options, image)}:{options.version}"


def _name(options: argparse.Namespace, image: str) -> str:
    # podman would say localhost for nothing, and its API look for a name without a host at Docker Hub.
    host = options.registry or ("localhost" if options.builder == "podman" else "")
    return f"{host}/privadv/{image}" if host else f"privadv/{image}"


def _secrets(options: argparse.Namespace) -> list[str]:
    files = {"pip": options.pip_config, "ca": options.ca_bundle}
    return [f"id={name},src={Path(path).resolve()}" for name, path in files.items() if path]


def _installed() -> str:
    if shutil.which("docker") and not subprocess.run(
            ["docker", "buildx", "version"], capture_output=True, check=False).returncode:
        return "docker"
    return "podman" if shutil.which("podman") else ""


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, cwd=PROJECT, check=True)


def _fail(why: str) -> int:
    print(f"privadv: {why}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="docker/build.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builder", choices=("docker", "podman"), help="default: docker where it has buildx")
    parser.add_argument("--registry", default="", help="before every image's name")
    parser.add_argument("--push", action="store_true", help="to the registry, which tells the digests")
    parser.add_argument("--version", default="unknown", help="the tag")
    parser.add_argument("--revision", default="unknown", help="the commit, for a label")
    parser.add_argument("--base-image", default="python:3.11-slim-bookworm", help="with Python 3.11")
    parser.add_argument("--accelerator", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--pip-config", default="", help="a pip.conf for the build alone")
    parser.add_argument("--ca-bundle", default="", help="certificates for the build alone, /run/secrets/ca there")
    parser.add_argument("further", nargs="*", help="options for the builder, after --")
    return parser


if __name__ == "__main__":
    sys.exit(main())
