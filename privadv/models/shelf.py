"""Weights under a name: imported and published models in the store, which configurations refer to.

A name groups models by role: ``imagenet`` holds ``resnet_v1_50`` and others, an imported game ``degradation``, ``target`` and
``budget_0`` ... A name once given to weights stays theirs, since caches go by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.models.checkpoint import FilterRef, ReaderRef, load_tensors, save_weights
from privadv.models.reader import Published, ReaderSpec
from privadv.store import Blob, Store

NAMES, BYTES = "weights/names", "weights/bytes"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")
FREE = {"noise", "smooth", "levels", "glimpse", "dropout"}
"""Settings of a network that its weights leave open."""
READ = {"reads", "white", "statistics", "decay"}
"""Settings of a network that say how its weights are to be read."""
ALLIES = {"target", "sports1m"}
"""Roles of readers that no filter is trained against."""
S = TypeVar("S", bound=Section)


class NamedModel(Section):
    """One network: ``spec``, ``classes`` and ``weights`` of a stored model, and the ``scope`` and ``source`` it is from."""

    kind: Literal["filter", "reader"]
    spec: dict[str, Any]
    classes: int | None = None
    weights: Blob
    scope: str = ""
    source: str = ""

    def ref(self, where: str) -> FilterRef | ReaderRef:
        """The reference that rebuilds it; raises PrivadvError where the specification is none of ours."""
        facts: dict[str, Any] = {"spec": self.spec, "weights": self.weights.model_dump()}
        if self.kind == "filter":
            return FilterRef.parse(facts, where)
        return ReaderRef.parse({**facts, "classes": self.classes}, where)


class Shelf:
    """The named models of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, name: str, role: str, model: NamedModel, data: bytes) -> bool:
        """Give ``data`` a name; False where it has that name already.

        Raises:
            PrivadvError: the name is no plain one or belongs to other weights, or ``data`` are not the weights of ``model``.
        """
        where = f"{name}/{role}"
        for word in (name, role):
            if not NAME.fullmatch(word):
                raise PrivadvError(f"'{word}' is no name for weights: use small letters, digits and ._-")
        if Blob(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) != model.weights:
            raise PrivadvError(f"{where}: the weights are not those of its manifest (sha256): import them again")
        model.ref(where).rebuild(data, where)
        self.store.put(data, BYTES)
        text = model.canonical().encode()
        if self.store.create(f"{NAMES}/{where}", text):
            return True
        if self.find(name, role).weights != model.weights:
            raise PrivadvError(
                f"{where} is the name of other weights, and stays it: choose another name with --name"
            )
        return False

    def names(self) -> dict[str, NamedModel]:
        """Every named model, as ``name/role``."""
        found = {key.removeprefix(f"{NAMES}/"): self.store.read(key) for key in self.store.keys(f"{NAMES}/")}
        return {name: NamedModel.parse(text.decode(), name) for name, text in found.items() if text}

    def roles(self, name: str) -> set[str]:
        """The roles that a name has."""
        return {key.rpartition("/")[2] for key in self.store.keys(f"{NAMES}/{name}/")}

    def find(self, name: str, *roles: str) -> NamedModel:
        """The model that has the first of ``roles`` under ``name``; raises PrivadvError where there is none."""
        for role in roles:
            where = f"{name}/{role}"
            text = self.store.read(f"{NAMES}/{where}") if NAME.fullmatch(name) else None
            if text:
                return NamedModel.parse(text.decode(), where)
        raise PrivadvError(
            f"no weights named '{name}/{roles[0]}' in the store: add them with "
            f"`python -m privadv.weights add FILE --name {name}`, or see what is there with `list`"
        )

    def data(self, model: NamedModel) -> bytes:
        """Its weights as safetensors, their sha256 verified."""
        return self.store.get(model.weights, BYTES)

    def opponents(self, filter_: FilterRef) -> dict[str, str]:
        """Families of the budget models that were saved together with this very filter, by NAME/ROLE: it learned from them."""
        named = self.names()
        saved = {where: (where.partition("/")[0], model.source) for where, model in named.items()}
        games = {saved[where] for where, model in named.items() if model.weights.sha256 == filter_.weights.sha256}
        refs = {where: model.ref(where) for where, model in named.items() if saved[where] in games}
        return {
            where: ref.spec.family
            for where, ref in refs.items()
            if isinstance(ref, ReaderRef) and where.rpartition("/")[2] not in ALLIES
        }

    def imported(
        self, name: str, roles: Sequence[str], spec: S, classes: int | None = None
    ) -> tuple[S, bytes]:
        """The first of ``roles`` that ``name`` holds, as ``spec`` describes it; readers tell ``classes`` apart.

        What its weights leave open is as ``spec`` says; how they are to be read, as they were imported.

        Raises:
            PrivadvError: there are none, or they are another network's.
        """
        model = self.find(name, *roles)
        wanted, given = spec.model_dump(mode="json"), model.ref(name).spec.model_dump(mode="json")
        differ = _differences(wanted, given)
        if model.classes != classes:
            differ = [f"it tells {model.classes} classes apart, the data have {classes}"]
        if differ:
            raise PrivadvError(f"start_from: {name}/{roles[0]} is another network than the configuration's: {differ[0]}")
        return type(spec).model_validate(_merged(wanted, given)), self.data(model)


def begin(shelf: Shelf, name: str, spec: ReaderSpec, classes: int, seed: int) -> bytes:
    """A fresh reader of ``classes`` classes that has its weights from ``name``'s published ones, all but the last layer's.

    Raises:
        PrivadvError: the network has no published weights, they are not in the store, or they do not fit.
    """
    network = spec.network
    if not isinstance(network, Published):
        raise PrivadvError(f"'{network.kind}' has no published weights to begin from: choose a published network")
    where = f"{name}/{network.published}"
    tensors = load_tensors(shelf.data(shelf.find(name, network.published)), where)
    torch.manual_seed(seed)
    reader = spec.build(classes)
    _take(reader, tensors, network.head, where)
    return save_weights(reader)


def _take(reader: nn.Module, tensors: dict[str, torch.Tensor], head: tuple[str, ...], where: str) -> None:
    state = reader.state_dict()
    body = [name for name in state if not any(f".{layer}." in f".{name}." for layer in head)]
    for name in body:
        given = tensors.get(name)
        if given is None or given.shape != state[name].shape:
            found = "is missing" if given is None else f"has shape {list(given.shape)}, not {list(state[name].shape)}"
            raise PrivadvError(f"{where}: {name} {found}: these are the weights of another network")
    reader.load_state_dict({**state, **{name: tensors[name] for name in body}})


def _differences(wanted: dict[str, Any], given: dict[str, Any], path: str = "") -> list[str]:
    """Each difference that matters, as ``key: ours here, theirs there``."""
    found: list[str] = []
    for key in sorted((wanted.keys() | given.keys()) - FREE - READ):
        ours, theirs = wanted.get(key), given.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += _differences(ours, theirs, f"{path}{key}.")
        elif ours != theirs:
            found.append(f"{path}{key} is {ours} in the configuration and {theirs} in the weights")
    return found


def _merged(wanted: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = {**wanted, **{key: given[key] for key in READ & given.keys()}}
    return {k: _merged(v, given[k]) if isinstance(v, dict) and k not in FREE else v for k, v in merged.items()}
