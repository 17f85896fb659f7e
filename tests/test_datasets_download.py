"""Downloading named sets, from mirrors on this machine that fail in every way that mirrors fail."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import multiprocessing
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from everybatch.datasets import _download, _named
from everybatch.datasets._idx_sets import FASHION_MNIST, KMNIST, MNIST, IdxFile, IdxSet
from everybatch.datasets._locate import cache_folder
from everybatch.errors import DownloadError, FileFormatError

RNG = np.random.default_rng(5)
ARRAYS = {
    "train-images-idx3-ubyte": RNG.integers(0, 256, (40, 6, 6), dtype=np.uint8),
    "train-labels-idx1-ubyte": np.arange(40, dtype=np.uint8) % 3,
    "t10k-images-idx3-ubyte": RNG.integers(0, 256, (10, 6, 6), dtype=np.uint8),
    "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8) % 3,
}


def idx_bytes(array: np.ndarray) -> bytes:
    # The format as its author describes it: two zeros, type 8, dimensions, lengths in big-endian, values.
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


CONTENT = {stem: idx_bytes(array) for stem, array in ARRAYS.items()}
PACKED = {stem: gzip.compress(content, mtime=0) for stem, content in CONTENT.items()}
FIRST = "train-images-idx3-ubyte"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Mirrors:
    """One server; the first part of a path names the behaviour, which is a function of handler and file."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        mirrors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.asked.append(self.path)
                _, behaviour, name = self.path.split("/")
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                    getattr(mirrors, behaviour)(self, name.removesuffix(".gz"))

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64  # or a burst of connections waits a second for the kernel to try again

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{behaviour}/"

    @staticmethod
    def send(to: http.server.BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(body) if length is None else length))
        to.end_headers()
        to.wfile.write(body)

    def good(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, PACKED[stem])

    def unpacked(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, CONTENT[stem])

    def missing(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.send_error(404)

    def broken(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.send_error(503)

    def other(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        content = bytearray(CONTENT[stem])
        content[-1] ^= 1
        self.send(to, gzip.compress(bytes(content)))

    def page(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, b"<html>log in to this network first</html>")

    def cut(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, PACKED[stem][:-30], len(PACKED[stem]))
        to.close_connection = True

    def cut_unnoticed(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, PACKED[stem][:-4])

    def damaged(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        body = bytearray(PACKED[stem])
        body[15:25] = b"0123456789"
        self.send(to, bytes(body))

    def trailing(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, PACKED[stem] + b"more")

    def bomb(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, gzip.compress(CONTENT[stem] + bytes(10_000_000)))

    def huge(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.send(to, b"", 10**12)

    def endless(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.send_response(200)
        to.end_headers()
        while not self.release.is_set():
            to.wfile.write(bytes(1 << 16))

    def silent(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        self.release.wait(30)

    def stalls(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(PACKED[stem])))
        to.end_headers()
        to.wfile.write(PACKED[stem][:10])
        to.wfile.flush()
        self.release.wait(30)

    def drips(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(PACKED[stem])))
        to.end_headers()
        for byte in PACKED[stem]:
            to.wfile.write(bytes([byte]))
            to.wfile.flush()
            if self.release.wait(0.02):
                return

    def hangs_up(self, to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        to.close_connection = True


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    server = Mirrors()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("EVERYBATCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_download, "TIMEOUT_S", 20.0)


@pytest.fixture
def toy(mirrors: Mirrors) -> Callable[..., IdxSet]:
    """Make a set of the four small files, with mirrors that behave as named."""

    def make(*behaviours: str, by_gzip: bool = False) -> IdxSet:
        files = tuple(
            IdxFile(
                stem,
                array.shape,
                None if by_gzip else sha256(CONTENT[stem]),
                sha256(PACKED[stem]) if by_gzip else None,
            )
            for stem, array in ARRAYS.items()
        )
        urls = tuple(mirrors.url(name) for name in behaviours)
        return IdxSet("toy", "Toy", ("toy",), urls, files, ("a", "b", "c"))  # type: ignore[arg-type]

    return make


def left_over(idx_set: IdxSet) -> list[str]:
    folder = cache_folder(idx_set)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


ALL = sorted(f"{stem}.gz" for stem in ARRAYS)


@pytest.mark.parametrize("by_gzip", [False, True])
def test_good_mirror(toy: Callable[..., IdxSet], mirrors: Mirrors, by_gzip: bool) -> None:
    idx_set = toy("good", by_gzip=by_gzip)
    data = _named.load(idx_set, None, True)
    assert np.array_equal(data.train_images, ARRAYS["train-images-idx3-ubyte"])
    assert np.array_equal(data.test_labels, ARRAYS["t10k-labels-idx1-ubyte"])
    assert (data.name, data.classes) == ("toy", ("a", "b", "c"))
    assert data.source == f"Toy, downloaded from {mirrors.url('good')} to {cache_folder(idx_set)}"
    assert left_over(idx_set) == ALL


def test_the_cache_is_used_without_network(toy: Callable[..., IdxSet], mirrors: Mirrors) -> None:
    first = _named.load(toy("good"), None, True)
    asked = len(mirrors.asked)
    again = _named.load(toy("good"), None, True)
    offline = _named.load(toy(), None, False)
    assert len(mirrors.asked) == asked == 4
    assert first.fingerprint == again.fingerprint == offline.fingerprint
    assert again.source == f"Toy, read from {cache_folder(toy())}"


def test_a_partly_filled_cache_is_completed(toy: Callable[..., IdxSet], mirrors: Mirrors) -> None:
    idx_set = toy("good")
    folder = cache_folder(idx_set)
    folder.mkdir(parents=True)
    (folder / FIRST).write_bytes(CONTENT[FIRST])
    _named.load(idx_set, None, True)
    assert len(mirrors.asked) == 3
    assert len(left_over(idx_set)) == 4


def test_a_mirror_that_unpacks_on_the_way(toy: Callable[..., IdxSet]) -> None:
    data = _named.load(toy("unpacked"), None, True)
    assert np.array_equal(data.train_images, ARRAYS["train-images-idx3-ubyte"])
    assert left_over(toy()) == sorted(ARRAYS)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "HTTP 404 Not Found"),
        ("broken", "HTTP 503"),
        ("other", "wrong checksum of the uncompressed content"),
        ("page", "truncated: 41 of"),
        ("cut", "truncated"),
        ("cut_unnoticed", "truncated"),
        ("damaged", "damaged gzip"),
        ("trailing", "more bytes after its end"),
        ("bomb", "unpacks to more than"),
        ("huge", "announces 1,000,000,000,000 bytes"),
        ("endless", "sends more than"),
        ("silent", r"no answer within 1 s"),
        ("stalls", r"no answer within 1 s"),
        ("hangs_up", "closed connection|reset"),
    ],
)
def test_a_failing_mirror_is_passed_over(
    toy: Callable[..., IdxSet],
    mirrors: Mirrors,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    reason: str,
) -> None:
    monkeypatch.setattr(_download, "TIMEOUT_S", 1.0)
    with pytest.raises(DownloadError, match=reason) as failure:
        _named.load(toy(behaviour), None, True)
    assert mirrors.url(behaviour) + FIRST in str(failure.value)
    assert left_over(toy()) == []

    data = _named.load(toy(behaviour, "good"), None, True)
    assert np.array_equal(data.train_images, ARRAYS[FIRST])
    assert left_over(toy()) == ALL
    # The failing mirror was asked once more, for the first file only.
    assert sum(f"/{behaviour}/" in path for path in mirrors.asked) == 2


def test_checksum_of_the_compressed_file(toy: Callable[..., IdxSet]) -> None:
    for behaviour in ("other", "unpacked", "trailing", "cut_unnoticed"):
        with pytest.raises(DownloadError, match="wrong checksum of the compressed file"):
            _named.load(toy(behaviour, by_gzip=True), None, True)
    assert left_over(toy()) == []


def test_a_mirror_that_never_finishes(toy: Callable[..., IdxSet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "DEADLINE_S", 0.3)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"not finished after 0\.3 s"):
        _named.load(toy("drips"), None, True)
    assert time.monotonic() - start < 60


def test_no_such_server(toy: Callable[..., IdxSet]) -> None:
    gone = Mirrors()
    gone.close()
    dead = dataclasses.replace(toy(), mirrors=(gone.url("good"), "not an address"))
    with pytest.raises(DownloadError, match=r"(?s)refused.*unknown url type"):
        _named.load(dead, None, True)


def test_the_failure_lists_every_mirror_and_what_to_do(
    toy: Callable[..., IdxSet], mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "TIMEOUT_S", 0.5)
    with pytest.raises(DownloadError) as failure:
        _named.load(toy("missing", "page", "silent"), None, True)
    text = str(failure.value)
    for behaviour, reason in (("missing", "HTTP 404"), ("page", "truncated"), ("silent", "no answer")):
        assert f"{mirrors.url(behaviour)}{FIRST}.gz: {reason}" in text
    assert str(cache_folder(toy())) in text
    assert "pass it as root" in text
    assert "EVERYBATCH_DATA" in text
    assert isinstance(failure.value, OSError)


def test_a_later_file_failing_keeps_the_checked_ones(toy: Callable[..., IdxSet], mirrors: Mirrors) -> None:
    def only_first(to: http.server.BaseHTTPRequestHandler, stem: str) -> None:
        (mirrors.good if stem == FIRST else mirrors.missing)(to, stem)

    mirrors.only_first = only_first  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match="train-labels"):
        _named.load(toy("only_first"), None, True)
    assert left_over(toy()) == [f"{FIRST}.gz"]


@pytest.mark.parametrize(("where", "step"), [(_download, "_check"), (Path, "replace")])
def test_ctrl_c_leaves_nothing_behind(
    toy: Callable[..., IdxSet], monkeypatch: pytest.MonkeyPatch, where: object, step: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        _named.load(toy("good"), None, True)
    assert left_over(toy()) == []


def test_threads_downloading_at_once(toy: Callable[..., IdxSet]) -> None:
    idx_set = toy("good")
    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(lambda _: _named.load(idx_set, None, True), range(8)))
    assert len({data.fingerprint for data in sets}) == 1
    assert left_over(idx_set) == ALL


def test_processes_downloading_at_once(toy: Callable[..., IdxSet]) -> None:
    idx_set = toy("good")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sets = pool.starmap(_named.load, [(idx_set, None, True)] * 2, chunksize=1)
    assert sets[0].fingerprint == sets[1].fingerprint
    assert left_over(idx_set) == ALL


def test_a_cache_that_cannot_be_a_folder(toy: Callable[..., IdxSet], tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / "everybatch").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot keep Toy in the cache folder .*XDG_CACHE_HOME"):
        _named.load(toy("good"), None, True)
    assert mirrors.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(toy: Callable[..., IdxSet], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"cannot keep Toy in the cache folder .*XDG_CACHE_HOME"):
        _named.load(toy("good"), None, True)


def test_a_damaged_file_in_the_cache_is_named(toy: Callable[..., IdxSet]) -> None:
    _named.load(toy("good"), None, True)
    path = cache_folder(toy()) / f"{FIRST}.gz"
    content = bytearray(CONTENT[FIRST])
    content[100] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(FileFormatError, match=f"{FIRST}.gz .*checksum differs; delete it and try again"):
        _named.load(toy("good"), None, True)


def test_downloading_goes_to_the_cache_even_with_a_root(
    toy: Callable[..., IdxSet], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    _named.load(toy("good"), root, True)
    assert list(root.iterdir()) == []
    assert caplog.messages == [f"Toy is not in {root}; downloading it to {cache_folder(toy())}"]


def test_no_download_unless_allowed(toy: Callable[..., IdxSet], mirrors: Mirrors) -> None:
    with pytest.raises(FileNotFoundError, match=r"Toy is not on this machine\. Looked in: .*no such folder"):
        _named.load(toy("good"), None, False)
    assert mirrors.asked == []


def test_public_functions_download_their_own_set(toy: Callable[..., IdxSet], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MNIST", "FASHION_MNIST", "KMNIST"):
        monkeypatch.setattr(_named, name, toy("good"))
    sets = [load() for load in (_named.mnist, _named.fashion_mnist, _named.kmnist)]
    assert len({data.fingerprint for data in sets}) == 1


@pytest.mark.parametrize("idx_set", [MNIST, FASHION_MNIST, KMNIST], ids=lambda s: s.name)
def test_what_is_known_of_each_set(idx_set: IdxSet) -> None:
    # Sizes: of the published files when unpacked (16 + 60000 * 784 bytes and so on).
    assert [file.size for file in idx_set.files] == [47_040_016, 60_008, 7_840_016, 10_008]
    assert len(idx_set.classes) == 10
    assert len(idx_set.mirrors) >= 2
    for mirror in idx_set.mirrors:
        assert mirror.startswith(("https://", "http://"))
        assert mirror.endswith("/")
    for file in idx_set.files:
        sums = [s for s in (file.content_sha256, file.gzip_sha256) if s is not None]
        assert sums
        assert all(len(bytes.fromhex(s)) == 32 for s in sums)
