from __future__ import annotations

import base64
import io
import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from chainzoom.errors import BackendError, MissingExtraError, OptionError
from chainzoom.prompters.asking import Answer, Request
from chainzoom.prompters.base import Prompt, Prompter, View
from chainzoom.prompters.cache import AnswerCache
from chainzoom.prompters.questions import TWO_IMAGES
from chainzoom.prompters.remote import Remote, data_uri

pytest.importorskip("httpx")

CANARY = "sk-canary-9f8e7d6c5b4a"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("CHAINZOOM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def view(value: float = 0.5, **more: object) -> View:
    return View(parent=np.zeros((8, 8, 3), np.float32), crop=np.full((8, 8, 3), value, np.float32), scale=4, factor=4, **more)


def completion(text: object, finish: str = "stop") -> dict:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
    }


Reply = tuple[int, dict[str, str], bytes]


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, data


MODELS = reply({"object": "list", "data": [{"id": "tiny", "object": "model"}]})


class Seen:
    """What a server was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict | None]] = []
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def chats(self) -> list[dict]:
        return [body for _, path, _, body in self.requests if path.endswith("/chat/completions")]


@contextmanager
def serving(chat: Callable[[dict, Seen], Reply], models: Reply = MODELS) -> Iterator[tuple[str, Seen]]:
    """A real server on the loopback interface; yields its base URL and what it saw."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, body: dict | None) -> None:
            with seen.lock:
                seen.requests.append((self.command, self.path, dict(self.headers), body))
                seen.now += 1
                seen.most = max(seen.most, seen.now)
            try:
                status, headers, data = models if self.path.endswith("/models") else chat(body or {}, seen)
            finally:
                with seen.lock:
                    seen.now -= 1
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client has given up

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def asking(url: str, model: str | None = "tiny", **options: object) -> Iterator[Remote]:
    remote = Remote(url, model, **{"sleep": lambda _: None, "timeout": 5.0, **options})
    try:
        yield remote
    finally:
        remote.close()


def scripted(*replies: Reply) -> Callable[[dict, Seen], Reply]:
    left = list(replies)
    return lambda body, seen: left.pop(0) if len(left) > 1 else left[0]


def test_what_is_sent_and_what_comes_back():
    with serving(scripted(reply(completion("1. orange fur\n2. grass")))) as (url, seen), asking(url, max_new_tokens=20) as remote:
        assert isinstance(remote, Prompter)
        assert remote.describe([view(0.5)]) == [Prompt("orange fur, grass", "remote")]
    (body,) = seen.chats()
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny", 20, 0)
    system, user = body["messages"]
    assert system == {"role": "system", "content": TWO_IMAGES}
    assert user["role"] == "user"
    urls = [part["image_url"]["url"] for part in user["content"]]
    assert [part["type"] for part in user["content"]] == ["image_url"] * 2
    images = [np.asarray(PILImage.open(io.BytesIO(base64.b64decode(u.removeprefix("data:image/png;base64,"))))) for u in urls]
    assert [(image.shape, image[0, 0].tolist()) for image in images] == [((8, 8, 3), [0, 0, 0]), ((8, 8, 3), [128, 128, 128])]
    assert "Authorization" not in seen.requests[-1][2]


def test_the_server_is_checked_before_the_first_image_and_once():
    with serving(scripted(reply(completion("fur")))) as (url, seen), asking(url, None) as remote:
        remote.check()
        assert seen.chats() == []
        remote.describe([view()])
        remote.describe([view(0.1)])
        assert [path for _, path, _, _ in seen.requests] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
        (weights,) = remote.weights
        assert (weights.name, weights.revision, weights.sha256) == ("tiny", f"served at {url}", "")


def test_a_short_url_is_completed():
    with serving(scripted(reply(completion("fur")))) as (url, _):
        for short in (url.removesuffix("/v1"), url + "/", url + "/chat/completions"):
            with asking(short) as remote:
                assert remote.describe([view()])[0].text == "fur"


@pytest.mark.parametrize(
    ("models", "model", "words"),
    [
        (reply({"data": [{"id": "a"}, {"id": "b"}]}), None, r"serves 2 models \(a, b\); choose one"),
        (reply(b"no", 404), None, "does not say which models"),
        (reply({"data": [{"id": "a"}]}), "other", r"does not serve 'other' \(it lists a\).*answered 404"),
        (reply(b"<html>hello</html>"), "tiny", r"not JSON; check that the URL"),
        (reply({"hello": 1}), "tiny", "no list of models"),
        (reply([]), "tiny", "no list of models"),
        (reply(b"", 401), "tiny", "set the API key in the environment variable CHAINZOOM_API_KEY or OPENAI_API_KEY"),
        (reply(b"", 307, Location="http://127.0.0.1:1/v1/models"), "tiny", "redirect"),
    ],
)
def test_check_names_what_is_wrong(models, model, words):
    with serving(scripted(reply({"error": "no such model"}, 404)), models) as (url, seen), asking(url, model) as remote:
        with pytest.raises(BackendError, match=words) as caught:
            remote.check()
        assert url in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(BackendError):
            remote.describe([view()])
        assert not any("image_url" in json.dumps(body) for body in seen.chats())


@pytest.mark.parametrize("models", [reply(b"", 404), reply(b"", 500), MODELS])
def test_a_model_that_is_not_listed_but_answers_is_fine(models):
    with serving(scripted(reply(completion("Hi"))), models) as (url, seen), asking(url, "on demand") as remote:
        remote.check()
        assert seen.chats()[0]["max_tokens"] == 1


def test_errors_of_the_moment_are_tried_again_with_growing_pauses(monkeypatch):
    monkeypatch.setattr("chainzoom.prompters.http_json.random.uniform", lambda low, high: high)
    pauses: list[float] = []
    faults = [reply(b"oops", 500), reply(b"", 503), reply(b"", 502), reply(completion("fur"))]
    with serving(scripted(*faults)) as (url, seen), asking(url, sleep=pauses.append) as remote:
        assert remote.describe([view()])[0].text == "fur"
        assert pauses == [0.5, 1.0, 2.0]
        assert len(seen.chats()) == 4


def test_pauses_are_jittered():
    pauses: list[float] = []
    with (
        serving(scripted(reply(b"", 500))) as (url, _),
        asking(url, sleep=pauses.append, retries=3) as remote,
        pytest.raises(BackendError, match="answered 500"),
    ):
        remote.describe([view()])
    assert [0.25 * 2**i <= pause <= 0.5 * 2**i for i, pause in enumerate(pauses)] == [True] * 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form):
    pauses: list[float] = []
    value = "7" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    busy = reply(b"", 429, Retry_After=value)
    with serving(scripted(busy, reply(completion("fur")))) as (url, _), asking(url, sleep=pauses.append) as remote:
        assert remote.describe([view()])[0].text == "fur"
    assert pauses[0] == pytest.approx(7, abs=0 if form == "seconds" else 1.1)


def test_a_server_that_wants_an_hour_is_not_waited_for():
    with (
        serving(scripted(reply(b"quota", 429, Retry_After="3600"))) as (url, seen),
        asking(url, sleep=lambda _: pytest.fail("slept")) as remote,
    ):
        with pytest.raises(BackendError, match="429: quota"):
            remote.describe([view()])
        assert len(seen.chats()) == 1


def test_a_slow_server_is_given_up(monkeypatch):
    release = threading.Event()

    def slow(body: dict, seen: Seen) -> Reply:
        release.wait(10)
        return reply(completion("late"))

    with serving(slow) as (url, seen), asking(url, timeout=0.2, retries=1) as remote:
        start = time.perf_counter()
        with pytest.raises(BackendError, match=r"did not answer within 0\.2 s; raise the timeout"):
            remote.describe([view()])
        assert time.perf_counter() - start < 5
        assert len(seen.chats()) == 2
        release.set()


def test_a_server_that_is_down():
    with serving(scripted(reply(completion("x")))) as (url, _):
        pass
    with asking(url) as remote, pytest.raises(BackendError, match=rf"{re.escape(url)} cannot be reached \(ConnectError\); start it"):
        remote.check()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(b"{not json"), "not JSON"),
        (reply(b"\xff\xfe\x00"), "not JSON"),
        (reply({"choices": []}), "no chat completion"),
        (reply([1]), "no chat completion"),
        (reply(completion(5)), "no chat completion"),
        (reply({"error": {"message": "takes\nno images"}}, 400), r"answered 400: .*takes.*no images.*; check the model's name"),
        (reply(b"x" * (9 << 20)), "more than 8 MiB"),
    ],
)
def test_rubbish_is_named_and_not_tried_again(answer, words):
    with serving(scripted(answer)) as (url, seen), asking(url) as remote:
        with pytest.raises(BackendError, match=words) as caught:
            remote.describe([view()])
        assert len(seen.chats()) == 1
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "finish", "answer"),
    [
        ([{"type": "text", "text": "fur"}, {"type": "other"}], "stop", Answer("fur")),
        (None, "stop", Answer("")),
        ("fur, gra", "length", Answer("fur, gra", cut=True)),
    ],
)
def test_forms_of_an_answer(content, finish, answer):
    black = np.zeros((4, 4, 3), np.uint8)
    with serving(scripted(reply(completion(content, finish)))) as (url, _), asking(url) as remote:
        assert remote.answers([Request((black,), "q", 0.0, 0)]) == [answer]


def test_unfit_answers_fall_back_to_the_parents_prompt():
    with serving(scripted(reply(completion("the second image shows fur")))) as (url, seen), asking(url) as remote:
        (prompt,) = remote.describe([view(history=(Prompt("a cat", "remote"),))])
    assert prompt.text == "a cat"
    assert "parent's prompt used" in prompt.notes[0]
    first, second = seen.chats()
    assert "seed" not in first
    assert second["temperature"] > 0
    assert 0 <= second["seed"] < 2**31


def test_views_are_asked_at_the_same_time_and_answered_in_order():
    gate = threading.Barrier(4, timeout=5)

    def echo(body: dict, seen: Seen) -> Reply:
        gate.wait()
        uri = body["messages"][1]["content"][1]["image_url"]["url"]
        grey = PILImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).getpixel((0, 0))[0]
        return reply(completion("abcdefgh"[grey // 32] * 2 + " fur"))

    with serving(echo) as (url, seen), asking(url, concurrency=4) as remote:
        prompts = remote.describe([view((32 * i + 1) / 255) for i in range(8)])
    assert [p.text for p in prompts] == [letter * 2 + " fur" for letter in "abcdefgh"]
    assert seen.most == 4


def test_one_failure_fails_the_call_and_stops_the_rest():
    with serving(scripted(reply(b"", 400))) as (url, seen), asking(url, concurrency=1) as remote:
        with pytest.raises(BackendError):
            remote.describe([view(i / 50) for i in range(50)])
        assert len(seen.chats()) < 50


def test_answers_are_cached_by_image_question_and_model(tmp_path):
    with serving(scripted(reply(completion("fur")))) as (url, seen):
        for _ in range(2):
            cache = AnswerCache(tmp_path / "prompts.sqlite")
            with asking(url, cache=cache) as remote:
                remote.describe([view(0.1), view(0.1), view(0.2)])
            cache.close()
        assert len(seen.chats()) == 2
        with asking(url, max_new_tokens=5, cache=AnswerCache(tmp_path / "prompts.sqlite")) as remote:
            remote.describe([view(0.1)])
        assert len(seen.chats()) == 3


@pytest.mark.parametrize("fault", ["refused", "echoed", "echoed in the answer", "down", "rubbish", "slow"])
def test_the_key_reaches_the_server_and_nothing_else(monkeypatch, caplog, capsys, tmp_path, fault):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CHAINZOOM_API_KEY", CANARY)
    echo = reply({"error": f"Incorrect API key: {CANARY}"}, 400)
    answers = {
        "refused": reply(f"bad key {CANARY}".encode(), 401),
        "echoed": echo,
        "echoed in the answer": reply(completion(f"fur, {CANARY}")),
        "rubbish": reply(CANARY.encode()),
    }

    def chat(body: dict, seen: Seen) -> Reply:
        if fault == "slow":
            time.sleep(0.4)
        return answers.get(fault, reply(completion("fur")))

    said: list[str] = []
    chained: list[object] = []
    with serving(chat) as (url, seen):
        cache = AnswerCache(tmp_path / "prompts.sqlite")
        with asking(url, cache=cache, timeout=0.2 if fault == "slow" else 5.0, retries=1) as remote:
            remote.check()
            if fault == "down":
                monkeypatch.setattr(remote._server, "url", "http://127.0.0.1:9/v1")
            try:
                prompts = remote.describe([view()])
                said += [repr(prompts), repr(remote.weights)]
            except BackendError as error:
                said += ["".join(traceback.format_exception(error)), repr(error)]
                chained += [error.__cause__, error.__context__]
                frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
                said += [repr(frame.f_locals) for frame in frames if frame.f_globals["__name__"].startswith("chainzoom")]
            said += [
                repr(remote),
                str(remote),
                repr(remote._server),
                repr(vars(remote)),
                repr(vars(remote._server)),
                repr(vars(remote._server._client)),
            ]
        cache.close()
        assert seen.requests[0][2]["Authorization"] == f"Bearer {CANARY}"
    said += [caplog.text, "".join(capsys.readouterr()), (tmp_path / "prompts.sqlite").read_bytes().decode("latin-1")]
    assert len(said) > 8
    assert set(chained) <= {None}
    assert not [text for text in said if CANARY in text]


def test_the_first_key_that_is_set_counts_and_its_name_can_be_chosen(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    with serving(scripted(reply(completion("fur")))) as (url, seen):
        for options, sent in (({}, "second"), ({"key_env": "MY_KEY"}, None), ({"key_env": "MY_KEY"}, "mine")):
            if sent == "mine":
                monkeypatch.setenv("MY_KEY", " mine\n")
            with asking(url, **options) as remote:
                remote.check()
            assert seen.requests[-1][2].get("Authorization") == (sent and f"Bearer {sent}")


def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch):
    monkeypatch.setenv("CHAINZOOM_API_KEY", f"{CANARY}\r\nX-Evil: 1")
    with asking("http://127.0.0.1:9/v1") as remote, pytest.raises(OptionError, match="CHAINZOOM_API_KEY holds characters") as caught:
        remote.check()
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        f"http://me:{CANARY}@host/v1",
        f"http://host/v1?key={CANARY}",
        "http://host:port/v1",
        "http://[/v1",
    ],
)
def test_urls_that_cannot_be_used(url):
    with pytest.raises(OptionError, match="server's URL") as caught:
        Remote(url, "m")
    assert CANARY not in str(caught.value)


def test_a_proxy_is_not_told_about_this_machines_servers(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(scripted(reply(completion("fur")))) as (url, _), asking(url) as remote:
        assert remote.describe([view()])[0].text == "fur"


@pytest.mark.parametrize("options", [{"timeout": 0}, {"retries": -1}, {"concurrency": 0}, {"max_new_tokens": 0}, {"temperature": -1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(OptionError):
        Remote("http://127.0.0.1:9/v1", **options)


def test_without_httpx_the_install_line_is_given(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name, name=name)

    monkeypatch.setattr("chainzoom.extras.importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r"needs httpx.*chainzoom\[vlm\]"):
        Remote("http://127.0.0.1:9/v1")


def test_png_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    back = PILImage.open(io.BytesIO(base64.b64decode(data_uri(pixels).partition(",")[2])))
    assert back.format == "PNG"
    np.testing.assert_array_equal(np.asarray(back), pixels)


def test_a_real_model_behind_a_real_server_answers_as_it_does_here(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("torchvision")
    from chainzoom.prompters.vlm import VLM
    from tests.prompters import tiny_vlm

    torch.set_num_threads(1)
    folder = tiny_vlm.make(tmp_path / "tiny", seed=5)
    local = VLM.from_pretrained(folder, device="cpu", max_new_tokens=8, local_files_only=True)
    lock = threading.Lock()

    def chat(body: dict, seen: Seen) -> Reply:
        uris = [part["image_url"]["url"] for part in body["messages"][1]["content"]]
        images = tuple(np.asarray(PILImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) for uri in uris)
        with lock:
            (answer,) = local.answers([Request(images, body["messages"][0]["content"], body["temperature"], body.get("seed", 0))])
        return reply(completion(answer.text, "length" if answer.cut else "stop"))

    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 256, (60, 60, 3), dtype=np.uint8) for _ in range(6)]
    requests = [Request((pixels[i], pixels[i + 1]), TWO_IMAGES, 0.0, 0) for i in range(3)] + [Request((pixels[5],), "What?", 1.0, 77)]
    with serving(chat) as (url, seen), asking(url, max_new_tokens=8, timeout=60) as remote:
        assert remote.answers(requests) == [local.answers([one])[0] for one in requests]
        assert len(seen.chats()) == 4
        (prompt,) = remote.describe([view(history=(Prompt("a cat", "remote"),))])
    assert prompt.source == "remote"
    assert len({answer.text for answer in local.answers(requests)}) > 1
