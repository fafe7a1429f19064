"""Following jobs by server-sent events: what schemathesis cannot drive, because the answer ends when the job does."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from chainzoom.viewer import job_routes
from tests.viewer import viewer_fakes
from tests.viewer.viewer_server import Running, cloth, running

ODD = ["", "0", "-1", "1e3", "NaN", "null", "99999999999999999999", "\u00b2", "a" * 21, "x" * 5000, "1, 2", "%00", "\t7"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("viewer-events")
    (folder / "photos").mkdir()
    cloth(folder / "photos" / "cloth.png")
    with running(folder / "photos", folder / "cache", viewer_fakes.quick) as found:
        yield found


@pytest.fixture
def long_job(server: Running) -> Iterator[str]:
    job = server.json("POST", "/api/jobs/zoom", {"photo": server.photo(), "to": 65536, "preset": "bicubic", "size": 1024})["id"]
    yield job
    server.ask("DELETE", f"/api/jobs/{job}")
    until(lambda: server.json("GET", f"/api/jobs/{job}")["state"] in ("cancelled", "done"))


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def follow(server: Running, job: str, last: str | None = None) -> http.client.HTTPResponse:
    """An open stream; close it by ``response.close()``."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    given = {} if last is None else {"last-event-id": last.encode("latin-1")}
    connection.request("GET", f"/api/jobs/{job}/events", headers={"connection": "close"} | given)  # type: ignore[arg-type]
    return connection.getresponse()


def test_the_whole_of_a_cancelled_job_can_be_read_again(server: Running, long_job: str) -> None:
    live = follow(server, long_job)
    assert live.getheader("content-type", "").startswith("text/event-stream")
    assert live.getheader("cache-control") == "no-store"
    assert server.ask("DELETE", f"/api/jobs/{long_job}")[0] == 200
    told = live.read().decode()
    assert told.rstrip().rpartition("event: ")[2].startswith("cancelled\n")
    again = follow(server, long_job).read().decode()
    assert again == told
    numbers = [int(line[4:]) for line in again.splitlines() if line.startswith("id: ")]
    assert numbers == list(range(len(numbers)))
    assert all(json.loads(line[6:])["what"] for line in again.splitlines() if line.startswith("data: "))
    assert follow(server, long_job, str(numbers[-1])).read() == b""
    assert server.ask("DELETE", f"/api/jobs/{long_job}")[0] == 200


def test_odd_last_event_ids_are_no_500(server: Running, long_job: str) -> None:
    server.ask("DELETE", f"/api/jobs/{long_job}")
    whole = follow(server, long_job).read()
    assert whole
    for last in ODD:
        response = follow(server, long_job, last)
        body = response.read()
        assert response.status in (200, 400, 422), (last, body)
        if response.status == 200:
            assert whole.endswith(body)
            assert body or last.strip() != "99999999999999999999", "who knows too much is told everything"


@pytest.mark.parametrize("job", ["ffff", "0" * 16, "f" * 64, "f" * 65, "..%2f..", "%00", "nothing", "-1", "\u2603"])
def test_there_is_nothing_to_follow(server: Running, job: str) -> None:
    quoted = "".join(f"%{byte:02x}" if byte > 126 else chr(byte) for byte in job.encode())
    for method in ("GET", "POST", "DELETE", "PUT"):
        status, _, body = server.ask(method, f"/api/jobs/{quoted}/events")
        assert status in ((404, 422) if method == "GET" else (404, 405, 422)), (method, body)


def test_who_goes_away_is_not_told_any_more(server: Running, long_job: str) -> None:
    streams = [follow(server, long_job) for _ in range(6)]
    for stream in streams:
        assert stream.readline().startswith(b"id: ")
    until(lambda: server.viewer.jobs.followers == 6)
    for stream in streams:
        stream.close()
    until(lambda: server.viewer.jobs.followers == 0, 20)
    assert server.json("GET", f"/api/jobs/{long_job}")["state"] in ("queued", "running")


def test_followers_are_bounded(server: Running, long_job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_routes, "_FOLLOWERS", 2)
    streams = [follow(server, long_job) for _ in range(2)]
    for stream in streams:
        stream.readline()
    refused = follow(server, long_job)
    assert (refused.status, refused.getheader("retry-after")) == (429, "1")
    streams[0].close()
    until(lambda: server.viewer.jobs.followers == 1, 20)
    allowed = follow(server, long_job)
    assert allowed.status == 200
    for stream in (streams[1], allowed):
        stream.close()
    until(lambda: server.viewer.jobs.followers == 0, 20)
