"""Downloading one file from the first mirror that delivers it whole.

A file is fetched into memory, checked there, and only then written, whole or not at all. So a failure, Ctrl-C or a
second process that downloads the same file never leaves a partial or unchecked file under the final name.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path

from everybatch._disk import whole_file
from everybatch.datasets._idx_sets import IdxFile
from everybatch.errors import DownloadError

__all__ = ["download"]

TIMEOUT_S = 15.0
"""Longest silence of a server, when connecting and between any two packets."""
DEADLINE_S = 600.0
"""Longest time for one file from one mirror, for servers that never fall silent and never finish."""
_SLACK = 1 << 16  # bytes that a compressed file may be larger than its content


class _RefusedError(Exception):
    """A mirror's answer cannot be used; the message says why."""


def download(file: IdxFile, mirrors: Iterable[str], folder: Path) -> tuple[Path, str]:
    """Fetch `file` into `folder`, which must exist.

    Returns
    -------
    tuple
        The path of the new file, and the mirror that it came from.

    Raises
    ------
    DownloadError
        If no mirror delivers the file; the message names each with its reason.
    OSError
        If the file cannot be written.
    """
    reasons = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.stem}.gz"
        try:
            body = _fetch(url, file)
            _check(body, file)
        except (_RefusedError, OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"  {url}: {_reason(error)}")
            continue
        # Some servers unpack a .gz on the way; the content is checked all the same, and named as what it is.
        path = folder / (f"{file.stem}.gz" if _is_gzip(body) else file.stem)
        with whole_file(path, overwrite=True) as out:
            out.write(body)
        return path, mirror
    failures = "\n".join(reasons)
    raise DownloadError(f"{file.stem}.gz could not be downloaded from any of {len(reasons)} mirrors:\n{failures}")


def _fetch(url: str, file: IdxFile) -> bytes:
    # Imported here, because it looks for notebook widgets, and most sessions download nothing.
    from tqdm.auto import tqdm

    limit = file.size + _SLACK
    deadline = time.monotonic() + DEADLINE_S
    request = urllib.request.Request(url, headers={"User-Agent": "everybatch"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        announced = answer.headers.get("Content-Length")
        total = int(announced) if announced is not None else None
        if total is not None and total > limit:
            raise _RefusedError(f"announces {total:,} bytes, more than the {limit:,} that this file can have")
        body = bytearray()
        hide = not (sys.stderr.isatty() or "ipykernel" in sys.modules)  # no bar in log files
        with tqdm(total=total, desc=file.stem, unit="B", unit_scale=True, leave=False, disable=hide) as bar:
            while chunk := answer.read1(1 << 16):
                body += chunk
                bar.update(len(chunk))
                if len(body) > limit:
                    raise _RefusedError(f"sends more than the {limit:,} bytes that this file can have")
                if time.monotonic() > deadline:
                    raise _RefusedError(f"not finished after {DEADLINE_S:g} s ({len(body):,} bytes)")
    if total is not None and len(body) < total:
        raise _RefusedError(f"truncated: {len(body):,} of {total:,} bytes")
    return bytes(body)


def _check(body: bytes, file: IdxFile) -> None:
    """Compare with the checksums that are known, all of them that apply."""
    if file.gzip_sha256 is not None and hashlib.sha256(body).hexdigest() != file.gzip_sha256:
        raise _RefusedError("wrong checksum of the compressed file")
    if file.content_sha256 is not None:
        content = _unzip(body, file.size) if _is_gzip(body) else body
        if len(content) != file.size:
            raise _RefusedError(f"truncated: {len(content):,} of {file.size:,} uncompressed bytes")
        if hashlib.sha256(content).hexdigest() != file.content_sha256:
            raise _RefusedError("wrong checksum of the uncompressed content")


def _is_gzip(body: bytes) -> bool:
    return body[:2] == b"\x1f\x8b"


def _unzip(body: bytes, size: int) -> bytes:
    """Unpack at most `size` bytes: what more there is cannot be the file, and a bomb must not go off."""
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(body, size + 1)
    except zlib.error as error:
        raise _RefusedError(f"damaged gzip ({error})") from error
    if len(content) > size:
        raise _RefusedError(f"unpacks to more than the {size:,} bytes that this file has")
    if not stream.eof:
        raise _RefusedError(f"truncated: unpacks to {len(content):,} of {size:,} bytes")
    if stream.unused_data:
        raise _RefusedError("has more bytes after its end")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(cause) or type(cause).__name__
