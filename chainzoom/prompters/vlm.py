"""``vlm``: words from a vision-language model on this machine (Qwen2.5-VL, Qwen3-VL), alone or with the official GRPO adapter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from chainzoom.errors import BackendError, OptionError
from chainzoom.extras import need
from chainzoom.prompters import quality, vlm_loading
from chainzoom.prompters.asking import PROMPT_LIMIT, Answer, Asking, Request
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.cache import AnswerCache
from chainzoom.prompters.questions import turns
from chainzoom.torch_io import out_of_memory, parse_device
from chainzoom.weights import Weights, cached_sha256

if TYPE_CHECKING:
    import torch

MEMORY = ("fast", "balanced", "low")
TOP_P = 0.9


class VLM:
    """Asks the model about each view, many at once. Make one with ``from_pretrained``.

    Greedy by default (temperature 0), with the checkpoint's own repetition penalty. When it samples, each view's draws come from its own
    seed, whatever else is in the batch. What a view's neighbours can still change is rounding: batches of another size or padding may
    tip a near tie between two words. The same views with the same ``batch_size`` on the same hardware give the same words.
    """

    name = "vlm"

    def __init__(self, loaded: vlm_loading.Loaded, asking: Asking | None, *, max_new_tokens: int, batch_size: int, memory: str) -> None:
        self._loaded, self._memory = loaded, memory
        self._max_new_tokens, self._batch = max_new_tokens, batch_size
        self._asking = asking or Asking(self.answers, self.name, "")
        self._identity: tuple[str, Path | None] = ("", None)
        need("torch", vlm_loading.NEEDED_BY)
        from chainzoom.torch_device import Lane, pin

        self._lock, self._lane = threading.Lock(), Lane(loaded.device, urgent=True)
        if memory == "balanced" and not loaded.quantised and loaded.device.type == "cuda":
            pin(loaded.model)
        _set_generation(loaded.model, max_new_tokens)
        tokenizer = getattr(loaded.processor, "tokenizer", loaded.processor)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        adapter: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        memory: str = "fast",
        quantise: str | None = None,
        merge_adapter: bool = True,
        max_new_tokens: int = 32,
        batch_size: int = 8,
        temperature: float = 0.0,
        verbatim: bool = False,
        limit: int = PROMPT_LIMIT,
        count: Callable[[str], int] = quality.signs,
        cache: AnswerCache | str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> VLM:
        """Load a checkpoint folder or hub name, and a PEFT adapter folder for its language half.

        device     ``auto`` (the GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``
        dtype      ``auto`` (bfloat16 on a GPU, float32 on the CPU), ``float32``, ``bfloat16``, ``float16``
        memory     ``fast``: stays on the device; ``balanced``: there only while it describes; ``low``: as ``int4`` on a GPU
        quantise   ``int8`` or ``int4`` weights of the language half (bitsandbytes); adapters then run beside it instead of merged
        verbatim   hand on fit answers as they came, as the official code does
        limit      longest prompt, as ``count`` counts (give the text encoder's tokeniser to be exact)
        cache      a file or AnswerCache with answers that were given before

        Raises WeightsError for a checkpoint or adapter that is missing, broken or does not fit, MissingExtraError, OptionError.
        """
        if memory not in MEMORY:
            raise OptionError(f"memory must be one of {', '.join(MEMORY)}; got {memory!r}")
        if batch_size < 1 or max_new_tokens < 1 or temperature < 0:
            got = f"{batch_size}, {max_new_tokens}, {temperature:g}"
            raise OptionError(f"batch_size and max_new_tokens must be at least 1, temperature at least 0; got {got}")
        need("torch", vlm_loading.NEEDED_BY)
        if memory == "low" and quantise is None and parse_device(device).type == "cuda":
            quantise = "int4"
        adapted = None
        if adapter is not None:
            from chainzoom.prompters import vlm_adapter

            adapted = vlm_adapter.read_adapter(adapter)
        loaded = vlm_loading.load(
            path_or_id,
            device=device,
            dtype=dtype,
            quantise=quantise,
            revision=revision,
            local_files_only=local_files_only,
            resident=memory != "balanced",
        )
        made = cls(loaded, None, max_new_tokens=max_new_tokens, batch_size=batch_size, memory=memory)
        if adapted is not None:
            if merge_adapter and not loaded.quantised:
                vlm_adapter.merge(loaded.model, adapted)
            else:
                vlm_adapter.Attached(loaded.model, adapted)
        made._identity = (str(path_or_id), None if adapted is None else adapted.file)
        # The cache must not mix up answers of other weights; hashing is left out when nothing outlives this object.
        model = "" if cache is None else repr((made.weights, dtype, quantise, max_new_tokens))
        made._asking = Asking(made.answers, cls.name, model, temperature, limit, count, verbatim, AnswerCache.of(cache))
        return made

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """The checkpoint's files and the adapter's; hashed on first use."""
        source, adapter = self._identity
        licence = vlm_loading.licence_of(source, self._loaded.model.config)
        found = vlm_loading.weights_of(Path(source).name, self._loaded.folder, licence)
        if adapter is None:
            return found
        name = f"{adapter.parent.name}/{adapter.name}"
        return (*found, Weights(name, "local", cached_sha256(adapter), "unknown: see where the adapter was published"))

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view, in order. Unfit answers are asked again once, then replaced by the parent's prompt with a note."""
        return self._asking.describe(views)

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """The model's words for each request, in batches. Raises BackendError when memory runs out or numbers overflow."""
        if not requests:
            return []
        try:
            with self._lock, self._lane(), self._placed():
                parts = [self._batched(requests[at : at + self._batch]) for at in range(0, len(requests), self._batch)]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            parts = []
        if not parts:
            raise BackendError(f"the vlm prompter ran out of memory on {self._loaded.device}; {self._next_setting()}")
        return [answer for part in parts for answer in part]

    def _batched(self, requests: Sequence[Request]) -> list[Answer]:
        import torch

        model, processor = self._loaded.model, self._loaded.processor
        chats = [turns(request.question, [{"type": "image"}] * len(request.images)) for request in requests]
        texts = [processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        images = [PILImage.fromarray(pixels) for request in requests for pixels in request.images]
        inputs = processor(text=texts, images=images, padding=True, return_tensors="pt").to(self._loaded.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        draw = _Draw([request.temperature for request in requests], [request.seed for request in requests])
        with torch.inference_mode():
            out = model.generate(**inputs, logits_processor=[draw])
        draw.check()
        fresh = out[:, inputs["input_ids"].shape[1] :].cpu()
        ends = torch.tensor(model.generation_config.eos_token_id).flatten()
        texts = processor.batch_decode(fresh, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [Answer(text.strip(), cut=not bool(torch.isin(row, ends).any())) for text, row in zip(texts, fresh, strict=True)]

    def _next_setting(self) -> str:
        if self._batch > 1:
            return f"use a smaller batch_size (now {self._batch}; next {max(1, self._batch // 2)})"
        if self._memory == "fast" and not self._loaded.quantised:
            return "use --memory balanced"
        return "use --memory low" if self._memory != "low" else "use device='cpu' or a smaller model"

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """In ``balanced`` the model waits in main memory between calls, so that the backbone has the device."""
        if self._memory != "balanced" or self._loaded.quantised:
            yield
            return
        from chainzoom.torch_device import visiting

        with visiting(self._loaded.model, self._loaded.device):
            yield


class _Draw:
    """Logits processor that turns greedy search into sampling for rows with a temperature.

    Adding Gumbel noise to the scaled logits and taking the largest draws from their softmax, so each row can have its own generator:
    its words do not depend on its neighbours. Noise is made on the CPU, so every device draws the same numbers.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int]) -> None:
        import torch

        self._temperatures = list(temperatures)
        self._generators = [torch.Generator("cpu").manual_seed(seed % 2**63) for seed in seeds]
        self._overflow: Any = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, T) tokens so far and (B, vocabulary) logits -> logits."""
        import torch

        self._overflow = torch.isnan(scores).any() | self._overflow  # looked at once, at the end: each look halts the device
        if not any(self._temperatures):
            return scores
        out = scores.clone()
        for row, (temperature, generator) in enumerate(zip(self._temperatures, self._generators, strict=True)):
            if temperature:
                noise = torch.rand(scores.shape[1], generator=generator, dtype=torch.float64).clamp_(1e-300, 1 - 1e-16)
                kept = _nucleus(scores[row].double() / temperature)
                out[row] = (kept - torch.log(-torch.log(noise)).to(kept.device)).to(scores.dtype)
        return out

    def check(self) -> None:
        """BackendError when the logits were ever no numbers."""
        if bool(self._overflow):
            raise BackendError("the vlm prompter's numbers overflowed; use dtype bfloat16 or float32 instead of float16")


def _nucleus(logits: torch.Tensor) -> torch.Tensor:
    """(vocabulary,): the likeliest words that together hold ``TOP_P`` of the probability; the rest is -inf."""
    import torch

    ordered, index = logits.sort(descending=True, stable=True)
    before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)
    return torch.full_like(logits, float("-inf")).index_put((index,), ordered.masked_fill(before >= TOP_P, float("-inf")))


def _set_generation(model: Any, max_new_tokens: int) -> None:
    """Greedy search with the checkpoint's stop tokens and repetition penalty, and none of its sampling settings."""
    transformers = need("transformers", vlm_loading.NEEDED_BY)
    own = model.generation_config
    eos = own.eos_token_id if own.eos_token_id is not None else model.config.get_text_config().eos_token_id
    pad = own.pad_token_id if own.pad_token_id is not None else (eos[0] if isinstance(eos, list) else eos)
    model.generation_config = transformers.GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        repetition_penalty=own.repetition_penalty or 1.0,
        eos_token_id=eos,
        pad_token_id=pad,
        bos_token_id=own.bos_token_id,
    )
