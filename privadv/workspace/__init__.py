"""The folder that all runs on one machine share, with an S3 server of its own."""

from privadv.workspace.folder import Workspace, with_store

__all__ = ["Workspace", "with_store"]
