"""Models that were trained elsewhere take a training stage's place: verified, stored as the pipeline's own, never trained."""

from __future__ import annotations

from collections.abc import Sequence

from privadv.errors import PrivadvError
from privadv.models.checkpoint import FilterRef, FilterSpec, ReaderRef, Trained
from privadv.models.reader import ReaderSpec
from privadv.models.shelf import Shelf
from privadv.store import Store


def imported_filter(store: Store, name: str, spec: FilterSpec) -> FilterRef:
    """The filter that ``name`` holds, with the release of ``spec``; raises PrivadvError where its network is another."""
    own, data = Shelf(store).imported(name, ["degradation"], spec)
    return FilterRef(spec=own, weights=store.put(data))


def imported_reader(store: Store, name: str, role: str, spec: ReaderSpec, classes: int) -> ReaderRef:
    """The reader of ``role`` (or of its network's published name) that ``name`` holds.

    Raises:
        PrivadvError: there is none, its network is not that of ``spec``, or it tells another number of classes apart.
    """
    roles = [role, *([spec.published] if spec.published else [])]
    own, data = Shelf(store).imported(name, roles, spec, classes)
    return ReaderRef(spec=own, classes=classes, weights=store.put(data))


def imported(store: Store, name: str, trained: Trained) -> Trained:
    """The models of a stage, each with the weights that ``name`` holds in its role."""
    models = {
        role: imported_filter(store, name, ref.spec)
        if isinstance(ref, FilterRef)
        else imported_reader(store, name, role, ref.spec, ref.classes)
        for role, ref in trained.models.items()
    }
    return trained.model_copy(update={"models": models})


def all_opponents_are_told(store: Store, filter_: FilterRef, budget: Sequence[ReaderRef]) -> None:
    """attack.seen names the families of the budget models that play (``budget``): an imported filter may have had no others.

    Raises:
        PrivadvError: ``filter_`` was saved with budget models of another family, whose attackers would count as unseen.
    """
    play = {ref.spec.family for ref in budget}
    others = {where: family for where, family in Shelf(store).opponents(filter_).items() if family not in play}
    if others:
        families = ", ".join(sorted(set(others.values())))
        raise PrivadvError(
            f"start_from: the filter was trained against {', '.join(others)}, too, and no {families} plays here: attackers of it "
            "would count as unseen: add these readers to pretrain_budget.readers, let them play (train_adversarial.models), and "
            f"name {families} in attack.seen"
        )
