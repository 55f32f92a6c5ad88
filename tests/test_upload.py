"""Folders of videos on their way into a bucket: any name, in any number of goes, and back as a dataset's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from privadv.data.__main__ import main
from privadv.data.roots import open_root
from privadv.data.upload import upload
from privadv.errors import PrivadvError
from privadv.store import Store

ODD = "hug/(HP)_[x]!#&+;~@ caf\u00e9_hug_u_nm_np1_ba_goo_0.avi"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name, data in {"a.avi": b"one", ODD: b"odd", "hug/b.avi": b"two" * 1000, ".DS_Store": b"", "empty.txt": b""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_files_arrive_under_their_names_and_are_read_as_a_root(videos: Path, store: Store) -> None:
    url = f"s3://{store.bucket}/sets/hmdb51"
    assert upload(str(videos), url) == f"{url}: 4 files sent (0.0 MB), 0 were there already"
    root = open_root(url)
    assert root.names() == sorted(["a.avi", ODD, "hug/b.avi", "empty.txt"])
    for name in root.names():
        with root.local([name]) as [path]:
            assert path.read_bytes() == (videos / name).read_bytes()


def test_a_second_go_sends_what_is_missing_or_another(videos: Path, store: Store) -> None:
    """Also a file of the same size, and an object that came another way."""
    url = f"s3://{store.bucket}"
    upload(str(videos), url)
    (videos / "a.avi").write_bytes(b"eno")
    (videos / "new.avi").write_bytes(b"new")
    store.write("hug/b.avi", b"two" * 1000)
    assert upload(str(videos), url, workers=1).startswith(f"{url}: 3 files sent")
    assert store.read("a.avi") == b"eno"
    assert upload(str(videos), url).endswith("0 files sent (0.0 MB), 5 were there already")


def test_a_stopped_go_leaves_whole_files_and_goes_on(
    videos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, url = [], f"s3://{store.bucket}/x"
    whole = Store.upload

    def dying(self: Store, path: Path, key: str) -> bool:
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(key)
        return whole(self, path, key)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "upload", dying)
        upload(str(videos), url, workers=1)
    assert store.keys("x/") == sorted(sent)
    assert upload(str(videos), url).startswith(f"{url}: 2 files sent")


def test_mistakes_are_one_line(videos: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PrivadvError, match="no-such-bucket-here"):
        upload(str(videos), "s3://no-such-bucket-here/x")
    with pytest.raises(PrivadvError, match="give a folder, then s3://bucket/prefix"):
        upload(str(videos), str(videos))
    (tmp_path / "bare").mkdir()
    with pytest.raises(PrivadvError, match="holds no file"):
        upload(str(tmp_path / "bare"), f"s3://{store.bucket}")
    assert main(["upload", str(tmp_path / "gone"), f"s3://{store.bucket}"]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["upload", str(videos), f"s3://{store.bucket}"]) == 0
