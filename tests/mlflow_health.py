"""Whether an MLflow server of the tests answers."""

from __future__ import annotations

import urllib.request


def healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
