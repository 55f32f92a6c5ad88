"""Who attacks: the suite of a run, what each of its attackers starts from, and what an honest suite must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import pydantic

from privadv.config import Section
from privadv.evaluation.paper import Paper
from privadv.evaluation.results import ALIKE, ALONE, ReaderResult, Start, on_raw
from privadv.evaluation.rows import is_control, of_filter
from privadv.models.reader import ReaderSpec
from privadv.training import FitConfig


class AttackerSpec(Section):
    """One attacker of the suite: a reader, what it makes of its raw-trained self, and its training where it has its own."""

    reader: ReaderSpec
    start: Start = "warm"
    fit: FitConfig | None = None

    @property
    def name(self) -> str:
        """Such as ``resnet/adaptive/warm``."""
        return f"{self.reader.label}/{self.reader.input}/{self.start}"


class Finals(Section):
    """The second round of an attack: the target, the attackers ``always`` and the ``best`` of the others by validation go on
    for ``fit``.

    Twelve attackers with ten times the updates cost ten times as much; the few that read best after the first round are the ones
    that more updates help. Where none has read anything yet, being best is luck: ``always`` names those that every row meets.
    ``fit`` begins where the first round ended, with a learning rate that rises anew.
    """

    best: int = pydantic.Field(default=2, ge=1)
    always: tuple[str, ...] = ()
    fit: FitConfig = FitConfig()


class Suite(Section):
    """Who attacks, with how many updates, and what counts as converged.

    ``raw_fit`` trains on raw video, ``fit`` on every other row; ``finals`` is a second, longer round of the best on the rows that
    the whole suite attacks, null for none. ``strongest`` > 0 sends only that many attackers, the best by
    validation on raw video, against rows not in ``full_rows``, but for other forms of the filter; ``chosen`` names the
    attackers of single rows instead: a control that some of the suite read is read by the suite. ``seen`` names the families of
    the game's budget models. ``converged`` is the least accuracy on its own training clips of an attacker that counts as
    evidence.
    ``profile`` paper is the seed work's protocol, whatever else stands here of who attacks (``attackers``, ``chosen``,
    ``strongest``, ``finals``): the ten that ``paper`` makes go against every row, once. Fewer than two unseen families are
    allowed then, which the report says. ``target_init`` names published weights that the target of the raw row
    starts from, such as sports1m.
    """

    profile: Literal["honest", "paper"] = "honest"
    paper: Paper = Paper()
    target: ReaderSpec
    target_init: str | None = None
    attackers: tuple[AttackerSpec, ...] = ()
    raw_fit: FitConfig = FitConfig()
    fit: FitConfig = FitConfig()
    finals: Finals | None = None
    seen: tuple[str, ...] = ()
    full_rows: tuple[str, ...] = ("raw", "filter", "planted:spatial", "planted:temporal")
    chosen: dict[str, tuple[str, ...]] = {}
    strongest: int = pydantic.Field(default=0, ge=0)
    converged: float = pydantic.Field(default=0.8, gt=0, le=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _ten(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("profile") != "paper":
            return data
        try:
            ten = Paper.model_validate(data.get("paper", {})).attackers()
        except pydantic.ValidationError:  # told again by the field itself, under its own key
            return data
        return {**data, "attackers": ten, "chosen": {}, "strongest": 0, "finals": None}

    @pydantic.model_validator(mode="after")
    def _honest(self) -> Self:
        families = {attacker.reader.family for attacker in self.attackers}
        if len(self.attackers) < 4 or len(families) < 2:
            raise ValueError("attackers: a row needs at least four attackers of at least two families")
        names = [attacker.name for attacker in self.attackers]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(
                f"attackers {sorted(doubled)} stand twice: give each reader, input and start once"
            )
        if not {"raw", "filter"} <= set(self.full_rows):
            raise ValueError("full_rows must name raw and filter: both are attacked by the whole suite")
        unplanted = [row for row in self.chosen if not is_control(row)]
        if unplanted:
            raise ValueError(f"chosen names {unplanted}: single attackers are for the controls only")
        strangers = {name for row in self.chosen.values() for name in row} - set(names)
        if strangers or not all(self.chosen.values()):
            raise ValueError(f"chosen names {sorted(strangers) or 'nobody'}: choose among {', '.join(names)}")
        lasting = [attacker.name for attacker in self.attackers if attacker.start in ALONE]
        passing = [name for name in self.finals.always if name not in lasting] if self.finals else []
        if passing:
            raise ValueError(f"finals.always names {passing}: choose among {', '.join(lasting)}")
        unpublished = [one.name for one in self.attackers if one.start == "imagenet" and not one.reader.published]
        if unpublished:
            raise ValueError(f"attackers {unpublished} have no published weights to start from: give another start")
        if len(families - set(self.seen)) < 2 and self.profile == "honest":
            raise ValueError(
                f"at least two attacker families must be unseen in training (seen: {', '.join(self.seen)})"
            )
        return self

    def against(self, row: str, raw: Sequence[ReaderResult]) -> list[AttackerSpec]:
        """The attackers that go against ``row``, given what they reached on raw video: there, before anything is known."""
        if row == "raw":
            return self.raw_attackers()
        if row in self.chosen:
            return [attacker for attacker in self.attackers if attacker.name in self.chosen[row]]
        if self._whole(row):
            return list(self.attackers)
        reached = {result.name: (result.validation, -result.train_loss) for result in raw}
        different = {on_raw(attacker.name): attacker for attacker in reversed(self.attackers)}
        ranked = sorted(different, key=lambda name: reached.get(name, (0.0, 0.0)), reverse=True)
        return [different[name] for name in ranked[: self.strongest]]

    def goes_on(self, row: str) -> Finals | None:
        """The second round against ``row``, if there is one. Whoever starts from a reader of raw video starts from its first."""
        return self.finals if row not in self.chosen and self._whole(row) else None

    def _whole(self, row: str) -> bool:
        return not self.strongest or row in self.full_rows or of_filter(row)

    def raw_attackers(self) -> list[AttackerSpec]:
        """On raw video every reader is trained once, from scratch or published weights: there is nothing else to start from."""
        readers: dict[str, AttackerSpec] = {}
        for attacker in map(_on_raw, self.attackers):
            if attacker.name not in readers or attacker.fit:
                readers[attacker.name] = attacker
        return list(readers.values())


def _on_raw(attacker: AttackerSpec) -> AttackerSpec:
    """Its training on raw video is its own where it starts alike on every row."""
    if attacker.start in ALIKE:
        return attacker
    return attacker.model_copy(update={"start": "scratch", "fit": None})
