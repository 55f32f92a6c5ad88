"""``privadv report``: a run's report out of the store into a folder, and one report over several seeds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from test_report import Made, changed

from privadv.models.checkpoint import ShippedFilter
from privadv.reports import main, publish
from privadv.stages.report import Report, pool
from privadv.store import Store


def reported(store: Store, seed: int, whole: bool = False) -> Report:
    """What a run of ``seed`` has left in the store; with its curves if ``whole``."""
    made = Made(store, seed)
    evidence = made.evidence()
    if not whole:
        evidence = changed(evidence, "filter", curves=None).model_copy(update={"stages": ()})
    kept = store.put(evidence.canonical().encode())
    named = Report(seeds=(seed,), page=store.put(b"-"), table="", metrics={}, evidence=(kept,))
    filter_ = ShippedFilter(spec=made.stages()["game"].degradation.spec, weights=store.put(b"weights of %d" % seed))
    return pool([named], store).model_copy(update={"filter": filter_})


@pytest.fixture
def workspace(tmp_path: Path) -> list[str]:
    return ["--workspace", str(tmp_path / "workspace")]


def test_a_run_elsewhere_comes_into_a_folder(store: Store, tmp_path: Path, workspace: list[str]) -> None:
    """By the URI of its manifest, as the pages of Kubeflow show it."""
    report = reported(store, 3)
    key = "v2/artifacts/some run/report"
    (tmp_path / "manifest").write_text(report.canonical())
    store.upload(tmp_path / "manifest", key)
    folder = tmp_path / "fetched"
    assert main([*workspace, f"minio://{store.bucket}/{key}", "--output", str(folder)]) == 0
    assert Report.parse((folder / "report.json").read_text(), "it") == report
    assert (folder / "report.html").read_bytes() == store.get(report.page)
    assert (folder / "filter.safetensors").read_bytes() == b"weights of 3"


def test_a_page_is_shown_by_its_whole_path_where_there_is_a_screen(store: Store, tmp_path: Path, workspace: list[str],
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text(reported(store, 0).canonical())
    assert main([*workspace, "run.json", "--output", "reports/demo"]) == 0
    assert shown == [f"file://{tmp_path}/reports/demo/report.html"]


def test_a_folder_that_cannot_be_made_is_one_line(store: Store, tmp_path: Path, workspace: list[str],
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(reported(store, 0).canonical())
    assert main([*workspace, f"{tmp_path}/run.json", "--output", f"{tmp_path}/run.json/demo"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path}/run.json/demo" in error and "name another place" in error
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, said in (("/proc/out", "cannot be made ("), (f"{tmp_path}/link", "is a link to nothing: name a new folder")):
        assert main([*workspace, f"{tmp_path}/run.json", "--output", place]) == 2
        assert capsys.readouterr().err.startswith(f"privadv: report: {place}: {said}")


def test_several_seeds_make_one_report(store: Store, tmp_path: Path, workspace: list[str],
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """By the folders of two runs, or by one's file."""
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "report.json").write_text(reported(store, seed).canonical())
    folder = tmp_path / "both"
    sources = [str(tmp_path / "seed0"), str(tmp_path / "seed1" / "report.json")]
    assert main([*workspace, *sources, "--output", str(folder)]) == 0
    both = Report.parse((folder / "report.json").read_text(), "it")
    assert both.seeds == (0, 1) and both.filter is None and both.table in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["evidence", "report.html", "report.json"]

    assert main([*workspace, sources[0], "--output", str(folder)]) == 2
    assert "is there already: name a new folder" in capsys.readouterr().err
    assert main([*workspace, sources[0], sources[0], "--output", str(tmp_path / "twice")]) == 2
    assert "name each seed once" in capsys.readouterr().err and not (tmp_path / "twice").exists()


def test_folders_are_enough_on_another_machine(store: Store, tmp_path: Path, workspace: list[str],
                                               monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One is opened again, several are pooled, each to the page that its own store gives."""
    for seed in (0, 1):
        publish(reported(store, seed, whole=True).canonical(), store, tmp_path / f"seed{seed}")
    sources = [str(tmp_path / f"seed{seed}") for seed in (0, 1)]
    assert main([*workspace, *sources, "--output", str(tmp_path / "here")]) == 0

    monkeypatch.delenv("PRIVADV_S3_ENDPOINT")  # another machine: its own store, with nothing in it
    assert main([*workspace, *sources, "--output", str(tmp_path / "there")]) == 0
    assert main([*workspace, sources[0], "--output", str(tmp_path / "again")]) == 0
    for ours, theirs in (("here", "there"), ("seed0", "again")):
        files = sorted(path.relative_to(tmp_path / ours) for path in (tmp_path / ours).rglob("*"))
        assert files == sorted(path.relative_to(tmp_path / theirs) for path in (tmp_path / theirs).rglob("*"))
        for path in files:
            if (tmp_path / ours / path).is_file():
                assert (tmp_path / ours / path).read_bytes() == (tmp_path / theirs / path).read_bytes(), path

    (tmp_path / "seed1" / "report.html").unlink()
    assert main([*workspace, sources[1], "--output", str(tmp_path / "drawn")]) == 0
    drawn = Report.parse((tmp_path / "drawn" / "report.json").read_text(), "it")
    assert drawn.seeds == (1,) and (tmp_path / "drawn" / "report.html").read_text().count("<img") > 1
    assert (tmp_path / "drawn" / "filter.safetensors").read_bytes() == b"weights of 1"

    evidence = sorted((tmp_path / "seed0" / "evidence").iterdir())
    copied = tmp_path / "half"
    shutil.copytree(tmp_path / "seed0", copied)
    for path in evidence[1:]:
        (copied / "evidence" / path.name).unlink()
    capsys.readouterr()
    empty = ["--workspace", str(tmp_path / "a store with nothing in it")]
    assert main([*empty, str(copied), "--output", str(tmp_path / "lost")]) == 2
    said = re.fullmatch(r"privadv: report: (\S+): is missing, and the store has it not: copy the report's folder again\n",
                        capsys.readouterr().err)
    assert said and Path(said[1]).parent == copied / "evidence" and Path(said[1]).name in {path.name for path in evidence[1:]}

    changed_one = min((tmp_path / "seed0" / "evidence").iterdir())
    changed_one.write_bytes(changed_one.read_bytes() + b" ")
    capsys.readouterr()
    assert main([*workspace, sources[0], "--output", str(tmp_path / "changed")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{changed_one}: is not what was measured" in error


def test_a_report_s_filter_is_held_against_it_and_strangers_beside_its_evidence_are_none(
    store: Store, tmp_path: Path, workspace: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "seed0"
    publish(reported(store, 0, whole=True).canonical(), store, folder)
    (folder / "evidence" / ".DS_Store").write_bytes(b"of a file manager")
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT")  # another machine: its own store, with nothing in it
    weights = folder / "filter.safetensors"
    for change, said in ((lambda: weights.write_bytes(b"others"), "not what was measured"), (weights.unlink, "missing")):
        change()
        assert main([*workspace, str(folder), "--output", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == f"privadv: report: {weights}: is {said}: copy the report's folder again\n"
    weights.write_bytes(b"weights of 0")
    assert main([*workspace, str(folder), "--output", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(("source", "said"), [
    ("nowhere", "nowhere: no report"),
    ("minio://{bucket}/no/such/key", "the store has no such object"),
    ("{here}", "report.json"),
    ("{here}/other.json", "other.json: "),
    ("minio:///no-bucket", "minio:///no-bucket: no URI of a manifest"),
    ("minio://Upper/key", "minio://Upper/key: no URI of a manifest"),
    ("s3://{bucket}", "no URI of a manifest"),
    ("https://host/report", "https://host/report: no URI of a manifest"),
])
def test_what_is_no_report_is_said_in_one_line(store: Store, tmp_path: Path, workspace: list[str], source: str, said: str,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text('{"kind": "clips"}')
    output = tmp_path / "out"
    assert main([*workspace, source.format(bucket=store.bucket, here=tmp_path), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error and not output.exists()
