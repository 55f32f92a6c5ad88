"""Old TensorFlow checkpoints become models of this project.

Every variable is accounted for: imported, dropped because it is known to be no part of a network, or refused by name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from safetensors.torch import save
from torch import nn

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.import_tf.checkpoint import locate, variables
from privadv.models.shelf import NamedModel
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.scopes import (
    Found,
    Options,
    Spec,
    classes_of,
    fill,
    is_scope,
    local_name,
    recognise,
    slot,
    width,
)
from privadv.models.tensorflow.transform_net import TfTransformNet
from privadv.scratch import vacant, whole_folder
from privadv.store import Blob

SHOWN = 12


class ImportedModel(NamedModel):
    """One network, whose weights lie in ``file`` beside the manifest."""

    file: str


class Imported(Section):
    """What an import leaves: models by role, and how many variables of which kind were dropped."""

    kind: Literal["imported"] = "imported"
    models: dict[str, ImportedModel]
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()


def import_checkpoints(path: Path, out: Path, options: Options | None = None) -> Imported:
    """Write ``out``/ROLE.safetensors for every network in ``path``, and ``out``/manifest.json.

    Raises:
        PrivadvError: nothing is recognised, variables are unknown or missing and not allowed, a file is damaged, or ``out``
            is there already or cannot be made.
    """
    vacant(out)
    options = options or Options()
    models: dict[str, ImportedModel] = {}
    weights: dict[str, bytes] = {}
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    for checkpoint in locate(path):
        scopes, unknown = _read(checkpoint, dropped)
        for found in scopes:
            role, spec = recognise(found, [other.scope for other in scopes], options)
            role = _numbered(role, models)
            if role in models:
                raise PrivadvError(
                    f"{path}: several checkpoints in it hold a '{role}': import them one by one"
                )
            network, missing, more = fill(found, spec)
            unknown += more
            _refuse(checkpoint, "not there", missing, options.allow_missing, "--allow-missing")
            notes += _notes(role, spec, missing)
            models[role], weights[role] = _model(role, found, spec, network)
        _refuse(checkpoint, "unknown", unknown, options.allow_unknown, "--allow-unknown")
        notes += [f"left out, as allowed: {name}" for name in unknown]
    if not models:
        raise PrivadvError(f"{path}: no network of the seed work or of slim in it: see docs/import_tf.md")
    manifest = Imported(models=models, dropped=dict(sorted(dropped.items())), notes=tuple(notes))
    with whole_folder(out) as folder:
        for role, data in weights.items():
            (folder / models[role].file).write_bytes(data)
        (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _read(checkpoint: Path, dropped: Counter[str]) -> tuple[list[Found], list[str]]:
    """The known scopes of a checkpoint, and the names that belong to none."""
    scopes: dict[str, Found] = {}
    unknown: list[str] = []
    for name, value in variables(checkpoint):
        kind = slot(name)
        scope, _, rest = name.partition("/")
        if kind:
            dropped[kind] += 1
        elif rest and is_scope(scope):
            values = scopes.setdefault(scope, Found(scope, checkpoint)).values
            # Two heads in one scope: the second keeps its own name, and is unknown.
            local = local_name(rest)
            values[rest if local in values else local] = value
        else:
            unknown.append(name)
    return sorted(scopes.values(), key=lambda found: -width(found.scope)), unknown  # the seed's first member is the widest


def _numbered(role: str, models: dict[str, ImportedModel]) -> str:
    """A budget model whose scope has no number gets the next one."""
    return f"budget_{sum(name.startswith('budget_') for name in models)}" if role == "budget" else role


def _model(role: str, found: Found, spec: Spec, network: nn.Module) -> tuple[ImportedModel, bytes]:
    # A reader holds its network under `network`, and an image network once more in what averages over the frames.
    own_filter = isinstance(spec, TfTransformNet)
    prefix = "" if own_filter else "network." if isinstance(spec, TfC3D) else "network.network."
    weights = save({f"{prefix}{name}": value.contiguous() for name, value in network.state_dict().items()})
    plain = spec.model_dump(mode="json")
    model = ImportedModel(
        kind="filter" if own_filter else "reader",
        spec=plain if own_filter else {"network": plain, "input": "plain"},
        classes=None if own_filter else classes_of(found, spec),
        weights=Blob(sha256=hashlib.sha256(weights).hexdigest(), bytes=len(weights)),
        file=f"{role}.safetensors",
        scope=found.scope,
        source=found.source.name,
    )
    return model, weights


def _refuse(checkpoint: Path, what: str, names: Iterable[str], allowed: Sequence[str], option: str) -> None:
    refused = sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in allowed))
    if refused:
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise PrivadvError(
            f"{checkpoint}: {len(refused)} variables are {what}: {', '.join(refused[:SHOWN])}{more}: "
            f"name them with {option} to go on without them"
        )


def _notes(role: str, spec: Spec, missing: Iterable[str]) -> list[str]:
    notes = [f"not in the checkpoint, left at its first value: {name}" for name in missing]
    if getattr(spec, "statistics", "") == "batch":
        notes.append(
            f"{role} normalises by each batch's own statistics: its moving averages were never updated"
        )
    return notes
