"""The viewer over HTTP: a real server on loopback, real worker processes, chains that cost next to nothing."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from PIL import Image as PILImage

from chainzoom.viewer.library import UploadLimits
from tests.viewer import viewer_fakes
from tests.viewer.viewer_server import Running, cloth, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("viewer")
    (folder / "photos").mkdir()
    cloth(folder / "photos" / "cloth.png")
    cloth(folder / "photos" / "other.png", 90, 120)
    with running(folder / "photos", folder / "cache", viewer_fakes.quick, limits=UploadLimits(each=200_000, pixels=100_000)) as found:
        yield found


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(PILImage.open(io.BytesIO(data)))


def test_the_page_asks_nobody_else(server: Running) -> None:
    status, headers, page = server.ask("GET", "/")
    assert status == 200
    assert b"http://" not in page.replace(b"http://www.w3.org", b"")
    assert b"https://" not in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_real_pixels_need_no_view(server: Running) -> None:
    photo = server.json("GET", f"/api/photos/{server.photo()}")
    status, _, data = server.ask("GET", f"/api/photos/{photo['id']}/tiles/{photo['real_level']}/1_0.png")
    assert status == 200
    assert pixels(data).shape == (200, 64, 3)


def test_a_tile_is_the_same_again_and_from_the_cache(server: Running) -> None:
    path = f"/api/views/{server.view()}/tiles/14/3_2.png"
    first, again = server.ask("GET", path), server.ask("GET", path)
    assert first[0] == again[0] == 200
    assert first[2] == again[2]
    assert first[1]["x-chainzoom"].startswith("made in")
    assert again[1]["x-chainzoom"] == "cached"


def test_words_change_the_picture_and_the_same_words_do_not(server: Running) -> None:
    plain, wool, twice = (server.view(prompt=prompt) for prompt in ("", "wool", "  wool "))
    assert plain != wool == twice
    got = [pixels(server.ask("GET", f"/api/views/{view}/tiles/13/2_1.png")[2]) for view in (plain, wool)]
    assert not np.array_equal(*got)
    here = f"/api/views/{wool}/words?x=100&y=90&scale=16"
    assert "wool" in server.json("GET", here)["text"]


def test_seed_and_consistency_change_the_picture(server: Running) -> None:
    views = [server.view(), server.view(seed=3), server.view(consistency=0)]
    got = [pixels(server.ask("GET", f"/api/views/{view}/tiles/13/2_1.png")[2]).astype(int) for view in views]
    assert np.abs(got[0] - got[1]).mean() > 0.02
    assert np.abs(got[0] - got[2]).mean() > 0.5


def test_the_record_says_what_made_the_picture(server: Running) -> None:
    record = server.json("GET", f"/api/views/{server.view(prompt='wool', seed=5)}")
    assert record["user_prompt"] == "wool"
    assert record["seed"] == 5
    assert record["synthesised_from"] == 4
    assert len(record["identity"]) == 64


def test_a_saved_view_carries_its_provenance(server: Running) -> None:
    view = server.view(prompt="wool")
    status, headers, data = server.ask("GET", f"/api/views/{view}/picture.png?x=50&y=40&width=300&height=200&scale=20")
    image = PILImage.open(io.BytesIO(data))
    assert status == 200
    assert "attachment" in headers["content-disposition"]
    assert image.size == (300, 200)
    assert image.info["chainzoom:synthesised"] == "true"
    assert image.info["chainzoom:prompt"] == "wool"
    assert image.info["chainzoom:region"].startswith("50.0 40.0")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/photos/ffff", 404),
        ("/api/views/ffff", 404),
        ("/api/views/ffff/tiles/9/0_0.png", 404),
        ("/api/photos/..%2f..%2fetc%2fpasswd", 404),
        ("/static/..%2f..%2fapp.py", 404),
        ("/static/../../app.py", 404),
        ("/static/%2e%2e/%2e%2e/app.py", 404),
        ("/api/jobs/ffff", 404),
        ("/api/jobs/ffff/files/run.json", 404),
        ("/api/nothing", 404),
    ],
)
def test_what_is_not_there(server: Running, path: str, status: int) -> None:
    got, _, body = server.ask("GET", path)
    assert got in (status, 422)
    assert b"import" not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "body",
    [
        {"photo": "cloth.png"},
        {"photo": "../../etc/passwd"},
        {"photo": 3},
        {},
        {"photo": "PHOTO", "seed": -1},
        {"photo": "PHOTO", "seed": 2**60},
        {"photo": "PHOTO", "consistency": 2},
        {"photo": "PHOTO", "preset": "/etc/passwd.toml"},
        {"photo": "PHOTO", "prompt": "a\u0000b"},
        {"photo": "PHOTO", "prompt": "x" * 501},
        {"photo": "PHOTO", "path": "/etc/passwd"},
    ],
)
def test_views_that_make_no_sense_are_refused(server: Running, body: dict[str, Any]) -> None:
    given = {key: server.photo() if value == "PHOTO" else value for key, value in body.items()}
    assert 400 <= server.ask("POST", "/api/views", given)[0] < 500


def test_other_sites_may_not_ask(server: Running) -> None:
    for headers in ({"origin": "http://elsewhere.example"}, {"host": "elsewhere.example"}):
        status, _, _ = server.ask("POST", "/api/views", {"photo": server.photo()}, headers)
        assert status == 403
    assert server.ask("GET", "/", headers={"host": "rebound.example:80"})[0] == 403
    assert server.ask("POST", "/api/views", {"photo": server.photo()}, {"origin": server.address})[0] == 201


def test_uploads(server: Running, tmp_path: Path) -> None:
    data = cloth(tmp_path / "new.png", 64, 48).read_bytes()
    status, _, body = server.ask("POST", "/api/photos?name=..%2Fnew.png", data)
    assert status == 201
    entry = json.loads(body)
    assert entry["name"] == "new.png"
    assert server.json("GET", f"/api/photos/{entry['id']}")["width"] == 64
    assert server.ask("GET", f"/api/photos/{entry['id']}/thumbnail.png")[0] == 200
    for refused in (b"", b"no picture", bytes(200_001), cloth(tmp_path / "large.png", 400, 300).read_bytes()):
        assert server.ask("POST", "/api/photos?name=x.png", refused)[0] == 422


def test_a_zoom_job_from_start_to_end(server: Running) -> None:
    job = server.json("POST", "/api/jobs/zoom", {"photo": server.photo(), "at": [0.4, 0.6], "to": 8, "preset": "bicubic", "size": 64})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", f"/api/jobs/{job['id']}/events")
    text = connection.getresponse().read().decode()
    connection.close()
    assert text.startswith("id: 0\nevent: progress\n")
    assert "event: done\n" in text
    assert '"what": "zooming"' in text
    done = server.json("GET", f"/api/jobs/{job['id']}")
    assert done["state"] == "done"
    assert {"run.json", "zoom.mp4", "strip.png", "states/0.png"} <= set(done["files"])
    record = server.json("GET", f"/api/jobs/{job['id']}/files/run.json")
    assert record["status"] == "complete"
    last = len(record["steps"]) - 1
    assert server.ask("GET", f"/api/jobs/{job['id']}/states/{last}.png")[2].startswith(b"\x89PNG")
    assert server.ask("GET", f"/api/jobs/{job['id']}/files/..%2frun.json")[0] in (404, 422)
    connection.request("GET", f"/api/jobs/{job['id']}/events", headers={"last-event-id": "1"})
    assert connection.getresponse().read().decode().startswith("id: 2\n")
    connection.close()


def test_a_film_between_two_views(server: Running) -> None:
    view = server.view()
    body = {"view": view, "start": {"x": 160, "y": 100, "side": 200}, "end": {"x": 120, "y": 80, "side": 20}}
    job = server.json("POST", "/api/jobs/film", body)
    end = time.monotonic() + 120
    while (state := server.json("GET", f"/api/jobs/{job['id']}"))["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert state["state"] == "done", state
    status, headers, data = server.ask("GET", f"/api/jobs/{job['id']}/files/zoom.mp4")
    assert (status, headers["content-type"], data[4:8]) == (200, "video/mp4", b"ftyp")


def test_a_job_can_be_cancelled(server: Running) -> None:
    first, second = (
        server.json("POST", "/api/jobs/zoom", {"photo": server.photo(), "to": 65536, "preset": "bicubic", "size": 1024}) for _ in range(2)
    )
    for job in (second, first):
        server.json("DELETE", f"/api/jobs/{job['id']}")
    end = time.monotonic() + 30
    while any(server.json("GET", f"/api/jobs/{job['id']}")["state"] not in ("cancelled", "done") for job in (first, second)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert server.json("GET", f"/api/jobs/{second['id']}")["state"] == "cancelled"


def test_the_api_describes_itself(server: Running) -> None:
    paths = server.json("GET", "/api/openapi.json")["paths"]
    assert {"/api/jobs/zoom", "/api/jobs/{job}/events", "/api/views/{view}/tiles/{level}/{column}_{row}.png"} <= paths.keys()
    assert server.ask("GET", "/api/docs")[0] == 200


def test_broken_requests_are_no_500(server: Running) -> None:
    """A light stand-in for a run of schemathesis over the whole API."""
    odd = ["", "0", "-1", "99999999999999999999", "NaN", "inf", "%00", "..", "a" * 3000, "\u2603".encode().decode("latin-1"), "null"]
    view = server.view()
    for path, methods in server.json("GET", "/api/openapi.json")["paths"].items():
        if path == "/api/photos" or path.endswith("/events"):
            methods = {"get": methods.get("get", {})}
        for number, value in enumerate(odd):
            quoted = "".join(f"%{ord(c):02x}" if c in "\u2603%" or ord(c) > 126 else c for c in value)
            filled = path.replace("{view}", view) if number % 2 else path
            for name in ("photo", "view", "job", "level", "column", "row", "name", "number"):
                filled = filled.replace(f"{{{name}}}", quoted or "x")
            for method in methods:
                body = [None, b"{", b"[]", b'{"photo": 1e999}', b'{"photo":"\\ud800"}'][number % 5]
                status, _, answer = server.ask(method.upper(), f"{filled}?x={quoted}&y={quoted}&scale={quoted}&order={quoted}", body)
                assert status < 500, (method, filled, answer)


def test_a_flood_is_bounded_and_the_viewer_lives(tmp_path: Path) -> None:
    cloth(tmp_path / "cloth.png")
    with running(tmp_path / "cloth.png", tmp_path / "cache", viewer_fakes.slow) as server:
        view = server.view()
        server.json("GET", f"/api/views/{view}")
        with ThreadPoolExecutor(120) as pool:
            asked = [pool.submit(_impatient, server, f"/api/views/{view}/tiles/16/{n % 40}_{n // 40}.png") for n in range(120)]
            statuses = [one.result() for one in asked]
        assert 429 in statuses
        assert server.json("GET", "/api/status")["refused"] > 0
        end = time.monotonic() + 20
        while server.json("GET", "/api/status")["waiting"]:
            assert time.monotonic() < end, "what nobody waits for stays in the queue"
            time.sleep(0.1)
        assert server.ask("GET", f"/api/views/{view}/tiles/11/0_0.png")[0] == 200


def _impatient(server: Running, path: str) -> int:
    """Ask, and go away after a moment."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=1.5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except TimeoutError:
        return 0
    finally:
        connection.close()


def test_crashed_and_killed_workers_are_replaced(tmp_path: Path) -> None:
    cloth(tmp_path / "cloth.png")
    with running(tmp_path / "cloth.png", tmp_path / "cache", viewer_fakes.crashing) as server:
        view = server.view()
        server.json("GET", f"/api/views/{view}")
        (tmp_path / "crash").touch()
        assert server.ask("GET", f"/api/views/{view}/tiles/12/0_0.png")[0] == 200
        assert server.json("GET", "/api/status")["replaced"] == 1
        (worker,) = server.viewer.pool.processes
        os.kill(worker, signal.SIGKILL)
        assert server.ask("GET", f"/api/views/{view}/tiles/15/20_8.png")[0] == 200
        assert server.json("GET", "/api/status")["replaced"] == 2


def test_tiles_survive_a_restart(tmp_path: Path) -> None:
    cloth(tmp_path / "cloth.png")
    found = []
    for _ in range(2):
        with running(tmp_path / "cloth.png", tmp_path / "cache", viewer_fakes.quick) as server:
            found.append(server.ask("GET", f"/api/views/{server.view()}/tiles/13/2_1.png"))
    assert found[0][2] == found[1][2]
    assert found[1][1]["x-chainzoom"] == "cached"


def test_with_a_token_nothing_is_told_without_it(tmp_path: Path) -> None:
    cloth(tmp_path / "cloth.png")
    with running(tmp_path / "cloth.png", tmp_path / "cache", viewer_fakes.quick, token="s3cret") as server:
        for path in ("/", "/api/photos", "/static/viewer.css", "/api/openapi.json", "/?token=wrong"):
            assert server.ask("GET", path)[0] == 401
        status, headers, _ = server.ask("GET", "/?token=s3cret", headers={"host": "some-name.example"})
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
        cookie = {"cookie": headers["set-cookie"].partition(";")[0]}
        assert server.ask("GET", "/api/photos", headers=cookie)[0] == 200
        assert server.ask("GET", "/api/photos", headers={"authorization": "Bearer s3cret"})[0] == 200
        assert server.ask("GET", "/api/photos", headers={"authorization": "Bearer s3cre"})[0] == 401
