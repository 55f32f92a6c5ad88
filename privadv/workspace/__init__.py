"""The folder that all runs on one machine share, with an S3 server of its own."""

from privadv.workspace.folder import Workspace

__all__ = ["Workspace"]
