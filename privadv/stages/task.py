"""A stage's task as JSON, for containers that no pipeline starts: python -m privadv.stages.task '{"stage": ..., ...}'

The keys are the arguments of :func:`privadv.stages.stage.execute`. The last line names the manifest's place in S3.
"""

from __future__ import annotations

import json
import sys

from privadv.console import say
from privadv.stages.stage import execute, explained
from privadv.store import Blob, Store


def main(task: str) -> None:
    """Run it; a user's mistake is one line and exit code 2."""
    arguments = json.loads(task)
    published = execute(**arguments)
    with explained(arguments["stage"]):
        say(f"{arguments['stage']}: s3://{Store.from_environment().bucket}/{Blob.parse(published, 'manifest').key}")


if __name__ == "__main__":
    main(sys.argv[1])
