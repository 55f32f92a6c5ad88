"""Buckets with versioning, and one user a role with no more rights than the role needs.

Usage: bootstrap.py ENDPOINT CREDENTIALS minio|seaweedfs. CREDENTIALS holds a folder for root and for each role,
with the files AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Safe to run again: it mends what has changed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

# Replaced and deleted objects stay that many days; checkpoints are replaced all the time.
BUCKETS: dict[str, dict[str, int]] = {
    "privadv": {"": 14, "checkpoints/": 1},
    "privadv-kfp": {"": 14},
    "privadv-mlflow": {"": 14},
    "privadv-videos": {"": 30},
}
ROLES: dict[str, dict[str, str]] = {
    "pipeline": {"privadv": "write", "privadv-kfp": "write", "privadv-videos": "read"},
    "mlflow": {"privadv-mlflow": "write"},
    "videos": {"privadv-videos": "write"},
}
ACTIONS = {
    "read": (["s3:GetBucketLocation", "s3:ListBucket"], ["s3:GetObject"]),
    "write": (
        ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
        ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
         "s3:ListMultipartUploadParts"],
    ),
}
WAIT_SECONDS = 300.0


def main(endpoint: str, credentials: Path, server: str) -> None:
    root = connect(endpoint, credentials / "root")
    wait(root)
    for bucket, keep in BUCKETS.items():
        make(root, bucket, keep)
    if server == "minio":
        make_users(endpoint, credentials)
    check(endpoint, credentials)


def policy(role: str) -> dict[str, Any]:
    """The role's policy document."""
    statements = []
    for bucket, access in ROLES[role].items():
        on_bucket, on_objects = ACTIONS[access]
        arn = f"arn:aws:s3:::{bucket}"
        statements += [{"Effect": "Allow", "Action": on_bucket, "Resource": [arn]},
                       {"Effect": "Allow", "Action": on_objects, "Resource": [f"{arn}/*"]}]
    return {"Version": "2012-10-17", "Statement": statements}


def connect(endpoint: str, folder: Path) -> Any:
    import minio

    scheme, _, host = endpoint.partition("://")
    return minio.Minio(host, *keys(folder), region="us-east-1", secure=scheme == "https")


def keys(folder: Path) -> tuple[str, str]:
    access, secret = (folder / name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return access.read_text().strip(), secret.read_text().strip()


def wait(root: Any) -> None:
    import minio.error
    import urllib3.exceptions

    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            root.list_buckets()
            return
        except (minio.error.MinioException, urllib3.exceptions.HTTPError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the S3 server does not answer: {error}") from None
            time.sleep(2)


def make(root: Any, bucket: str, keep: dict[str, int]) -> None:
    from minio.commonconfig import ENABLED, Filter
    from minio.lifecycleconfig import LifecycleConfig, NoncurrentVersionExpiration, Rule
    from minio.versioningconfig import VersioningConfig

    if not root.bucket_exists(bucket):
        root.make_bucket(bucket)
    root.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    rules = [Rule(status=ENABLED, rule_id=f"old-versions-{number}", rule_filter=Filter(prefix=prefix),
                  noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=days))
             for number, (prefix, days) in enumerate(keep.items())]
    root.set_bucket_lifecycle(bucket, LifecycleConfig(rules))
    print(f"bucket {bucket}: versions kept {keep} days", flush=True)


def make_users(endpoint: str, credentials: Path) -> None:
    """MinIO's users; SeaweedFS takes its own from a file."""
    from minio import MinioAdmin
    from minio.credentials import StaticProvider

    scheme, _, host = endpoint.partition("://")
    admin = MinioAdmin(endpoint=host, credentials=StaticProvider(*keys(credentials / "root")),
                       region="us-east-1", secure=scheme == "https")
    for role in ROLES:
        user, secret = keys(credentials / role)
        admin.policy_add(f"privadv-{role}", policy=policy(role))
        admin.user_add(user, secret)
        admin.policy_set(f"privadv-{role}", user=user)
        print(f"user of the role {role}: {ROLES[role]}", flush=True)


def check(endpoint: str, credentials: Path) -> None:
    """Every role lists its own buckets, and no others."""
    import minio.error

    for role, granted in ROLES.items():
        client = connect(endpoint, credentials / role)
        for bucket in BUCKETS:
            try:
                next(iter(client.list_objects(bucket)), None)
                allowed = True
            except minio.error.S3Error as error:
                if error.code != "AccessDenied":
                    raise
                allowed = False
            if allowed != (bucket in granted):
                raise SystemExit(f"role {role} {'may' if allowed else 'may not'} list {bucket}: "
                                 "the rights are not those of bootstrap.py")
    print("every role reaches its own buckets only", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
