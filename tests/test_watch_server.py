"""The server of `everybatch watch`: what it tells, and to whom it tells nothing."""

from __future__ import annotations

import http.client
import json
import logging
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everybatch.watch import Server, Watch
from everybatch.watch._guard import Guard
from everybatch.watch._watched import Watched
from growing_runs import GrowingRun, lose_all

EVIL = "<img src=x onerror=alert(1)>"
QUESTION: dict[str, Any] = {"runs": [{"name": "a", "known": None}], "x": "step", "charts": [], "classes": []}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    lose_all()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def serve(folder: Path, **given: Any) -> Server:
        server = Server(Watch(folder), **{"port": 0, **given})
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    run = GrowingRun(tmp_path / "runs" / "a", 30, name=EVIL)
    run.grow(30)
    run.end()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "runs"


def ask(
    server: Server, path: str = "/api/runs", method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send one request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": f"127.0.0.1:{server.server_port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(data)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def curves(server: Server, **asked: Any) -> tuple[list[dict[str, Any]], Callable[[Any, str], Any]]:
    status, _, content = ask(server, "/api/curves", "POST", {**QUESTION, **asked})
    assert status == 200, content
    (size,) = struct.unpack_from("<I", content)
    assert (size + 4) % 8 == 0

    def array(place: Any, kind: str) -> Any:
        return None if place is None else np.frombuffer(content, kind, place[1], 4 + size + place[0])

    return json.loads(content[4 : 4 + size])["runs"], array


def test_the_page_and_its_files_are_there(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    for path, kind in {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}.items():
        status, headers, content = ask(server, path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert content
    page = ask(server, "/")[2].decode()
    assert "http" not in page  # nothing of another place
    assert "onclick" not in page


def test_every_answer_allows_nothing_from_elsewhere(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    for path in ("/", "/api/runs", "/nowhere"):
        headers = ask(server, path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_runs_are_listed(serve: Callable[..., Server], runs: Path) -> None:
    status, _, content = ask(serve(runs))
    told = json.loads(content)
    assert status == 200
    (run,) = told["runs"]
    assert (run["name"], run["state"], run["steps"], run["total"], run["network"]) == ("a", "finished", 30, 30, EVIL)


@pytest.mark.parametrize("x", ["step", "epoch", "seconds"])
def test_curves_are_those_that_were_recorded(serve: Callable[..., Server], tmp_path: Path, x: str) -> None:
    """Against the arrays themselves; seconds add up by NumPy."""
    run = GrowingRun(tmp_path / "runs" / "a", 40, error=0.01)
    run.grow(40)
    charts = [{"chart": name, "columns": 500, "from": None, "to": None} for name in ("loss", "accuracy", "classes")]
    (told,), array = curves(serve(tmp_path / "runs"), x=x, charts=charts, classes=[0, 2, 99])
    assert told["state"] == "running"
    assert told["classes"] == ["c0", "c1", "c2"]
    train, test = told["charts"]["loss"]
    assert (train["name"], test["name"]) == ("train", "test")
    np.testing.assert_array_equal(array(train["y"], "<f4"), run.arrays["train_loss"])
    np.testing.assert_array_equal(array(test["y"], "<f4"), run.arrays["test_loss"])
    assert train["error"] is None
    np.testing.assert_array_equal(array(test["error"], "<f4"), run.arrays["test_loss_error"])
    np.testing.assert_allclose(array(test["bandHigh"], "<f4"), run.arrays["test_loss"] + np.float32(0.02), rtol=1e-6)
    assert [one["name"] for one in told["charts"]["classes"]] == ["c0", "c2"]
    last = told["charts"]["classes"][1]
    np.testing.assert_array_equal(array(last["y"], "<f4"), run.arrays["class_accuracy"][:, 2])
    steps = np.arange(41)
    both = np.cumsum(run.arrays["eval_seconds"] + np.concatenate([[0], run.arrays["train_seconds"]]))
    expected = {"step": steps, "epoch": steps / run.config["training"]["steps_per_epoch"], "seconds": both}[x]
    np.testing.assert_allclose(array(test["x"], "<f8"), expected)
    np.testing.assert_allclose(array(train["x"], "<f8"), expected[1:])
    assert told["end"] == pytest.approx(expected[-1])


def test_what_the_page_has_is_not_sent_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    run = GrowingRun(tmp_path / "runs" / "a", 40)
    run.grow(10)
    server = serve(tmp_path / "runs")
    charts = [{"chart": "loss", "columns": 500}]
    (told,), _ = curves(server, charts=charts)
    again = [{"name": "a", "known": told["known"]}]
    assert curves(server, charts=charts, runs=again)[0][0]["same"]
    assert "same" not in curves(server, charts=[{"chart": "loss", "columns": 50}], runs=again)[0][0]
    run.grow(1)
    for _ in range(1000):  # it is looked at no more often than reading it is cheap
        (told,), array = curves(server, charts=charts, runs=again)
        if "same" not in told:
            break
        time.sleep(0.02)
    assert len(array(told["charts"]["loss"][0]["y"], "<f4")) == 11


def test_a_folder_that_was_made_anew_has_the_curves_of_its_run(serve: Callable[..., Server], tmp_path: Path) -> None:
    first = GrowingRun(tmp_path / "runs" / "a", 40)
    first.grow(40)
    first.end()
    server = serve(tmp_path / "runs")
    charts = [{"chart": "loss", "columns": 500}]
    (told,), _ = curves(server, charts=charts)
    shutil.rmtree(tmp_path / "runs" / "a")
    other = GrowingRun(tmp_path / "runs" / "a", 90, seed=1)
    other.grow(60)
    server.watch._runs["a"]._due = 0.0
    (again,), array = curves(server, charts=charts, runs=[{"name": "a", "known": told["known"]}])
    assert "same" not in again
    assert (again["state"], again["end"]) == ("running", 60)
    train, test = again["charts"]["loss"]
    np.testing.assert_array_equal(array(train["y"], "<f4"), other.arrays["train_loss"][:60])
    np.testing.assert_array_equal(array(test["y"], "<f4"), other.arrays["test_loss"][:61])


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:6464"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "user@127.0.0.1"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Host": "192.168.1.2"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost:6464"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/api/runs", "GET"), ("/api/curves", "POST")])
def test_pages_from_elsewhere_are_refused(
    serve: Callable[..., Server], runs: Path, headers: dict[str, str], path: str, method: str
) -> None:
    status, told, content = ask(serve(runs), path, method, QUESTION if method == "POST" else None, **headers)
    assert status == 403
    assert b"tiny" not in content
    assert told["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("host", ["localhost:6464", "127.0.0.1", "[::1]:80", "LOCALHOST", "127.0.0.1:9999"])
def test_names_of_this_machine_are_its_own_behind_any_port(serve: Callable[..., Server], runs: Path, host: str) -> None:
    assert ask(serve(runs), Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")[0] == 200


def test_other_machines_need_the_token(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs, host="0.0.0.0")
    token = server.guard.token
    assert token is not None
    assert len(token) >= 32
    assert server.url.endswith(f"?token={token}")
    for path in ("/", "/api/runs", "/?token=", f"/?token={token[:-1]}", "/?token=%ff%fe", "/page.js", f"/?t={token}"):
        status, _, content = ask(server, path)
        assert status == 403, path
        assert token.encode() not in content
    name = server.guard.cookie(server.server_port)
    assert ask(server, Cookie=f"{name}={token}x")[0] == 403
    assert ask(server, Cookie=f"{name}=")[0] == 403
    assert ask(server, Cookie='=;;"')[0] == 403
    assert ask(server, f"/api/runs?token={token}")[0] == 200
    status, headers, _ = ask(server, f"/?token={token}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie  # Strict would keep it from the page that a link elsewhere leads to
    assert ask(server, Cookie=cookie.partition(";")[0])[0] == 200
    assert ask(server, f"/api/runs?token={token}", Host="rebound.example")[0] == 403
    for host in ("10.1.2.3:6464", "[fe80::1]", f"{socket.gethostname()}:80"):
        assert ask(server, f"/api/runs?token={token}", Host=host)[0] == 200
        assert ask(server, Host=host)[0] == 403
    assert ask(server, f"/api/runs?token={token}", Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    "others", ["{}", "a=1; {}", "{}; a=b c", 'prefs={{"theme":"dark"}}; {}', "name=\xe9;{}", '"; {} ;', "{0}x; {0}"]
)
def test_cookies_of_other_servers_hide_nothing(serve: Callable[..., Server], runs: Path, others: str) -> None:
    """Browsers send those of all ports of a machine, as those servers have written them."""
    server = serve(runs, host="0.0.0.0")
    name = server.guard.cookie(server.server_port)
    assert ask(server, Cookie=others.format(f"{name}={server.guard.token}"))[0] == 200
    assert ask(server, Cookie=others.format(f"{name}=x{server.guard.token}"))[0] == 403
    assert ask(server, Cookie=others.format(f"x{name}={server.guard.token}"))[0] == 403


FOLLOWED = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


def test_a_link_elsewhere_leads_to_the_page_and_to_nothing_else(serve: Callable[..., Server], runs: Path) -> None:
    """As browsers say it (Fetch Metadata, W3C); what is in the page is asked for by itself."""
    server = serve(runs)
    assert ask(server, **FOLLOWED)[0] == 403
    assert ask(server, "/", **FOLLOWED)[0] == 200
    assert ask(server, "/", **{**FOLLOWED, "Sec_Fetch_Site": "same-site"})[0] == 200
    for changed in ({"Sec_Fetch_Mode": "no-cors"}, {"Sec_Fetch_Dest": "iframe"}, {"Host": "evil.example"}):
        assert ask(server, "/", **{**FOLLOWED, **changed})[0] == 403
    assert ask(server, "/", "POST", QUESTION, **FOLLOWED)[0] == 403
    far = serve(runs, host="0.0.0.0")
    assert ask(far, "/", **FOLLOWED)[0] == 403
    assert ask(far, f"/?token={far.guard.token}", **FOLLOWED)[0] == 303


def test_head_tells_what_get_does_without_the_content(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    for path in ("/", "/api/runs", "/nowhere"):
        status, headers, content = ask(server, path, "HEAD")
        of_get = ask(server, path)
        assert (status, headers["Content-Length"], content) == (of_get[0], str(len(of_get[2])), b"")


def test_this_machine_alone_needs_none(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    assert server.guard.token is None
    assert server.server_address[0] == "127.0.0.1"
    assert all(Guard(host).token is None for host in ("localhost", "127.0.0.1", "::1", "127.8.0.1"))
    assert all(Guard(host).token is not None for host in ("0.0.0.0", "::", "10.0.0.1", "box.example"))


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/..%2fsecret.txt", "/static/../../secret.txt", "/a/history.records", "//etc/passwd",
     "/%2e%2e/secret.txt", "/page.js%00", "/chart.js/", "/index.html", "http://127.0.0.1/secret.txt", "*",
     "/\\..\\secret"],
)  # fmt: skip
def test_no_path_leads_to_a_file(serve: Callable[..., Server], runs: Path, path: str) -> None:
    status, _, content = ask(serve(runs), path)
    assert status in (400, 404)
    assert b"secret\n" not in content
    assert b"Traceback" not in content


@pytest.mark.parametrize("name", ["../b", "/", "..", "b", "a/../../b", "a/", "./a", "a\0", "\ud800", ".hidden"])
def test_only_runs_that_were_found_have_curves(serve: Callable[..., Server], runs: Path, name: str) -> None:
    run = GrowingRun(runs.parent / "b", 10)
    run.grow(10)
    run.end()
    (told,), _ = curves(serve(runs), runs=[{"name": name, "known": None}])
    assert told == {"name": name, "gone": True}


def test_links_are_not_followed(serve: Callable[..., Server], runs: Path) -> None:
    outside = runs.parent / "outside"
    for place in (outside / "run", outside / "other"):
        run = GrowingRun(place, 10)
        run.grow(10)
        run.end()
    (runs / "link").symlink_to(outside / "run")
    (runs / "loop").symlink_to(runs)
    (runs / "b").mkdir()
    (runs / "b" / "history.records").symlink_to(outside / "other" / "history.records")
    (runs / "c").mkdir()
    os.mkfifo(runs / "c" / "history.records")  # opening it would wait without end
    (runs / "sweep" / "trials").mkdir(parents=True)
    (runs / "sweep" / "sweep.json").symlink_to(outside / "sweep.json")
    told = json.loads(ask(serve(runs))[2])
    assert [run["name"] for run in told["runs"]] == ["a"]
    assert told["sweeps"] == []


def test_a_link_that_takes_a_runs_place_later_is_not_followed(runs: Path) -> None:
    run = Watched(runs / "a", "a", 1 << 20)
    run.look()
    assert run.summary["state"] == "finished"
    history = runs / "a" / "history.records"
    history.rename(runs.parent / "elsewhere")
    history.symlink_to(runs.parent / "elsewhere")
    run.look(whole=True)
    run._due = 0.0
    run.look(whole=True)
    assert run.summary["state"] == "unreadable"
    assert not run._arrays


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"runs": 3}',
        {**QUESTION, "x": "ages"}, {**QUESTION, "x": []}, {**QUESTION, "runs": [{"name": "a"}] * 100},
        {**QUESTION, "classes": [-1]}, {**QUESTION, "classes": list(range(100))}, {**QUESTION, "classes": ["0"]},
        {**QUESTION, "charts": [{"chart": "loss"}]}, {**QUESTION, "charts": [{"chart": "secret", "columns": 5}]},
        {**QUESTION, "charts": [{"chart": "loss", "columns": 10**9}]},
        {**QUESTION, "charts": [{"chart": "loss", "columns": 5, "from": "x", "to": 1}]},
        {**QUESTION, "charts": [{"chart": "loss", "columns": 5, "from": 0, "to": float("nan")}]},
        json.dumps({**QUESTION, "charts": [{"chart": "loss", "columns": 5, "from": 0, "to": 10**400}]}).encode(),
    ],
)  # fmt: skip
def test_no_question_is_answered_with_a_sentence(serve: Callable[..., Server], runs: Path, body: Any) -> None:
    server = serve(runs)
    status, headers, content = ask(server, "/api/curves", "POST", body)
    assert status == 400
    assert headers["Content-Type"].startswith("text/plain")
    assert b"Traceback" not in content
    assert ask(server)[0] == 200


def test_questions_of_other_kinds_are_refused(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    plain = {"Content_Type": "text/plain"}  # a form of another page could send this
    assert ask(server, "/api/curves", "POST", QUESTION, **plain)[0] == 400
    assert ask(server, "/api/curves", "POST", QUESTION, Content_Length=str(1 << 30))[0] == 400
    assert ask(server, "/api/curves", "POST", QUESTION, Content_Length="-1")[0] == 400
    assert ask(server, "/api/curves", "POST")[0] == 400
    assert ask(server, "/api/curves")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        status, _, content = ask(server, "/", method)
        assert status == 501
        assert b"<" not in content


def test_an_answer_that_fails_tells_the_log_alone(
    serve: Callable[..., Server], runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Watch) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Watch, "overview", fails)
    caplog.set_level(logging.DEBUG, "everybatch.watch")
    status, _, content = ask(serve(runs))
    assert status == 500
    assert "RuntimeError: secret" in caplog.text
    assert b"secret" not in content
    assert b"Traceback" not in content


def test_connections_that_are_too_many_are_told_so(serve: Callable[..., Server], runs: Path) -> None:
    server = serve(runs)
    held = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(32)]
    try:
        for one in held:  # each has its thread once it is answered
            one.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Wait: ")
        more = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
        with more:
            answer = more.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        length, _, content = answer.partition(b"Content-Length: ")[2].partition(b"\r\n\r\n")
        assert int(length) == len(content)
    finally:
        for one in held:
            one.close()
    for _ in range(200):  # their threads end one after the other
        try:
            if ask(server)[0] == 200:
                break
        except (ConnectionError, http.client.BadStatusLine):
            pass
        threading.Event().wait(0.05)
    assert ask(server)[0] == 200


def test_a_port_that_is_taken(serve: Callable[..., Server], runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = serve(runs)
    monkeypatch.setattr("everybatch.watch._server.PORT", first.server_port)
    other = serve(runs, port=None)
    assert other.server_port not in (0, first.server_port)
    with pytest.raises(OSError, match="in use"):
        Server(Watch(runs), port=first.server_port)


def test_memory_has_an_end(tmp_path: Path) -> None:
    """A run whose classes take too much is followed without them; those that nobody looks at are forgotten first."""
    grown = [GrowingRun(tmp_path / name, 3000) for name in "abc"]
    for run in grown:
        run.grow(3000)
    row = 2 * 4 + 8 + 8 + 2 * 4 + 3 * 4 + 8  # of steps and evaluations: losses, accuracies, seconds, eval_step, classes
    watch = Watch(tmp_path, most_bytes=2 * 3000 * row)
    watch.overview()
    assert all(run.narrow for run in watch._runs.values())
    assert sum(run.nbytes for run in watch._runs.values()) <= 2 * 3000 * row * 1.5
    assert all(run.summary["steps"] == 3000 for run in watch._runs.values())
    small = Watch(tmp_path, most_bytes=3000 * 8)
    small.overview()
    assert sum(run.nbytes for run in small._runs.values()) <= 3000 * 8
