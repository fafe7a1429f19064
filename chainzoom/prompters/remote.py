"""``remote``: words from a vision-language model behind an OpenAI-compatible server (vLLM, SGLang, ``transformers serve``, hosted)."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from chainzoom.errors import BackendError, OptionError
from chainzoom.prompters import quality
from chainzoom.prompters.asking import PROMPT_LIMIT, Answer, Asking, Request
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.cache import AnswerCache
from chainzoom.prompters.http_json import KEY_NAMES, Failure, Server
from chainzoom.prompters.questions import turns
from chainzoom.prompters.vlm_loading import licence_of
from chainzoom.weights import Weights


class Remote:
    """Asks a server about each view, several at a time; call ``check`` before the first image.

    url             base URL of the API, e.g. ``http://127.0.0.1:8000/v1``
    model           as the server calls it; None when it serves just one
    key_env         environment variable with the API key; None: ``CHAINZOOM_API_KEY``, then ``OPENAI_API_KEY``. The key is read for each
                    request and kept nowhere
    timeout         seconds for one attempt
    retries         further attempts after connection errors, time-outs, 429 and 5xx, with growing pauses
    concurrency     requests under way at once
    max_new_tokens  longest answer
    temperature     0 asks for the likeliest words; above, each view's seed is sent along
    verbatim, limit, count, cache   as for ``vlm``
    """

    name = "remote"

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key_env: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        concurrency: int = 8,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        verbatim: bool = False,
        limit: int = PROMPT_LIMIT,
        count: Callable[[str], int] = quality.signs,
        cache: AnswerCache | str | Path | None = None,
        transport: Any = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if timeout <= 0 or retries < 0 or concurrency < 1 or max_new_tokens < 1 or temperature < 0:
            raise OptionError("timeout, concurrency and max_new_tokens must be above 0, retries and temperature at least 0")
        self._server = Server(
            url,
            key_names=KEY_NAMES if key_env is None else (key_env,),
            timeout=timeout,
            retries=retries,
            connections=concurrency,
            transport=transport,
            sleep=sleep,
        )
        self._model, self._concurrency, self._max_new_tokens = model, concurrency, max_new_tokens
        self._settings = {"temperature": temperature, "limit": limit, "count": count, "verbatim": verbatim}
        self._cache = AnswerCache.of(cache)
        self._checked, self._lock = False, threading.Lock()

    def __repr__(self) -> str:
        return f"Remote({self._server.url!r}, {self._model!r})"

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The model as the server calls it; its bytes are not known here, so ``sha256`` is empty."""
        self.check()
        name = str(self._model)
        return (Weights(name, f"served at {self._server.url}", "", licence_of(name)),)

    def check(self) -> None:
        """Make sure, once, that the server answers and serves the model, before any image is touched.

        Raises BackendError naming the URL and the remedy.
        """
        with self._lock:
            if self._checked:
                return
            listed = self._listed()
            if self._model is None:
                if len(listed) != 1:
                    serves = f"serves {len(listed)} models ({_some(listed)})" if listed else "does not say which models it serves"
                    raise self._server.error(Failure(serves, "choose one by name"))
                self._model = listed[0]
            elif self._model not in listed:
                # Some servers list nothing, or load models on demand: one word of text tells.
                outcome = self._server.attempt("POST", "/chat/completions", self._payload([{"role": "user", "content": "Hello"}], 0, 0, 1))
                if isinstance(outcome, Failure):
                    also = f" (it lists {_some(listed)})" if listed else ""
                    raise self._server.error(
                        Failure(f"does not serve {self._model!r}{also}: it {outcome.what}", outcome.remedy, outcome.status)
                    )
            self._checked = True

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view, in order. Unfit answers are asked again once, then replaced by the parent's prompt with a note."""
        self.check()
        identity = f"{self._server.url} {self._model} {self._max_new_tokens}"
        return Asking(self.answers, self.name, identity, cache=self._cache, **self._settings).describe(views)  # type: ignore[arg-type]

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """The server's words for each request, in order. Raises BackendError when one of them cannot be had."""
        if not requests:
            return []
        pool = ThreadPoolExecutor(min(self._concurrency, len(requests)), thread_name_prefix="chainzoom-remote")
        try:
            return list(pool.map(self._answer, requests))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> Answer:
        images = [{"type": "image_url", "image_url": {"url": data_uri(pixels)}} for pixels in request.images]
        payload = self._payload(turns(request.question, images), request.temperature, request.seed, self._max_new_tokens)
        reply = self._server.ask("POST", "/chat/completions", payload)
        try:
            choice = reply["choices"][0]
            content = choice["message"]["content"]
            if isinstance(content, list):
                content = "".join(part["text"] for part in content if part.get("type") == "text")
            cut = choice.get("finish_reason") == "length"
        except (KeyError, IndexError, TypeError, AttributeError):
            content = cut = None
        if content is None and cut is not None:
            content = ""  # a model that had nothing to say
        if not isinstance(content, str):
            raise self._rubbish()
        return Answer(self._server.redacted(content), bool(cut))

    def _rubbish(self) -> BackendError:
        return self._server.error(Failure("answered JSON that is no chat completion", "check that the URL is an OpenAI-compatible API"))

    def _payload(self, messages: list[dict[str, Any]], temperature: float, seed: int, tokens: int) -> dict[str, Any]:
        payload = {"model": self._model, "messages": messages, "max_tokens": tokens, "temperature": temperature, "stream": False}
        # Servers differ in how large a seed they take; 31 bits fit all.
        return payload | {"seed": seed % 2**31} if temperature else payload

    def _listed(self) -> list[str]:
        """Names of the models served; empty when the server keeps no list."""
        outcome = self._server.attempt("GET", "/models", final=(500, 501))
        if isinstance(outcome, Failure):
            # Servers without a list say so in many ways, 500 among them; asking the model itself decides.
            if outcome.status in (400, 404, 405) or outcome.status >= 500:
                return []
            raise self._server.error(outcome)
        entries = outcome.get("data") if isinstance(outcome, dict) else None
        if not isinstance(entries, list):
            raise self._server.error(Failure("answered JSON that is no list of models", "check that the URL is an OpenAI-compatible API"))
        return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """An 8-bit image (H, W, 3) as a PNG data URI."""
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
