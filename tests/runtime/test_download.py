"""Downloads from a server that misbehaves: what arrives is right or does not get its name."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import misbehaving as bad
import pytest
from misbehaving import Server

from nanochat.errors import DamagedError, DownloadError, Interrupted, MissingError, NanochatError, StorageError
from nanochat.runtime import partial
from nanochat.runtime.download import Fetched, FetchProgress, FileRequest, Limits, fetch_files
from nanochat.runtime.http import Credentials, retry_after, shown
from nanochat.runtime.lease import LeaseKeeper
from nanochat.runtime.partial import partial_path

QUICK = Limits(
    attempts=3, backoff_s=0.005, stall_s=0.25, connect_s=2, window_s=0.2, window_bytes=1000, deadline_s=20, busy_s=0.05
)
DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "/a.bin"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        server.put(NAME, DATA)
        yield server


def request(server: Server, folder: Path, known: bool = True, path: str = NAME) -> FileRequest:
    data = server.files[path]
    facts: dict[str, Any] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} if known else {}
    return FileRequest(url=server.url(path), target=folder / path[1:], **facts)


def fetch(*requests: FileRequest, **settings: Any) -> list[Fetched]:
    return fetch_files(requests, **{"limits": QUICK, **settings})


def leave_part(server: Server, folder: Path, count: int, known: bool = True) -> Path:
    """What a killed process leaves: the first `count` bytes."""
    server.script(NAME, bad.truncated(count))
    with pytest.raises(NanochatError):
        fetch(request(server, folder, known), limits=replace(QUICK, attempts=1))
    part = partial_path(folder / NAME[1:])
    assert part.stat().st_size == count
    server.seen.clear()
    return part


def only_the_file(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == [NAME[1:]]
    assert (folder / NAME[1:]).read_bytes() == DATA


# what servers and networks do


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ([], 1),
        ([bad.status(500)], 2),
        ([bad.status(503, retry_after=0)], 2),
        ([bad.status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")], 2),
        ([bad.status(429), bad.status(502)], 3),
        ([bad.reset_after(0)], 2),
        ([bad.reset_after(100_000)], 2),
        ([bad.reset_after(100_000)] * 2, 3),
        ([bad.truncated(70_000)], 2),
        ([bad.truncated(0), bad.truncated(10)], 3),
        ([bad.stall_after(70_000)], 2),
        ([bad.silence()], 2),
        ([bad.trickle(0.05)], 2),
    ],
)
def test_what_passes_is_tried_again(
    faults: list[bad.Fault], requests: int, known: bool, server: Server, tmp_path: Path
) -> None:
    server.script(NAME, *faults)
    (found,) = fetch(request(server, tmp_path, known))
    assert (found.sha256, found.size_bytes, found.here_before) == (SHA256, len(DATA), False)
    assert server.count(NAME) == requests
    only_the_file(tmp_path)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([bad.length(len(DATA) - 1)], "bytes for it, not"),
        ([bad.length(len(DATA) + 1)], "bytes for it, not"),
        ([bad.flipped(123)], "SHA-256"),
        ([bad.disguised_page], "bytes for it, not"),
    ],
)
def test_what_is_not_the_file_is_thrown_away(
    faults: list[bad.Fault], said: str, server: Server, tmp_path: Path
) -> None:
    server.script(NAME, *faults)
    notices: list[str] = []
    fetch(request(server, tmp_path), on_notice=notices.append)
    assert server.count(NAME) == 2
    assert server.requests(NAME)[1].start == 0
    assert said in notices[0]
    only_the_file(tmp_path)


@pytest.mark.parametrize(
    ("fault", "requests", "kind", "said"),
    [
        (bad.status(404), 1, DownloadError, "404"),
        (bad.status(403), 1, DownloadError, "403"),
        (bad.status(500), 3, DownloadError, "500"),
        (bad.status(429, retry_after=86400), 1, DownloadError, "asks to wait 86400 s"),
        (bad.web_page, 1, DownloadError, "web page"),
        (bad.gzipped, 1, DownloadError, "gzip"),
        (bad.flipped(123), 2, DamagedError, "damaged 2 times"),
        (bad.reset_after(10), 3, DownloadError, "broke the connection off"),
        (bad.truncated(10), 3, DownloadError, "broke the connection off"),
        (bad.trickle(0.02), 3, DownloadError, "hardly anything"),
        (bad.silence(), 3, DownloadError, "sends nothing"),
        (bad.redirect("/a.bin"), 11, DownloadError, "circles"),
        (bad.redirect("ftp://127.0.0.1/a"), 1, DownloadError, "not safe"),
        (bad.redirect("file:///etc/passwd"), 1, DownloadError, "not safe"),
        (bad.redirect("http://[broken"), 1, DownloadError, "not safe"),
        (bad.redirect("http://:80/"), 1, DownloadError, "not safe"),
    ],
)
def test_what_stays_is_an_error(
    fault: bad.Fault, requests: int, kind: type[NanochatError], said: str, server: Server, tmp_path: Path
) -> None:
    server.script(NAME, *bad.always(fault))
    with pytest.raises(kind, match=said) as caught:
        fetch(request(server, tmp_path))
    assert server.count(NAME) == requests
    assert not (tmp_path / NAME[1:]).exists()
    assert caught.value.hint
    assert len(caught.value.message.splitlines()) == 1


def test_a_server_without_sizes_and_hashes(server: Server, tmp_path: Path) -> None:
    """Chunked: neither Content-Length nor ETag."""

    def chunked(handler: bad.Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(data), 50_000):
            piece = data[at : at + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    def cut(handler: bad.Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (100, data[:100]))
        handler.close_connection = True

    server.script(NAME, cut, chunked)
    fetch(request(server, tmp_path, known=False))
    only_the_file(tmp_path)


def test_a_packed_file_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    """Servers say Content-Encoding: gzip of a .gz file too; its bytes are what was asked for."""
    server.put("/a.txt.gz", DATA)
    server.script("/a.txt.gz", lambda handler, data: handler.file(data, Content_Encoding="gzip"))
    (found,) = fetch(request(server, tmp_path, path="/a.txt.gz"))
    assert found.sha256 == SHA256


def test_bytes_are_asked_for_as_they_are(server: Server, tmp_path: Path) -> None:
    fetch(request(server, tmp_path))
    assert server.requests(NAME)[0].headers["accept-encoding"] == "identity"


def test_a_deadline_for_a_file(server: Server, tmp_path: Path) -> None:
    server.script(NAME, *bad.always(bad.trickle(0.01)))
    with pytest.raises(DownloadError, match="not complete after"):
        fetch(request(server, tmp_path), limits=replace(QUICK, window_s=60, deadline_s=0.2))


def test_no_server(tmp_path: Path) -> None:
    with Server() as server:
        url = server.url("/a")
    with pytest.raises(DownloadError, match="takes no connection"):
        fetch(FileRequest(url=url, target=tmp_path / "a"))
    with pytest.raises(DownloadError, match=r"name nowhere\.invalid is not known"):
        fetch(FileRequest(url="http://nowhere.invalid/a", target=tmp_path / "a"))


def test_a_certificate_that_proves_nothing(tmp_path: Path) -> None:
    with Server(tls=self_signed(tmp_path)) as server:
        server.put("/a", b"a")
        with pytest.raises(DownloadError, match="does not prove") as caught:
            fetch(FileRequest(url=server.url("/a"), target=tmp_path / "a"))
    assert "SSL_CERT_FILE" in caught.value.hint
    assert server.seen == []


def test_no_secure_connection(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no secure connection"):
        fetch(replace(request(server, tmp_path), url=server.url(NAME).replace("http:", "https:")))


def self_signed(folder: Path) -> Any:
    import ssl
    import subprocess

    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1"
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


# going on


@pytest.mark.parametrize("known", [True, False])
def test_the_next_process_goes_on(known: bool, server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, 200_000, known)
    (found,) = fetch(request(server, tmp_path, known))
    (seen,) = server.requests(NAME)
    assert (seen.start, seen.headers["if-range"][0]) == (200_000, '"')
    assert found.sha256 == SHA256
    only_the_file(tmp_path)


def test_a_file_that_changed_meanwhile_comes_from_the_beginning(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, 200_000, known=False)
    new = random.Random(1).randbytes(250_000)
    server.put(NAME, new)
    fetch(request(server, tmp_path, known=False))
    assert server.count(NAME) == 1
    assert (tmp_path / NAME[1:]).read_bytes() == new


def test_a_change_that_the_server_does_not_notice(server: Server, tmp_path: Path) -> None:
    """It ignores If-Range and sends the rest of another file, with its ETag."""
    leave_part(server, tmp_path, 200_000, known=False)
    new = random.Random(1).randbytes(250_000)

    def careless(handler: bad.Handler, data: bytes) -> None:
        rest = new[200_000:]
        handler.plain(206, rest, ETag='"other"', Content_Range="bytes 200000-249999/250000")

    server.put(NAME, new)
    server.script(NAME, careless)
    fetch(request(server, tmp_path, known=False))
    assert [seen.start for seen in server.requests(NAME)] == [200_000, 0]
    assert (tmp_path / NAME[1:]).read_bytes() == new


@pytest.mark.parametrize(("fault", "starts"), [(bad.whole, [200_000]), (bad.other_part, [200_000, 0])])
def test_a_range_that_is_not_what_was_asked_for(
    fault: bad.Fault, starts: list[int], server: Server, tmp_path: Path
) -> None:
    leave_part(server, tmp_path, 200_000)
    server.script(NAME, fault)
    fetch(request(server, tmp_path))
    assert [seen.start for seen in server.requests(NAME)] == starts
    only_the_file(tmp_path)


def test_a_server_without_ranges_and_etags(server: Server, tmp_path: Path) -> None:
    server.ranges = server.etags = False
    server.script(NAME, bad.reset_after(100_000), bad.whole)
    fetch(request(server, tmp_path, known=False))
    only_the_file(tmp_path)


def test_another_mirror_goes_on_where_the_first_one_ended(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, 200_000)
    with Server() as mirror:
        mirror.put(NAME, DATA)
        mirror.script(NAME, lambda handler, data: handler.file(data, etag='"other"'))
        fetch(request(mirror, tmp_path))
        assert [seen.start for seen in mirror.requests(NAME)] == [200_000]
    only_the_file(tmp_path)


def test_a_part_that_was_damaged_on_disk(server: Server, tmp_path: Path) -> None:
    part = leave_part(server, tmp_path, 200_000)
    changed = bytearray(part.read_bytes())
    changed[5] ^= 1
    part.write_bytes(changed)
    fetch(request(server, tmp_path))
    assert [seen.start for seen in server.requests(NAME)] == [200_000, 0]
    only_the_file(tmp_path)


def test_after_a_crash_of_the_machine_only_a_hash_is_believed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_part(server, tmp_path, 200_000, known=False)
    monkeypatch.setattr(partial, "_booted_at", lambda seconds: False)
    fetch(request(server, tmp_path, known=False))
    assert [seen.start for seen in server.requests(NAME)] == [0]


@pytest.mark.parametrize("known", [True, False])
def test_killed_between_the_last_byte_and_the_name(known: bool, server: Server, tmp_path: Path) -> None:
    part = leave_part(server, tmp_path, 200_000, known)
    part.write_bytes(DATA)
    fetch(request(server, tmp_path, known))
    assert [seen.start for seen in server.requests(NAME)] == ([] if known else [len(DATA)])
    only_the_file(tmp_path)


def test_a_part_that_is_too_long(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, 200_000).write_bytes(DATA + b"!")
    fetch(request(server, tmp_path))
    only_the_file(tmp_path)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 5}', None])
def test_a_part_that_nobody_knows(note: str | None, server: Server, tmp_path: Path) -> None:
    part = leave_part(server, tmp_path, 200_000)
    described = part.with_name(f"{part.name}.json")
    described.unlink() if note is None else described.write_text(note)
    fetch(request(server, tmp_path))
    assert [seen.start for seen in server.requests(NAME)] == [0]
    only_the_file(tmp_path)


# what is there already


def test_a_right_file_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME[1:]).write_bytes(DATA)
    (found,) = fetch(request(server, tmp_path))
    assert (found.here_before, found.sha256) == (True, SHA256)
    assert server.seen == []


@pytest.mark.parametrize("wrong", [b"", DATA[:-1], b"x" + DATA[1:]])
def test_a_wrong_file_is_replaced(wrong: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME[1:]).write_bytes(wrong)
    (found,) = fetch(request(server, tmp_path))
    assert not found.here_before
    only_the_file(tmp_path)


def test_the_caller_may_refuse_a_file(server: Server, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        assert path.read_bytes() == DATA
        raise DamagedError("no shard", "look")

    with pytest.raises(DamagedError, match="no shard"):
        fetch(replace(request(server, tmp_path), check=refuse))
    assert list(tmp_path.iterdir()) == []


# many files


def many(server: Server, folder: Path, count: int, size: int = 20_000) -> list[FileRequest]:
    for number in range(count):
        server.put(f"/{number}", random.Random(number).randbytes(size))
    return [request(server, folder, path=f"/{number}") for number in range(count)]


def test_what_is_missing_is_listed_and_the_rest_is_there(server: Server, tmp_path: Path) -> None:
    requests = many(server, tmp_path, 12)
    for number in (3, 7):
        server.script(f"/{number}", *[bad.status(500)] * 3)
    told: list[Fetched] = []
    with pytest.raises(DownloadError, match=r"2 of 12 files are missing: 3, 7 \(3: .* answers 500") as caught:
        fetch(*requests, on_fetched=told.append)
    assert "same command" in caught.value.hint
    assert len(told) == 10
    server.seen.clear()
    assert len(fetch(*requests)) == 12
    assert {seen.path for seen in server.seen} == {"/3", "/7"}


def test_callbacks_come_on_the_thread_of_the_caller(server: Server, tmp_path: Path) -> None:
    server.bytes_per_s = 200_000
    progress: list[FetchProgress] = []
    threads = set()

    def told(at: Any) -> None:
        threads.add(threading.current_thread())
        progress.append(at)

    fetch(*many(server, tmp_path, 4, 150_000), on_progress=told, on_fetched=lambda file: threads.add(file) and None)
    assert threading.current_thread() in threads
    assert len([thread for thread in threads if isinstance(thread, threading.Thread)]) == 1
    done = [at.done_bytes for at in progress]
    assert done == sorted(done)
    assert any(0 < bytes_done < 600_000 for bytes_done in done)
    assert (progress[-1].done_bytes, progress[-1].total_bytes, progress[-1].files_done) == (600_000, 600_000, 4)
    assert progress[0].total_bytes == 600_000
    assert any((name, total) == ("0", 150_000) for at in progress for name, _, total in at.active)


def test_a_server_that_asks_to_wait_is_left_alone_by_all(server: Server, tmp_path: Path) -> None:
    requests = many(server, tmp_path, 6)
    server.script("/0", bad.status(429, retry_after=1))
    started = time.monotonic()
    fetch(*requests, workers=1)
    assert time.monotonic() - started >= 1
    assert [seen.path for seen in server.seen][:2] == ["/0", "/1"] or server.count("/0") == 2


def test_stopping(server: Server, tmp_path: Path) -> None:
    server.bytes_per_s = 100_000
    requests = many(server, tmp_path, 3, 200_000)
    started = time.monotonic()
    with pytest.raises(Interrupted, match="0 of 3") as caught:
        fetch(*requests, stopped=lambda: time.monotonic() - started > 0.6)
    assert time.monotonic() - started < 2
    assert caught.value.exit_code == 75
    assert {path.suffix for path in tmp_path.iterdir()} == {".part", ".json"}
    server.bytes_per_s = None
    server.seen.clear()
    assert len(fetch(*requests)) == 3
    assert all(seen.start > 10_000 for seen in server.seen)


def test_an_error_of_the_caller_ends_it(server: Server, tmp_path: Path) -> None:
    def fail(file: Fetched) -> None:
        raise StorageError("full", "free some")

    with pytest.raises(StorageError, match="full"):
        fetch(*many(server, tmp_path, 5), on_fetched=fail)


def test_a_full_disk_ends_it_at_once(server: Server, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"\.a\.bin\.part: File too large"):
            fetch(request(server, tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert server.count(NAME) == 1
    fetch(request(server, tmp_path))
    assert server.requests(NAME)[1].start == 100_000


def test_without_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = many(server, tmp_path, 3)
    fetch(*requests[:2])
    monkeypatch.setattr("socket.socket", None)
    assert [found.here_before for found in fetch(*requests[:2], offline=True)] == [True, True]
    with pytest.raises(MissingError, match="2 would have to be downloaded"):
        fetch(*requests, offline=True)


def test_nothing_to_do() -> None:
    assert fetch() == []


# credentials


def test_a_token_goes_to_its_own_origin_only(server: Server, tmp_path: Path) -> None:
    with Server() as other:
        other.put("/b", DATA)
        server.script(NAME, bad.redirect(other.url("/b")))
        token = Credentials(url=server.base, token="secret")
        fetch(replace(request(server, tmp_path), size_bytes=None), credentials=token)
        assert server.seen[0].headers["authorization"] == "Bearer secret"
        assert "authorization" not in other.seen[0].headers
        fetch(FileRequest(url=other.url("/b"), target=tmp_path / "b"), credentials=token)
        assert all("authorization" not in seen.headers for seen in other.seen)
        # another host by name, although it is the same machine
        server.script(NAME, bad.redirect(server.url("/c").replace("127.0.0.1", "localhost")))
        server.put("/c", DATA)
        fetch(replace(request(server, tmp_path), target=tmp_path / "c"), credentials=token)
        assert "authorization" not in server.requests("/c")[0].headers
    assert "secret" not in repr(token)


def test_a_password_in_an_address(server: Server, tmp_path: Path) -> None:
    url = server.url(NAME).replace("127.0.0.1", "me:p%40ss@127.0.0.1")
    server.script(NAME, bad.status(403))
    with pytest.raises(DownloadError) as caught:
        fetch(FileRequest(url=f"{url}?signature=abc", target=tmp_path / "a"))
    assert "p%40ss" not in str(caught.value)
    assert "signature" not in str(caught.value)
    assert server.seen[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_retry_after() -> None:
    assert retry_after("120") == 120
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None
    assert shown("https://a:b@c.d:1/e?f#g") == "https://c.d:1/e"


def test_a_proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.base.replace("//", "//me:pass@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    far = FileRequest(url="http://far.invalid/a.bin", target=tmp_path / "far", sha256=SHA256)
    fetch(far)
    assert server.seen[0].headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
    fetch(request(server, tmp_path))
    assert "proxy-authorization" not in server.seen[1].headers


# several processes


def test_a_file_that_another_has_is_waited_for(server: Server, tmp_path: Path) -> None:
    with LeaseKeeper() as other:
        lease = other.acquire(tmp_path / NAME[1:])
        assert lease is not None

        def finish() -> None:
            time.sleep(0.3)
            (tmp_path / NAME[1:]).write_bytes(DATA)
            lease.release()

        thread = threading.Thread(target=finish)
        thread.start()
        (found,) = fetch(request(server, tmp_path))
        thread.join()
    assert found.here_before
    assert server.seen == []


def test_a_lost_lease_ends_the_attempt(server: Server, tmp_path: Path) -> None:
    server.bytes_per_s = 400_000
    tried = []

    def steal(at: FetchProgress) -> None:
        for file in (tmp_path / ".leases").glob("*"):
            if not tried and at.done_bytes:
                tried.append(file)
                file.unlink()

    from nanochat.runtime import download

    keeper = download.LeaseKeeper
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "LeaseKeeper", lambda: keeper(beat_s=0.05))
        fetch(request(server, tmp_path), on_progress=steal)
    assert tried
    assert server.count(NAME) == 2
    assert server.requests(NAME)[1].start > 0
    only_the_file(tmp_path)
