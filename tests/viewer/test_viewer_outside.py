"""``chainzoom view --host 0.0.0.0`` as a process of its own, reached over the machine's own address as another machine would."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

from chainzoom.errors import OptionError
from chainzoom.viewer import serve, vendor
from chainzoom.viewer.security import COOKIE, is_loopback
from tests.viewer.viewer_server import cloth

OWN = serve._own("0.0.0.0")
pytestmark = [
    pytest.mark.skipif(OWN is None, reason="no network but loopback here"),
    pytest.mark.skipif(vendor.missing(), reason=f"OpenSeadragon is not here: {vendor.HOW}"),
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that the command says."""
    folder = tmp_path_factory.mktemp("viewer-outside")
    photo = cloth(folder / "cloth.png")
    command = [
        sys.executable,
        "-m",
        "chainzoom",
        "view",
        str(photo),
        "--preset",
        "bicubic",
        "--cache",
        str(folder / "cache"),
        "--no-browser",
    ]
    with subprocess.Popen([*command, "--host", "0.0.0.0", "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def place(printed: str) -> str:
    return f"http://{urlsplit(printed).netloc}"


def client(place: str, **given: object) -> httpx.Client:
    return httpx.Client(base_url=place, timeout=60, trust_env=False, **given)  # type: ignore[arg-type]


def test_the_printed_address_works_and_is_not_loopback(printed: str, place: str) -> None:
    host = urlsplit(printed).hostname
    assert host == OWN
    assert not is_loopback(str(host))
    assert re.fullmatch(r"token=[\w-]{32}", urlsplit(printed).query)
    with client(place) as browser:
        entered = browser.get(printed)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        page = browser.get("/")
        assert page.status_code == 200
        assert "token=" not in page.text
        (photo,) = browser.get("/api/photos").json()
        about = browser.get(f"/api/photos/{photo['id']}").json()
        tile = browser.get(f"/api/photos/{photo['id']}/tiles/{about['real_level']}/0_0.png")
        assert tile.content.startswith(b"\x89PNG")


def test_nothing_is_told_without_the_token(place: str) -> None:
    with client(place) as stranger:
        for path in ("/", "/api/photos", "/api/status", "/api/openapi.json", "/static/viewer.css", "/nothing", "/?token=", "/?token=wrong"):
            answer = stranger.get(path)
            assert answer.status_code == 401, path
            assert "set-cookie" not in answer.headers
        assert stranger.post("/api/views", json={"photo": "ffff"}).status_code == 401
        for headers in (
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic eDp5"},
            {"cookie": f"{COOKIE}=wrong"},
            {"cookie": "=;;="},
        ):
            assert stranger.get("/api/photos", headers=headers).status_code == 401


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:80", "localhost", "127.0.0.1", "", "[::1"])
def test_another_host_name_opens_nothing_by_itself(printed: str, place: str, host: str) -> None:
    with client(place) as stranger:
        assert stranger.get("/api/photos", headers={"host": host}).status_code in (400, 401)
    token = urlsplit(printed).query.partition("=")[2]
    own = {"authorization": f"Bearer {token}", "origin": "http://rebound.example"}
    with client(place, headers=own) as page:
        # A page under a name that was pointed here may have learnt the token, and still may not change anything but under its own name.
        answer = page.post("/api/views", json={"photo": "ffff"})
        assert answer.status_code == 403


def test_programs_send_the_token_as_bearer(printed: str, place: str) -> None:
    token = urlsplit(printed).query.partition("=")[2]
    with client(place, headers={"authorization": f"Bearer {token}"}) as program:
        (photo,) = program.get("/api/photos").json()
        view = program.post("/api/views", json={"photo": photo["id"]})
        assert view.status_code == 201
        with client(place, headers={"authorization": f"Bearer {token[:-1]}"}) as almost:
            assert almost.get(f"/api/views/{view.json()['id']}").status_code == 401


def test_loopback_needs_the_token_too(printed: str) -> None:
    with client(f"http://127.0.0.1:{urlsplit(printed).port}") as local:
        assert local.get("/api/photos").status_code == 401


def test_a_port_in_use_is_one_line(printed: str) -> None:
    with pytest.raises(OptionError, match=r"cannot listen on 0\.0\.0\.0"):
        serve._bind("0.0.0.0", urlsplit(printed).port or 0)
