"""What gc takes and what it never takes, on a real S3 server; nothing is young here unless a test says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import privadv.store.objects
from privadv.checkpoints import Checkpoints
from privadv.errors import PrivadvError
from privadv.store import Blob, Store
from privadv.store.__main__ import main
from privadv.store.garbage import forget, plan, sweep

AT_ONCE = -60.0
"""A grace under which everything is old enough."""


def manifest(kind: str, *blobs: Blob) -> str:
    facts = {"kind": kind, "parts": [blob.model_dump() for blob in blobs]}
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def doomed(store: Store, workspace: Path) -> set[str]:
    return {entry.key for entry in plan(store, workspace, AT_ONCE).doomed}


def test_what_a_published_manifest_names_stays_and_the_rest_goes(store: Store, tmp_path: Path) -> None:
    shard, litter = store.put(b"shard"), store.put(b"of a stage that was killed")
    inner = store.put(b"named by a document that the manifest names")
    document = store.put(json.dumps({"evidence": [inner.model_dump()]}).encode())
    published = store.publish(manifest("clips", shard, document), "extract_frames")
    found = plan(store, tmp_path, AT_ONCE)
    assert {entry.key for entry in found.doomed} == {litter.key}
    assert {entry.key for entry in found.kept} == {blob.key for blob in (shard, inner, document, published)}
    assert sweep(store, found, AT_ONCE) == 1
    assert store.get(shard) == b"shard" and store.entry(litter.key) is None


def test_the_young_stay_and_so_does_what_was_written_again_meanwhile(store: Store, tmp_path: Path) -> None:
    blob = store.put(b"its manifest comes last")
    assert [entry.key for entry in plan(store, tmp_path).young] == [blob.key]
    assert sweep(store, plan(store, tmp_path, AT_ONCE)) == 0
    assert store.get(blob)


def test_what_a_stage_puts_again_is_young_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privadv.store.objects, "FRESH_SECONDS", AT_ONCE)
    blob = store.put(b"first")
    store.write(blob.key, b"FIRST")
    store.put(b"first")
    assert store.read(blob.key) == b"first"


def test_manifests_from_before_references_were_kept_are_roots(store: Store, tmp_path: Path) -> None:
    shard = store.put(b"shard")
    store.put(manifest("clips", shard).encode())
    curves = store.put(b'{"loss": [[1, 0.5]]}')
    assert doomed(store, tmp_path) == {curves.key}


@pytest.mark.parametrize("place", ["cache/x/entry.json", "pipeline/run/task/clips", "reports/demo/report.json"])
def test_what_a_file_of_the_workspace_names_stays(store: Store, tmp_path: Path, place: str) -> None:
    blob = store.put(b"an output of a cached task")
    assert doomed(store, tmp_path) == {blob.key}
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"Output": "{{\\"sha256\\": \\"{blob.sha256}\\"}}"}}')
    assert doomed(store, tmp_path) == set()


def test_a_reference_that_cannot_be_read_stops_everything(store: Store, tmp_path: Path) -> None:
    store.put(b"whose is it?")
    store.write(f"published/attack/{'0' * 64}", b"{")
    with pytest.raises(PrivadvError, match=f"published/attack/{'0' * 64}: "):
        plan(store, tmp_path, AT_ONCE)


def test_forgetting_is_refused_while_something_names_the_manifest(store: Store, tmp_path: Path) -> None:
    shard = store.put(b"shard")
    clips = store.publish(manifest("clips", shard), "extract_frames")
    report = store.publish(manifest("report", clips), "report")
    clips_key, report_key = f"published/extract_frames/{clips.sha256}", f"published/report/{report.sha256}"
    with pytest.raises(PrivadvError, match=f"{clips_key} is named by {report_key}"):
        forget(store, clips_key, tmp_path)
    page = tmp_path / "reports" / "demo" / "report.json"
    page.parent.mkdir(parents=True)
    page.write_bytes(store.get(report))
    with pytest.raises(PrivadvError, match=f"{report_key} is named by {page}: .* make clean-runs WORKSPACE={tmp_path}$"):
        forget(store, report_key, tmp_path)
    page.unlink()
    forget(store, report_key, tmp_path)
    forget(store, clips_key, tmp_path)
    assert doomed(store, tmp_path) == {shard.key}
    with pytest.raises(PrivadvError, match="no such reference"):
        forget(store, clips_key, tmp_path)


def test_checkpoints_that_nobody_came_back_for_go(store: Store, tmp_path: Path) -> None:
    Checkpoints(store, "killed").save(3, {"state": b"of a killed stage"})
    assert plan(store, tmp_path).doomed == []
    found = plan(store, tmp_path, AT_ONCE)
    assert {entry.key for entry in found.doomed} == set(store.keys("checkpoints/killed/"))
    sweep(store, found, AT_ONCE)
    assert Checkpoints(store, "killed").load() is None


def test_a_missing_blob_names_its_stage_and_how_it_is_made_again(store: Store) -> None:
    shard = store.put(b"shard")
    store.publish(manifest("clips", shard), "render", row="gray")
    store.remove([shard.key])
    with pytest.raises(PrivadvError, match=f"{shard.key} is missing.*render gray wrote it.*rerun=render$"):
        store.get(shard)


def test_the_command_tells_first_and_deletes_when_told(store: Store, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    shard, litter = store.put(b"shard"), store.put(b"litter")
    store.publish(manifest("clips", shard), "extract_frames")
    common = ["--workspace", str(tmp_path)]
    assert main(["gc", *common, "--grace-days", "0"]) == 0
    said = capsys.readouterr().out
    assert f"  {litter.key} (6 bytes" in said and "nothing was deleted: add --delete" in said
    assert store.get(litter)
    assert main(["gc", *common, "--grace-days", "0", "--delete"]) == 0
    assert "1 objects deleted" in capsys.readouterr().out and store.entry(litter.key) is None
    assert main(["refs", *common]) == 0
    (key,) = store.keys("published/")
    assert key in capsys.readouterr().out
    assert main(["forget", *common, key]) == 0 and store.keys("published/") == []
    assert main(["forget", *common, key]) == 2 and "no such reference" in capsys.readouterr().err


def test_verify_finds_what_is_missing_and_what_is_spoiled(store: Store, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    whole, lost, spoiled = store.put(b"whole"), store.put(b"lost"), store.put(b"spoiled")
    store.publish(manifest("trained", whole, lost, spoiled), "pretrain_target")
    common = ["--workspace", str(tmp_path)]
    assert main(["verify", *common]) == 0
    store.remove([lost.key])
    store.write(spoiled.key, b"spoilt!")
    assert main(["verify", *common]) == 1
    said = capsys.readouterr().out
    assert f"{lost.key} is missing" in said and f"{spoiled.key} in bucket" in said
    assert said.count("rerun=pretrain_target") == 2 and "2 faults" in said
    assert main(["verify", *common, "--delete"]) == 1
    assert store.put(b"spoiled") == spoiled and store.get(spoiled) == b"spoiled"


def test_a_workspace_without_a_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PRIVADV_S3_ENDPOINT", raising=False)
    assert main(["gc", "--workspace", str(tmp_path / "none")]) == 2
    assert "holds no store" in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.mark.parametrize("days", ["-7", "nan", "inf", "x"])
def test_a_grace_that_is_none_deletes_nothing(days: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gc", "--workspace", str(tmp_path), "--grace-days", days, "--delete"])
    assert ended.value.code == 2 and f"'{days}' is no number of days: write 0 or more" in capsys.readouterr().err
