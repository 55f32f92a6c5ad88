"""The connection to an S3 server: bounded patience, and every failure in one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import minio
import minio.error
import urllib3

from privadv.errors import PrivadvError

CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
TRIES = 3
PAUSE_SECONDS = 0.2
FAILING = "the server itself fails: see its log, and whether its disk is full"
MENDS = {"NoSuchBucket": "check its name, or, if it was removed while in use, start the run again",
         "AuthorizationHeaderMalformed": "check PRIVADV_S3_REGION",
         **dict.fromkeys(("InternalError", "ServiceUnavailable", "SlowDown", "InsufficientStorage",
                          "XMinioStorageFull", "QuotaExceeded"), FAILING)}
REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed")

T = TypeVar("T")


def connect(endpoint: str, credentials: tuple[str, str], region: str) -> minio.Minio:
    """A client of the server at ``http(s)://host:port``; urllib3 repeats a request three times.

    Raises:
        PrivadvError: the endpoint has another form.
    """
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), maxsize=10,
        retries=urllib3.Retry(total=TRIES, backoff_factor=PAUSE_SECONDS, status_forcelist=[500, 502, 503, 504],
                              raise_on_status=False))
    try:
        url = urlsplit(endpoint)
        beyond = url.path or url.query or url.fragment or url.username
        if url.scheme not in ("http", "https") or not url.hostname or beyond:
            raise ValueError
        return minio.Minio(url.netloc, *credentials, secure=url.scheme == "https", region=region,
                           http_client=pool)
    except ValueError:
        # The value is not shown: someone may have put a password into it.
        raise PrivadvError("PRIVADV_S3_ENDPOINT is not of the form http://host:port or https://host:port "
                           "without a path or credentials: mend it") from None


def insistently(request: Callable[[], T]) -> T:
    """The answer to an idempotent request, made up to three times where its connection breaks.

    urllib3 itself repeats neither a POST nor a body that breaks off; where it has given up, so does this.
    """
    for _ in range(TRIES - 1):
        try:
            return request()
        except urllib3.exceptions.MaxRetryError:
            raise
        except urllib3.exceptions.HTTPError:
            time.sleep(PAUSE_SECONDS)
    return request()


@contextmanager
def explained(place: str, what: str) -> Iterator[None]:
    """Turns every failure to do ``what`` into a PrivadvError of one line, without a secret in it."""
    try:
        yield
    except minio.error.S3Error as error:
        code = error.code or "no code"
        if code in REFUSED:
            raise PrivadvError(f"{place}: refused to {what} ({code}): check AWS_ACCESS_KEY_ID, "
                               "AWS_SECRET_ACCESS_KEY and their rights") from None
        mend = MENDS.get(code, "is this an S3 server? see its log")
        raise PrivadvError(f"{place}: could not {what} ({code}, {_line(error.message)}): {mend}") from None
    except minio.error.MinioException as error:
        raise PrivadvError(f"{place}: could not {what} ({_line(error)}): is this an S3 server? "
                           "see its log") from None
    except urllib3.exceptions.HTTPError as error:
        raise PrivadvError(f"{place}: cannot be reached to {what} ({_reason(error)}): check "
                           "PRIVADV_S3_ENDPOINT and that the server runs") from None


def _line(text: object) -> str:
    return " ".join(str(text).split())[:200]


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return _line(cause).rpartition(": ")[2]
