"""Prints a kustomization that lays images over one of the overlays.

Usage: overlay.py OVERLAY PREFIX VERSION [MINIO_IMAGE], to be written to build/k8s/kustomization.yaml.
An image is NAME:TAG or NAME@sha256:DIGEST.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any


def kustomization(overlay: str, prefix: str, version: str, minio: str = "") -> dict[str, Any]:
    ours = [{"name": f"privadv/{name}", "newName": f"{prefix}/{name}", "newTag": version}
            for name in ("extract", "mlflow")]
    theirs = [{"name": "minio", **image(minio)}] if minio else []
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": [f"../../k8s/overlays/{overlay}"], "images": ours + theirs}


def image(reference: str) -> dict[str, str]:
    """The reference in kustomize's words; a colon before the last slash is a registry's port."""
    name, at, digest = reference.partition("@")
    if at:
        return {"newName": re.sub(r":[^:/]*$", "", name), "digest": digest}
    tagged = re.fullmatch(r"(.+):([^:/]+)", name)
    if not tagged:
        sys.exit(f"privadv: the image '{reference}' has neither tag nor digest: name one")
    return {"newName": tagged[1], "newTag": tagged[2]}


if __name__ == "__main__":
    json.dump(kustomization(*sys.argv[1:]), sys.stdout, indent=1)
