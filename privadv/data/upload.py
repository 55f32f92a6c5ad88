"""A folder of videos into a bucket. Stopped, it goes on where it was: objects that have a file's bytes stay as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from privadv.console import progress
from privadv.data.reading import visible
from privadv.data.roots import Bucket, Folder, open_root
from privadv.errors import PrivadvError
from privadv.store import Store


def upload(root: str, url: str, workers: int = 8) -> str:
    """Every file below the folder ``root``, hidden ones left out, to the same name below ``url``; gives a line that sums up.

    Raises:
        PrivadvError: ``root`` is no folder or holds nothing, ``url`` is no s3://bucket/prefix, or the server refuses.
    """
    folder, place = open_root(root), open_root(url) if url.startswith("s3://") else None
    if not isinstance(folder, Folder) or not isinstance(place, Bucket):
        raise PrivadvError(f"upload {root} {url}: give a folder, then s3://bucket/prefix")
    names = visible(folder.names())
    if not names:
        raise PrivadvError(f"{root} holds no file: check the folder")
    store, sizes = Store.from_environment(bucket=place.bucket), []
    with ThreadPoolExecutor(max(1, workers)) as pool, progress(f"upload to {url}", len(names)) as bar:
        try:
            for sent in pool.map(partial(_send, store, folder.path, place.prefix), names):
                sizes += [sent] if sent is not None else []
                bar.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    megabytes = sum(sizes) / 1e6
    return f"{url}: {len(sizes)} files sent ({megabytes:.1f} MB), {len(names) - len(sizes)} were there already"


def _send(store: Store, folder: Path, prefix: str, name: str) -> int | None:
    """The bytes that were sent; None where they were there."""
    path = folder / name
    try:
        return path.stat().st_size if store.upload(path, prefix + name) else None
    except OSError as error:
        raise PrivadvError(f"{path}: cannot be read ({error.strerror}): check its rights, then run again") from None
