"""Bytes in S3, on any server that speaks it."""

from privadv.store.objects import Blob, DamagedError, Entry, Published, Store

__all__ = ["Blob", "DamagedError", "Entry", "Published", "Store"]
