"""Configuration files that would unfold, run code or lie about what they are are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from privadv.config import load_yaml, plain_yaml
from privadv.errors import PrivadvError

BILLIONS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("text", [
    BILLIONS,
    "a: &a {x: 1}\nb:\n  <<: *a\n",
    "a: !!python/object/apply:os.system ['touch planted']\n",
    "a: !!python/name:os.system\n",
    "a: !secret b\n",
])
def test_anchors_aliases_and_tags_are_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(text)
    with pytest.raises(PrivadvError, match=r"run\.yaml: not valid YAML \(an anchor, alias or tag") as caught:
        load_yaml(Path("run.yaml"))
    assert len(str(caught.value).splitlines()) == 1 and not Path("planted").exists()


@pytest.mark.parametrize(("text", "said"), [
    ("name: a\nattack: {}\nseed: 1\nattack: {}\n", "key 'attack' stands twice: keep one in .*, line 4"),
    ("attack: {fit: {steps: 1, steps: 2}}", "key 'steps' stands twice"),
    ("seed: 010", "010 is no decimal number"),
    ("seed: 1:30", "1:30 is no decimal number"),
])
def test_what_yaml_would_silently_take_for_something_else_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(PrivadvError, match=rf"run\.yaml: not valid YAML \({said}"):
        load_yaml(tmp_path / "run.yaml")


def test_plain_numbers_are_what_they_look_like() -> None:

    assert plain_yaml("[0, -7, 0.5, 1_000, '010', 2024-01-02T10:20:30, a:b]")[:5] == [0, -7, 0.5, 1000, "010"]


def test_depth_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 100_000)
    with pytest.raises(PrivadvError, match=r"deep\.yaml: not valid YAML"):
        load_yaml(tmp_path / "deep.yaml")
