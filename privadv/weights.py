"""Weights that configurations refer to by name: ``python -m privadv.weights add FILE [--name NAME]`` and ``list``."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from privadv.console import say
from privadv.errors import PrivadvError, exit_code
from privadv.import_tf import Imported, import_checkpoints
from privadv.models.checkpoint import Trained, load_tensors, save_weights
from privadv.models.library import VIDEO, Name, Torchvision
from privadv.models.reader import ReaderSpec
from privadv.models.shelf import NamedModel, Shelf
from privadv.place import workspace
from privadv.reports import REPORT
from privadv.scratch import scratch
from privadv.store import Blob, Store
from privadv.workspace import Workspace, with_store

IMAGENET, SPORTS1M = "imagenet", "sports1m"
LIBRARY: tuple[Name, ...] = typing.get_args(Name)
Found = dict[str, tuple[NamedModel, bytes]]
"""Models by role, with their weights as safetensors."""


def read(path: Path, network: str | None = None) -> Found:
    """What ``path`` holds: an import's manifest, a TensorFlow checkpoint or a folder of them, or a library network's weights.

    ``network`` names the torchvision network whose weights a safetensors file holds; where ``path`` is such a name itself and
    no file, torchvision downloads its weights.

    Raises:
        PrivadvError: nothing of the kind is there, or a file is damaged or another network's.
    """
    if not path.exists():
        if str(path) in LIBRARY:
            return _library(str(path), _download(str(path)), f"torchvision's {path}")
        raise PrivadvError(f"{path}: no such file, and no network of torchvision ({', '.join(LIBRARY)}): check the path")
    manifest = path / "manifest.json" if path.is_dir() else path
    if manifest.name == "manifest.json" and manifest.exists():
        return _imported(manifest)
    if path.suffix == ".safetensors":
        if network is None:
            if (path.parent / REPORT).exists():
                raise PrivadvError(f"{path}: is the filter of a run: add its folder, {path.parent}, which tells the whole game")
            raise PrivadvError(f"{path}: of which network? add --network NAME, one of {', '.join(LIBRARY)}")
        return _library(network, load_tensors(path.read_bytes(), str(path)), path.name)
    if path.suffix in (".pth", ".pt"):
        raise PrivadvError(f"{path}: a pickle can run code when it is opened: convert it to safetensors first")
    with scratch() as folder:
        import_checkpoints(path, folder / "import")
        return _imported(folder / "import" / "manifest.json")


def _imported(manifest: Path) -> Found:
    try:
        facts = Imported.parse(manifest.read_text(encoding="utf-8"), str(manifest))
        found = {role: (model, (manifest.parent / model.file).read_bytes()) for role, model in facts.models.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise PrivadvError(f"{manifest}: the import cannot be read ({error}): import the checkpoint again") from None
    if not found:
        raise PrivadvError(f"{manifest}: the import holds no model: import the checkpoint again")
    return {role: (NamedModel(**model.model_dump(exclude={"file"})), data) for role, (model, data) in found.items()}


def _library(name: str, tensors: dict[str, Tensor], source: str) -> Found:
    if name not in LIBRARY:
        raise PrivadvError(f"--network {name}: choose one of {', '.join(LIBRARY)}")
    network = Torchvision(name=name)
    last = tensors.get(f"{network.head[0]}.weight")
    if last is None or not last.ndim:
        raise PrivadvError(f"{source}: not the weights of {name} (they lack its last layer): check --network")
    spec = ReaderSpec(network=network)
    reader = spec.build(len(last))
    inner = reader.get_submodule("network.network" if name in VIDEO else "network.network.network")
    try:
        inner.load_state_dict({_today(key): value for key, value in tensors.items() if not key.startswith("aux")})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise PrivadvError(f"{source}: not the weights of {name} ({reason}): check --network") from None
    data = save_weights(reader)
    blob = Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    plain = spec.model_dump(mode="json")
    return {name: (NamedModel(kind="reader", spec=plain, classes=len(last), weights=blob, source=source), data)}


def _today(key: str) -> str:
    """A parameter's name; those of DenseNets changed after their weights were published."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def _download(name: str) -> dict[str, Tensor]:
    url = list(get_model_weights(name))[-1].url
    try:
        with scratch() as folder:
            return torch.hub.load_state_dict_from_url(url, str(folder), progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise PrivadvError(
            f"{name}: torchvision's weights cannot be downloaded ({' '.join(str(error).split())[:120]}): get {url} elsewhere, "
            f"convert it to safetensors and add that file with --network {name}"
        ) from None


def played(store: Store, folder: Path) -> Found:
    """The filter, target and budget models of the game that a run of this store played; ``folder`` holds its report.json.

    Raises:
        PrivadvError: it is no report, or one of several seeds, or the store lacks its models.
    """
    manifest = folder / REPORT
    try:
        evidence = [Blob.model_validate(blob) for blob in json.loads(manifest.read_text(encoding="utf-8"))["evidence"]]
        if len(evidence) > 1:
            raise PrivadvError(f"{manifest}: is of several seeds, each with a filter of its own: name one seed's folder")
        # Its stages alone: what else a report says may be of another version.
        stages = json.loads(_stored(store, evidence[0], manifest))["stages"]
        game = Trained.model_validate(next(stage for stage in stages if stage["stage"] == "train_adversarial"))
    except (OSError, ValueError, TypeError, LookupError, StopIteration) as error:
        raise PrivadvError(f"{manifest}: is no report of a run ({' '.join(str(error).split())[:120]}): check the path") from None
    return {
        role: (
            NamedModel(kind=ref.kind, spec=ref.spec.model_dump(mode="json"), classes=getattr(ref, "classes", None),
                       weights=Blob(sha256=ref.weights.sha256, bytes=ref.weights.bytes), source=folder.name),
            _stored(store, ref.weights, manifest),
        )
        for role, ref in game.models.items()
    }  # fmt: skip


def _stored(store: Store, blob: Blob, report: Path) -> bytes:
    if not store.entry(blob.key):
        raise PrivadvError(f"{report}: the store here lacks what its game left: name the workspace that played it, or play it "
                           f"again (the filter alone: privadv filter --model {report.parent})")
    return store.get(blob)


def usual_name(path: Path, found: Found) -> str:
    """``imagenet`` for networks of slim or torchvision alone, ``sports1m`` for that, else the path's own name.

    Raises:
        PrivadvError: a model's specification is none of ours.
    """
    published = [ReaderSpec.parse(m.spec, f"{path}, {role}").published if m.kind == "reader" else ""
                 for role, (m, _) in found.items()]
    if all(name and name == role for name, role in zip(published, found, strict=True)):
        return SPORTS1M if published == [SPORTS1M] else IMAGENET
    return (path.parent if path.name == "manifest.json" else path).resolve().stem.lower()


def add(shelf: Shelf, path: Path, name: str | None, network: str | None = None) -> list[str]:
    """Give what ``path`` holds a name in the store; the names, as NAME/ROLE."""
    found = played(shelf.store, path) if (path / REPORT).exists() else read(path, network)
    name = name or usual_name(path, found)
    for role, (model, data) in found.items():
        new = shelf.add(name, role, model, data)
        say(f"{name}/{role}: {_line(model)}{'' if new else ' (was there already)'}")
    return [f"{name}/{role}" for role in found]


def show(shelf: Shelf) -> None:
    """A line for each named model."""
    named = shelf.names()
    for name, model in named.items():
        say(f"{name}: {_line(model)}")
    if not named:
        say("no weights yet: python -m privadv.weights add FILE")


def _line(model: NamedModel) -> str:
    network = model.spec.get("network", model.spec)
    facts = [network.get("name") or network["kind"], f"{model.classes} classes" if model.classes else "filter"]
    origin = " of ".join(filter(None, (model.scope, model.source)))
    return f"{', '.join(facts)}, {model.weights.bytes / 1e6:.1f} MB, sha256 {model.weights.sha256[:12]}, from {origin}"


@contextmanager
def opened(folder: Path) -> Iterator[Shelf]:
    """The named weights of a workspace, or of the server that PRIVADV_S3_ENDPOINT names."""
    with Workspace(folder) as workspace:
        yield Shelf(Store.from_environment(workspace.environment()))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m privadv.weights", description=__doc__)
    parser.add_argument("--workspace", type=Path, default=workspace(), help="where runs of this machine live")
    commands = parser.add_subparsers(required=True, metavar="add|list", dest="command")
    more = commands.add_parser("add", help="store weights under a name")
    more.add_argument("file", type=Path, help="the folder of a run's report, an import's folder or manifest, a TensorFlow "
                      "checkpoint or a folder of such, a safetensors file of torchvision, or the name of a torchvision network "
                      "to download")
    more.add_argument("--name", help="what configurations call them; usual: imagenet, sports1m, or the file's name")
    more.add_argument("--network", help="the torchvision network that a safetensors file belongs to")
    commands.add_parser("list", help="what is stored")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _arguments(arguments)
    return exit_code("weights", lambda: _answer(given))


def _answer(given: argparse.Namespace) -> None:
    # Adding makes a workspace where there is none; looking does not.
    with opened(with_store(given.workspace) if given.command == "list" else given.workspace) as shelf:
        if given.command == "add":
            add(shelf, given.file, given.name, given.network)
        else:
            show(shelf)


if __name__ == "__main__":
    sys.exit(main())
