"""Loading a vision-language model from a folder or the hub: precision, quantisation, devices; every tensor accounted for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainzoom.errors import BackendError, MissingExtraError, OptionError, WeightsError
from chainzoom.extras import need
from chainzoom.prompters.questions import ONE_IMAGE
from chainzoom.torch_io import dtype_keyword, out_of_memory, parse_device, quiet_loading
from chainzoom.weights import Weights, cached_sha256

NEEDED_BY = "the vlm prompter"
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTISE = (None, "int8", "int4")

UNKNOWN_LICENCE = "unknown: see the model card"
_RESEARCH = "Qwen Research License (non-commercial)"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in eval mode with its processor, and the folder that both came from."""

    model: Any
    processor: Any
    folder: Path
    device: Any
    quantised: bool


def pick_dtype(dtype: str, device: Any) -> Any:
    """``auto`` is bfloat16 on a GPU and float32 on the CPU."""
    torch = need("torch", NEEDED_BY)
    if dtype not in DTYPES:
        raise OptionError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return getattr(torch, dtype)


def quantisation(kind: str | None, dtype: Any) -> Any:
    """transformers' configuration for bitsandbytes weights of 8 or 4 bits (the vision tower and the output layer stay whole), or None."""
    if kind not in QUANTISE:
        raise OptionError(f"quantise must be int8, int4 or nothing; got {kind!r}")
    if kind is None:
        return None
    need("bitsandbytes", f"quantise={kind!r}", extra="quant")
    transformers = need("transformers", NEEDED_BY)
    keep = ["visual", "model.visual", "lm_head"]  # the tower under its older and today's names
    if kind == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=keep)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=keep
    )


def load(
    source: str | Path,
    *,
    device: str,
    dtype: str,
    quantise: str | None,
    revision: str | None = None,
    local_files_only: bool = False,
    resident: bool = True,
) -> Loaded:
    """Model and processor from a folder or hub name, weights from safetensors only, no code from the checkpoint.

    ``resident`` False leaves it in main memory for now. Raises WeightsError that names the checkpoint when it is missing, truncated,
    incomplete or something else, BackendError when it does not fit into memory, MissingExtraError for a package that is not installed,
    OptionError for a device that is not there.
    """
    transformers = need("transformers", NEEDED_BY)
    need("torchvision", NEEDED_BY)
    need("torch", NEEDED_BY)
    place = parse_device(device)
    number = pick_dtype(dtype, place)
    settings = quantisation(quantise, number)
    where = _folder(str(source), revision, local_files_only)
    options: dict[str, Any] = {dtype_keyword(): number}
    if settings is not None:
        need("accelerate", f"quantise={quantise!r}")
        options |= {"quantization_config": settings, "device_map": {"": str(place)}}
    hub = {"revision": revision} if revision else {}
    try:
        with quiet_loading():
            processor = transformers.AutoProcessor.from_pretrained(
                str(source), local_files_only=local_files_only, trust_remote_code=False, **hub
            )
            model, info = transformers.AutoModelForImageTextToText.from_pretrained(
                str(source),
                local_files_only=local_files_only,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
                **hub,
            )
            if settings is None and resident:
                model = model.to(place)
    except (MissingExtraError, WeightsError):
        raise
    except ImportError as error:
        raise MissingExtraError(NEEDED_BY, (error.name or "a package that transformers wants").split(".")[0], "vlm") from None
    except Exception as error:  # the library raises OSError, ValueError, KeyError, RuntimeError, SafetensorError, ...
        if not out_of_memory(error):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise WeightsError(
                f"model {source} cannot be loaded (truncated, incomplete or another kind): {reason}; fetch it again"
            ) from None
        model = None
    if model is None:
        raise BackendError(f"model {source} does not fit into the memory of {place}; use --memory low (4-bit weights), or --device cpu")
    _check(source, info)
    _check_processor(source, processor, model.config)
    return Loaded(model.eval().requires_grad_(False), processor, where, place, settings is not None)


def licence_of(name: str, config: Any = None) -> str:
    """The licence in a phrase, guessed from the name and, where known, the sizes; ``unknown: see the model card`` when neither says."""
    kind, width = getattr(config, "model_type", ""), getattr(getattr(config, "text_config", config), "hidden_size", 0)
    lower = name.lower().replace("_", "-")
    if kind in ("", "qwen2_5_vl"):
        if "qwen2.5-vl-3b" in lower or width == 2048:
            return _RESEARCH
        if re.search("qwen2.5-vl-(7b|32b)", lower) or width == 3584:
            return "Apache-2.0"
    return "Apache-2.0" if kind in ("", "qwen3_vl", "qwen3_vl_moe") and "qwen3-vl" in lower else UNKNOWN_LICENCE


def weights_of(name: str, folder: Path, licence: str) -> tuple[Weights, ...]:
    """Every safetensors file of a checkpoint folder, hashed; the revision is the hub's commit, or ``local``."""
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    commit = re.search(r"/snapshots/([0-9a-f]{40})$", folder.as_posix())
    return tuple(Weights(f"{name}/{file}", commit[1] if commit else "local", cached_sha256(folder / file), licence) for file in files)


def _folder(source: str, revision: str | None, local_files_only: bool) -> Path:
    """Where ``config.json`` lies; fetched from the hub first when that is needed and allowed."""
    path = Path(source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = "it is an adapter: give it as adapter=" if (path / "adapter_config.json").is_file() else "fetch the model again"
            raise WeightsError(f"model folder {source} holds no config.json; {hint}")
        return path
    offline = local_files_only or os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")
    remedy = (
        "it is not in the hub cache, and the hub may not be asked (offline)" if offline else "the hub does not have it or cannot be reached"
    )
    found = None
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not path.exists():
        hub = need("transformers.utils.hub", NEEDED_BY, "transformers")
        try:
            found = hub.cached_file(source, "config.json", revision=revision, local_files_only=local_files_only)
        except (OSError, ValueError):
            found = None
    if found is None:
        raise WeightsError(f"model {source} not found: there is no such folder, and {remedy}; fetch it first or give its folder")
    return Path(found).parent


def _check(source: str | Path, info: dict[str, Any]) -> None:
    """The library fills gaps with random numbers and skips what it does not know; both are errors here."""
    problems = []
    for label, what in (("missing_keys", "missing"), ("unexpected_keys", "not known"), ("mismatched_keys", "of another shape")):
        names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get(label) or ())
        if names:
            problems.append(f"{len(names)} tensors {what} (first: {names[0]})")
    if problems:
        raise WeightsError(f"model {source} does not fit its config: {', '.join(problems)}; fetch it again")


def _check_processor(source: str | Path, processor: Any, config: Any) -> None:
    """A checkpoint without its tokenizer files still loads, as a tokenizer that knows no words."""
    tokenizer = getattr(processor, "tokenizer", processor)
    said = tokenizer.decode(tokenizer.encode(ONE_IMAGE, add_special_tokens=False))
    if said.strip() != ONE_IMAGE:
        raise WeightsError(
            f"model {source} cannot be loaded: its tokenizer does not give back what it reads (a file is missing); fetch it again"
        )
    if getattr(processor, "chat_template", None) is None and getattr(tokenizer, "chat_template", None) is None:
        raise WeightsError(f"model {source} has no chat template; use an instruction-tuned model (its name ends in -Instruct)")
    theirs, ours = getattr(config, "image_token_id", None), getattr(processor, "image_token_id", None)
    if None not in (theirs, ours) and theirs != ours:
        raise WeightsError(f"model {source}: its processor marks images by token {ours}, its config by {theirs}; fetch it again")
