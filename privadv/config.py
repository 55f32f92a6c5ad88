"""The ground every configuration and manifest stands on: frozen pydantic sections that refuse unknown keys."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
import yaml

from privadv.errors import PrivadvError

LARGEST_SEED = 2**32 - 1
"""That of scikit-learn, which draws the trees that look for leaking colours."""
Seed = Annotated[int, pydantic.Field(ge=0, le=LARGEST_SEED)]


class Section(pydantic.BaseModel):
    """A frozen group of settings or facts. Equal content gives an equal :meth:`digest`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _switches_are_no_numbers(cls, data: Any, taken_as: pydantic.ModelWrapValidatorHandler[Self]) -> Self:
        section = taken_as(data)
        for key, value in data.items() if isinstance(data, dict) else ():
            if _switch_for_number(value, getattr(section, key)):
                raise ValueError(f"{key} is yes or no: a number is needed")
        return section

    @classmethod
    def parse(cls, data: dict[str, Any] | str, where: str) -> Self:
        """Validate ``data`` (a mapping or JSON text); ``where`` names its origin in the error.

        Raises:
            PrivadvError: one line with the dotted key, the offending value and what was expected.
        """
        try:
            return cls.model_validate_json(data) if isinstance(data, str) else cls.model_validate(data)
        except pydantic.ValidationError as error:
            raise PrivadvError(f"{where}: {_first_problem(error, data)}") from None

    def canonical(self) -> str:
        """The content as compact JSON with sorted keys: equal sections give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """sha256 (hex) of :meth:`canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _switch_for_number(given: Any, taken: Any) -> bool:
    """Whether yes or no was ``taken`` for a number, by itself or in a list."""
    if isinstance(given, list | tuple) and isinstance(taken, list | tuple):
        return any(map(_switch_for_number, given, taken))
    return isinstance(given, bool) and isinstance(taken, int | float) and taken is not given


def _first_problem(error: pydantic.ValidationError, data: dict[str, Any] | str) -> str:
    problems = error.errors()
    first = problems[0]
    key, kind = _written(first["loc"], data, first["type"] != "value_error")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        unknown = [f"'{_written(one['loc'], data)[0]}'" for one in problems if one["type"] == "extra_forbidden"]
        what = f"unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}"
        if kind:
            return f"{what}: kind '{kind}' has none such: check the spelling, or give the whole section, such as {{kind: {kind}}}"
        return f"{what}: remove it or check its spelling"
    if first["type"] == "missing":
        return f"key '{key}' is missing: add it{more}"
    if first["type"] == "value_error":  # of a section as a whole; what it holds is no help
        said = first["msg"].removeprefix("Value error, ")
        return f"{key}: {said}{more}" if key else f"{said}{more}"
    value = repr(first["input"])
    return f"key '{key or '(top level)'}' = {value[:80]}: {first['msg']}{more}"


def _written(location: tuple[Any, ...], data: dict[str, Any] | str, last: bool = True) -> tuple[str, str | None]:
    """The dotted key as its author wrote it, without pydantic's names of a union's members, and the ``kind`` beside it.

    ``last``: with the last part of it even where that is not there, as a missing key is not.
    """
    node: Any = data
    if isinstance(data, str):
        try:
            node = json.loads(data)
        except ValueError:
            return ".".join(map(str, location)), None
    parts, kind = [], None
    for number, part in enumerate(location):
        inside = part in node if isinstance(node, dict) else isinstance(part, int) and isinstance(node, list | tuple)
        if inside or (last and number == len(location) - 1):
            parts.append(str(part))
            kind = node.get("kind") if isinstance(node, dict) else None
            node = node[part] if inside else None
    return ".".join(parts), kind


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, aliases (nine lines of which unfold to billions of values) and tags, whose keys stand once and whose
    numbers are decimal: YAML 1.1 reads 010 as 8 and 1:30 as 90."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _refused("an anchor, alias or tag, which is not taken", event)
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and NUMBER.search(node.tag) and OTHER_BASE.match(node.value):
            raise _refused(f"{node.value} is no decimal number", node)
        if isinstance(node, yaml.MappingNode):
            known: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in known:
                    raise _refused(f"key '{key.value}' stands twice: keep one", key)
                known.add(key.value)
        return node


NUMBER = re.compile(":(int|float)$")
OTHER_BASE = re.compile(r"[-+]?0_*[0-7]|.*:")


def _refused(problem: str, at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)  # pyright: ignore[reportArgumentType]


def plain_yaml(text: str) -> Any:
    """The plain value that a YAML text stands for.

    Raises:
        ValueError: it is no YAML, uses anchors, aliases or tags, has a key twice or a number that is not decimal.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date
        raise ValueError(" ".join(str(error).split())[:200]) from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values.

    Raises:
        PrivadvError: the file is missing, is no UTF-8, no YAML as :func:`plain_yaml` takes it, or no mapping.
    """
    try:
        data = plain_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PrivadvError(f"{path}: cannot read the configuration ({error.strerror}): check the path") from None
    except ValueError as error:
        raise PrivadvError(f"{path}: not valid YAML ({' '.join(str(error).split())}): mend that line") from None
    if not isinstance(data, dict):
        raise PrivadvError(f"{path}: holds no mapping of sections: start from configs/smoke.yaml")
    return data
