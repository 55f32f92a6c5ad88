"""What the pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
IDS = [page.relative_to(PROJECT).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_of_the_project_that_is_named_is_there(page: Path) -> None:
    files = re.findall(r"`((?:configs|docs|privadv|components|docker|k8s|tests|benchmarks)/[\w./-]+\.\w+)`", page.read_text())
    assert [file for file in files if "NAME" not in file and not (PROJECT / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_target_of_make_that_is_named_exists(page: Path) -> None:
    rules = (PROJECT / "Makefile").read_text() + (PROJECT / "k8s" / "targets.mk").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", rules, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z][a-z0-9-]*)", page.read_text())) <= targets
