"""Prints every Secret that the manifests refer to, with fresh random credentials, as one Kubernetes List.

    python3 k8s/make_secrets.py --pipelines kubeflow | kubectl create -f -

They go from here into the cluster and nowhere else: nothing is written to a file. `create` refuses what exists
already, so a second run changes nothing; docs/cluster.md says how to change credentials.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "base"))
from bootstrap import ROLES

SEAWEEDFS_ACTIONS = {"read": ("Read", "List"), "write": ("Read", "List", "Tagging", "Write")}


def manifests(pipelines: str) -> dict[str, Any]:
    """All Secrets; ``pipelines`` is the namespace that the pods of pipelines run in."""
    keys = {role: access_key() for role in ("root", *ROLES)}
    items = [secret("privadv", f"s3-{role}", key) for role, key in keys.items()]
    items.append(secret(pipelines, "privadv-s3", keys["pipeline"]))
    items.append(secret("privadv", "postgres", {"username": "mlflow", "password": secrets.token_hex(24)}))
    items.append(secret("privadv", "seaweedfs", {
        "identities.json": json.dumps(identities(keys)),
        "signing-key": secrets.token_hex(24), "filer-signing-key": secrets.token_hex(24)}))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def access_key() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": secrets.token_hex(10), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}


def secret(namespace: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": values,
            "metadata": {"name": name, "namespace": namespace,
                         "labels": {"app.kubernetes.io/part-of": "privadv"}}}


def identities(keys: dict[str, dict[str, str]]) -> dict[str, Any]:
    """SeaweedFS' users: the rights that bootstrap.py gives MinIO's."""
    actions = {"root": ["Admin", "Read", "Write", "List", "Tagging"]}
    for role, granted in ROLES.items():
        actions[role] = [f"{action}:{bucket}" for bucket, access in granted.items()
                         for action in SEAWEEDFS_ACTIONS[access]]
    return {"identities": [
        {"name": role, "actions": actions[role],
         "credentials": [{"accessKey": key["AWS_ACCESS_KEY_ID"], "secretKey": key["AWS_SECRET_ACCESS_KEY"]}]}
        for role, key in keys.items()]}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pipelines", default="kubeflow", help="the namespace that pipelines run in")
    options = parser.parse_args()
    if sys.stdout.isatty():
        print("privadv: this prints credentials: pipe it into `kubectl create -f -`", file=sys.stderr)
        return 1
    json.dump(manifests(options.pipelines), sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
