"""Configuration files that would unfold, run code or lie about what they are are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from privadv.config import load_yaml
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


def test_depth_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 100_000)
    with pytest.raises(PrivadvError, match=r"deep\.yaml: not valid YAML"):
        load_yaml(tmp_path / "deep.yaml")
