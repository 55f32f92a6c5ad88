"""Listing and opening a dataset's files in folders and buckets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privadv.data.roots import Bucket, Folder, open_root
from privadv.errors import PrivadvError
from privadv.store import Store


def test_a_folder_lists_files_below_it_and_through_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "b [x] #&.avi").write_bytes(b"b")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.avi").write_bytes(b"a")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "root")
    os.mkfifo(tmp_path / "root" / "pipe.avi")
    root = open_root(str(tmp_path / "root"))
    assert root.names() == ["a.avi", "link/deep/b [x] #&.avi"]
    with root.local(["link/deep/b [x] #&.avi", "a.avi"]) as paths:
        assert [path.read_bytes() for path in paths] == [b"b", b"a"]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.avi")).touch()
    with pytest.raises(PrivadvError, match="is not UTF-8: rename it"):
        open_root(str(tmp_path)).names()


def test_a_prefix_lists_and_fetches_what_is_below_it(store: Store, tmp_path: Path) -> None:
    store.write("sets/one/x/a.avi", b"a")
    store.write("sets/one/b.avi", b"b")
    store.write("sets/oneself.avi", b"no")
    root = open_root(f"s3://{store.bucket}/sets/one")
    assert root == Bucket(store.bucket, "sets/one/") == open_root(f"s3://{store.bucket}/sets/one/")
    assert root.names() == ["b.avi", "x/a.avi"]
    with root.local(["x/a.avi", "b.avi"]) as paths:
        assert [path.read_bytes() for path in paths] == [b"a", b"b"]
        assert [path.suffix for path in paths] == [".avi", ".avi"]
    assert not any(path.exists() for path in paths)
    with pytest.raises(PrivadvError, match=r"gone\.avi has gone meanwhile"), root.local(["gone.avi"]):
        pass
    everything = ["sets/one/b.avi", "sets/one/x/a.avi", "sets/oneself.avi"]
    assert open_root(f"s3://{store.bucket}").names() == everything


def test_a_misspelt_bucket_is_not_created(store: Store) -> None:
    root = open_root("s3://no-such-bucket-here/x")
    for _ in range(2):
        with pytest.raises(PrivadvError, match="no-such-bucket-here"):
            root.names()


def test_what_is_no_root(tmp_path: Path) -> None:
    assert open_root(str(tmp_path)) == Folder(tmp_path.resolve())
    nowhere = [(root, "names no bucket") for root in ("s3://", "s3://a..b/x", "s3://127.0.0.1")]
    for root, problem in (*nowhere, (str(tmp_path / "absent"), "is no folder")):
        with pytest.raises(PrivadvError, match=problem):
            open_root(root)
