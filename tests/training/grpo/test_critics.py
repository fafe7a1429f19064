"""Rewards by name, and critics that are not there or answer nonsense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chainzoom.errors import BackendError, OptionError
from chainzoom.training.grpo.critics import build_rewards, load_function
from chainzoom.training.grpo.rewards import Sample
from chainzoom.training.grpo.run import rehearse
from tests.training.grpo.test_rewards import sample
from tests.training.grpo.tiny_run import toy


class Chatter:
    """An OpenAI-compatible server that answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[str] = ["50"]
        self.asked: list[dict] = []
        chatter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send({"data": [{"id": "judge"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                chatter.asked.append(body)
                said = chatter.answers[min(len(chatter.asked), len(chatter.answers)) - 1]
                self._send({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})

            def _send(self, body: dict) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def chatter() -> Iterator[Chatter]:
    pytest.importorskip("httpx")
    made = Chatter()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_weights_are_the_papers_unless_said_otherwise() -> None:
    made = build_rewards({"phrase": {}, "repetition": {"weight": 2, "n": 2}})
    assert [(one.name, one.weight) for one in made] == [("phrase", 0.5), ("repetition", 2.0)]
    assert made[1].function([sample("a b a b")]) == [pytest.approx(-1 / 3)]


def test_a_function_from_a_file_with_options(tmp_path: Path) -> None:
    (made,) = build_rewards({"mine": {"function": f"{toy(tmp_path)}:likes", "wanted": ["moss"]}})
    assert made.weight == 1.0
    assert made.function([sample("moss on moss"), sample("sky")]) == [2.0, 0.0]


def test_a_function_from_a_module() -> None:
    assert load_function("chainzoom.training.grpo.rewards:phrase")([sample("moss")]) == [1.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sharpness": {}}, "rewards.sharpness needs function = 'module:function'; without one there are critic, phrase, repetition"),
        ({"mine": {"function": "nowhere"}}, "must look like 'module:function'"),
        ({"mine": {"function": "no.such.module:f"}}, "cannot load no.such.module:f: ModuleNotFoundError"),
        ({"mine": {"function": "none.py:f"}}, "there is no file none.py"),
        ({"mine": {"function": "json:no_such"}}, "json has no function no_such"),
        ({"mine": {"function": "{toy}:likes"}}, "missing a required argument: 'wanted'; likes takes wanted"),
        ({"mine": {"function": "{toy}:likes", "wanted": [], "wnted": []}}, "unexpected keyword argument 'wnted'"),
        ({"phrase": {"weight": "much"}}, "rewards.phrase.weight must be a number"),
        ({"phrase": {"weight": 0}}, "every reward has weight 0"),
        ({"phrase": {"phrases": "first image"}}, "rewards.phrase.phrases must be a list of words"),
        ({"repetition": {"n": 0}}, "rewards.repetition.n must be a whole number"),
        ({"repetition": {"m": 3}}, "unexpected keyword argument 'm'; repetition takes n"),
        ({"critic": {}}, "needs a critic: url of an OpenAI-compatible server, or model"),
        ({"critic": {"url": "http://127.0.0.1:9/v1", "device": "cpu"}}, "unknown key 'device'; with url it may have"),
        ({"critic": {"model": "m", "concurrency": 2}}, "unknown key 'concurrency'; with model it may have"),
        ({"critic": {"url": "somewhere"}}, "the server's URL is not usable"),
        ({"critic": {"url": 3}}, "an option has the wrong type"),
    ],
)
def test_refused(table: dict, message: str, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    filled = {
        name: {key: value.replace("{toy}", str(toy(tmp_path))) if isinstance(value, str) else value for key, value in given.items()}
        for name, given in table.items()
    }
    with pytest.raises(OptionError, match=message):
        build_rewards(filled)


def test_a_broken_module_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_thing\n")
    with pytest.raises(OptionError, match="ModuleNotFoundError: No module named 'no_such_thing'"):
        load_function(f"{tmp_path / 'broken.py'}:f")


def test_a_server_as_critic(chatter: Chatter) -> None:
    chatter.answers = ["70", "Seventy!", "30/100"]
    (made,) = build_rewards({"critic": {"url": chatter.url, "concurrency": 1}})
    assert made.weight == 1.0
    assert made.function([sample("moss"), sample("fur"), sample("sky")]) == [0.7, None, 0.3]
    asked = chatter.asked[0]
    assert asked["temperature"] == 0.0
    assert "rate the quality" in asked["messages"][0]["content"]
    assert "Description: moss Rating" in asked["messages"][0]["content"]
    assert [part["type"] for part in asked["messages"][1]["content"]] == ["image_url", "image_url"]


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("httpx")
    with pytest.raises(BackendError, match="cannot be reached"):
        build_rewards({"critic": {"url": "http://127.0.0.1:9/v1", "retries": 0}})


def test_a_server_without_the_model(chatter: Chatter) -> None:
    chatter.server.RequestHandlerClass.do_POST = lambda self: self.send_error(404)  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match="does not serve 'other'"):
        build_rewards({"critic": {"url": chatter.url, "name": "other", "retries": 0}})


def test_a_critic_that_never_gives_a_number_is_found_out(chatter: Chatter) -> None:
    chatter.answers = ["A fine description."]
    made = build_rewards({"critic": {"url": chatter.url}, "phrase": {}})
    with pytest.raises(OptionError, match=r"'critic' gave no usable value.*'A fine description.'.*one number from 0 to 100"):
        rehearse(made, [sample("").pair])
    chatter.answers = ["50"]
    rehearse(made, [sample("").pair])


def test_a_local_model_as_critic(tmp_path: Path) -> None:
    for package in ("torch", "transformers", "torchvision"):
        pytest.importorskip(package)
    from tests.prompters import tiny_vlm

    folder = tiny_vlm.make(tmp_path / "judge", says=["8", "5"])
    (made,) = build_rewards({"critic": {"model": str(folder), "device": "cpu"}})
    samples: list[Sample] = [sample("moss"), sample("fur")]
    assert made.function(samples) == [0.85, 0.85]
