"""Checkpoints against a real S3 server: resumed, pruned, spoiled, fenced, and killed half-way."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from privadv.checkpoints import Checkpoints
from privadv.errors import PrivadvError
from privadv.store import Store


def parts(step: int) -> dict[str, bytes]:
    return {"model": f"weights {step}".encode(), "optimizer": f"moments {step}".encode(), "frozen": b"same"}


def saved(store: Store, *steps: int) -> None:
    attempt = Checkpoints(store, "task")
    for step in steps:
        attempt.save(step, parts(step))


def test_nothing_saved_is_nothing_loaded(store: Store) -> None:
    saved(store, 3)
    assert Checkpoints(store, "other").load() is None


def test_the_newest_step_is_resumed(store: Store) -> None:
    saved(store, 5, 40, 100)
    assert Checkpoints(store, "task").load() == (100, parts(100))


def test_the_last_two_steps_and_their_bytes_are_kept(store: Store) -> None:
    saved(store, 1, 2, 3, 4)
    assert [key.rpartition("-")[2].lstrip("0") for key in store.keys("checkpoints/task/steps/")] == ["3", "4"]
    # Two of each step's own and the one that they share.
    assert len(store.keys("checkpoints/task/parts/")) == 5
    saved(store, 5, 6)
    assert len(store.keys("checkpoints/task/steps/")) == 2
    assert len(store.keys("checkpoints/task/parts/")) == 5
    assert Checkpoints(store, "task").load() == (6, parts(6))


def spoil_part(store: Store, content: bytes) -> None:
    key = next(key for key in store.keys("checkpoints/task/parts/") if store.read(key) == content)
    store.write(key, b"x" + content[1:])


def remove_part(store: Store, content: bytes) -> None:
    store.remove([key for key in store.keys("checkpoints/task/parts/") if store.read(key) == content])


@pytest.mark.parametrize("damage", [spoil_part, remove_part])
def test_a_damaged_step_gives_way_to_the_one_before(store: Store, capsys: pytest.CaptureFixture[str],
                                                    damage) -> None:
    saved(store, 7, 8)
    damage(store, b"moments 8")
    assert Checkpoints(store, "task").load() == (7, parts(7))
    assert "is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b'{"step": 8}'])
def test_a_damaged_manifest_gives_way_to_the_one_before(store: Store, garbage: bytes) -> None:
    saved(store, 7, 8)
    store.write(store.keys("checkpoints/task/steps/")[-1], garbage)
    attempt = Checkpoints(store, "task")
    assert attempt.load() == (7, parts(7))
    # The intact step stays in reserve, the damaged one goes.
    attempt.save(9, parts(9))
    spoil_part(store, b"weights 9")
    assert Checkpoints(store, "task").load() == (7, parts(7))


def test_when_every_step_is_damaged_the_stage_starts_afresh(store: Store) -> None:
    saved(store, 7, 8)
    spoil_part(store, b"same")
    assert Checkpoints(store, "task").load() is None


def test_a_lost_server_is_an_error_and_not_a_fresh_start(store: Store) -> None:
    saved(store, 7)
    attempt = Checkpoints(store, "task")
    attempt.load()
    store._client_of = None
    store.endpoint = "http://127.0.0.1:9"
    with pytest.raises(PrivadvError, match="cannot be reached"):
        attempt.load()


def test_a_newer_attempt_fences_the_older(store: Store) -> None:
    zombie, heir = Checkpoints(store, "task"), Checkpoints(store, "task")
    zombie.save(10, parts(10))
    assert heir.load() == (10, parts(10))
    with pytest.raises(PrivadvError, match=r"newer attempt .*\(epoch 1\)"):
        zombie.save(20, parts(20))
    heir.save(11, parts(11))
    zombie.clear()
    assert Checkpoints(store, "task").load() == (11, parts(11))


def test_a_zombie_that_slips_through_the_fence_spoils_nothing(store: Store,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    zombie, heir = Checkpoints(store, "task"), Checkpoints(store, "task")
    saved(store, 1)
    zombie.save(10, parts(10))
    heir.load()
    half_way = store.put(b"not yet named", heir._folder(3))
    monkeypatch.setattr(zombie, "_fenced", lambda: False)
    zombie.save(11, parts(11))
    zombie.clear()
    assert store.get(half_way, heir._folder(3)) == b"not yet named"


def test_eight_attempts_at_once_leave_one_that_may_save(store: Store) -> None:
    attempts = [Checkpoints(store, "task") for _ in range(8)]

    def save(attempt: Checkpoints) -> bool:
        try:
            attempt.save(1, parts(1))
            return True
        except PrivadvError:
            return False

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda attempt: attempt.load(), attempts))
        assert len(store.keys("checkpoints/task/epochs/")) == 8
        assert list(pool.map(save, attempts)).count(True) == 1
    assert Checkpoints(store, "task").load() == (1, parts(1))


def test_cleared_steps_are_gone_and_the_pipeline_s_blobs_stay(store: Store) -> None:
    weights = store.put(b"weights 4")
    attempt = Checkpoints(store, "task")
    attempt.save(4, parts(4))
    attempt.clear()
    assert store.keys("checkpoints/task/steps/") == store.keys("checkpoints/task/parts/") == []
    assert Checkpoints(store, "task").load() is None
    assert store.get(weights) == b"weights 4"


SAVER = """
from privadv.checkpoints import Checkpoints
from privadv.store import Store
attempt = Checkpoints(Store.from_environment(), "task")
for step in range(1, 10_000):
    attempt.save(step, {name: f"{name} {step} ".encode() * 20_000 for name in "abc"})
    print(step, flush=True)
"""


def test_a_killed_attempt_leaves_a_whole_step(store: Store) -> None:
    for until in (2, 3):
        with subprocess.Popen([sys.executable, "-c", SAVER], stdout=subprocess.PIPE, text=True) as saver:
            assert saver.stdout is not None
            for line in saver.stdout:
                if int(line) == until:
                    saver.kill()
                    break
        found = Checkpoints(store, "task").load()
        assert found is not None
        step, whole = found
        assert step >= until
        assert whole == {name: f"{name} {step} ".encode() * 20_000 for name in "abc"}
