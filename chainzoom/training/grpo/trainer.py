"""TRL's GRPOTrainer on two-image conversations, with abstentions, whole checkpoints and our log.

Imported on use: it needs torch, transformers, peft, datasets and trl.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl
from PIL import Image as PILImage

from chainzoom.errors import BackendError
from chainzoom.prompters.questions import prompt_question, turns
from chainzoom.prompters.vlm_loading import Loaded
from chainzoom.training.grpo.advantage import summary, without_abstentions
from chainzoom.training.grpo.config import Config
from chainzoom.training.grpo.critics import Weighted
from chainzoom.training.grpo.pairs import Pairs
from chainzoom.training.grpo.rewards import Sample, checked
from chainzoom.training.loop import Guard, Progress
from chainzoom.training.runs import CHECKPOINTS, EXPORT, Writer, keep_last, step_folder

TARGETS = r"model\.language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The layers of the official adapter, by today's module names."""

SETTINGS, GUARD = "chainzoom.json", "guard.json"
_SCRATCH = ".unfinished-trainer"
_WATCHED = 200


def lora(config: Config) -> Any:
    """PEFT's configuration of the adapter."""
    return peft.LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=TARGETS,
        bias="none",
        task_type="CAUSAL_LM",
    )


def conversations(pairs: Pairs, count: int) -> Any:
    """A dataset of ``count`` pairs as conversations; nothing is read before it is asked for, and row N is always pair N."""

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chats = [turns(prompt_question(2), [{"type": "image"}] * 2) for _ in batch["pair"]]
        images = [[PILImage.fromarray(pixels) for pixels in pairs[number].images] for number in batch["pair"]]
        return {"prompt": chats, "images": images, "pair": batch["pair"]}

    return datasets.Dataset.from_dict({"pair": list(range(count))}).with_transform(rows)


def arguments(config: Config, folder: Path, device: Any, dtype: Any, tokens: Sequence[int]) -> Any:
    """TRL's settings. ``tokens`` (those of pictures) are never drawn."""
    made, how = config.optimiser, config.generation
    per_pass = made.pairs * how.per_prompt // made.accumulate
    vllm = {
        "use_vllm": True,
        "vllm_mode": how.vllm_mode,
        "vllm_server_base_url": how.vllm_url or None,
        "vllm_gpu_memory_utilization": how.vllm_memory,
    }
    return trl.GRPOConfig(
        output_dir=str(folder / CHECKPOINTS / _SCRATCH),
        seed=config.seed,
        max_steps=config.steps,
        per_device_train_batch_size=per_pass,
        gradient_accumulation_steps=made.accumulate,
        num_generations=how.per_prompt,
        max_completion_length=how.max_new_tokens,
        temperature=how.temperature,
        top_p=how.top_p,
        top_k=how.top_k,
        generation_kwargs=None if how.backend == "vllm" else {"suppress_tokens": list(tokens)},
        learning_rate=made.learning_rate,
        lr_scheduler_type="constant_with_warmup" if made.schedule == "constant" else made.schedule,
        warmup_steps=made.warmup,
        weight_decay=made.weight_decay,
        max_grad_norm=made.max_grad_norm,
        optim="adamw_torch" if made.bits == 32 else "adamw_bnb_8bit",
        beta=made.kl,
        epsilon=made.clip,
        loss_type=made.loss,
        gradient_checkpointing=made.gradient_checkpointing,
        bf16=dtype == torch.bfloat16,
        use_cpu=device.type == "cpu",
        # Row N is pair N: pairs.py has shuffled them, and a resumed run finds its place by counting.
        shuffle_dataset=False,
        dataloader_pin_memory=device.type != "cpu",
        reward_weights=[0.0],  # set with the rewards
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=None,
        report_to=[],
        disable_tqdm=True,
        **(vllm if how.backend == "vllm" else {}),
    )


class PromptTrainer(trl.GRPOTrainer):
    """GRPOTrainer whose rewards may abstain, and whose checkpoints are whole or not there."""

    def __init__(self, config: Config, folder: Path, loaded: Loaded, pairs: Pairs, rewards: Sequence[Weighted], **more: Any) -> None:
        """``loaded`` gets the adapter; ``more`` goes to TRL."""
        self.run_config, self.run_folder, self.run_rewards = config, folder, list(rewards)
        self.run_guards: dict[str, Guard] = {}
        self._recent: dict[str, deque[float]] = {one.name: deque(maxlen=_WATCHED) for one in rewards}
        device, dtype = loaded.device, loaded.model.dtype
        args = arguments(config, folder, device, dtype, _picture_tokens(loaded.processor))
        args.reward_weights = [one.weight for one in rewards]
        super().__init__(
            model=loaded.model,
            reward_funcs=[_as_trl(one, pairs) for one in rewards],
            args=args,
            train_dataset=conversations(pairs, config.steps * config.optimiser.pairs * args.world_size),
            processing_class=loaded.processor,
            peft_config=lora(config),
            **more,
        )

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        table = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        names = [one.name for one in self.run_rewards]
        for name, value in summary(table, names, [one.weight for one in self.run_rewards]).items():
            self._log_metric(name, value)
        for column, name in enumerate(names):
            self._watch(name, torch.isnan(table[:, column]).tolist())
        return without_abstentions(table, self.num_generations)

    def _watch(self, name: str, abstained: Sequence[bool]) -> None:
        """Stop when a reward hardly ever speaks: what is learnt then is something else."""
        recent = self._recent[name]
        recent.extend(map(float, abstained))
        share = sum(recent) / len(recent)
        if len(recent) == _WATCHED and share > self.run_config.max_abstentions:
            raise BackendError(
                f"the reward '{name}' gave no usable answer to {share:.0%} of the last {_WATCHED} samples "
                f"(max_abstentions = {self.run_config.max_abstentions:g}); look at what its model answers, then resume"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self._finish_checkpoint()
        self.accelerator.wait_for_everyone()

    def _finish_checkpoint(self) -> None:
        """Complete what TRL wrote, export the adapter, and give the checkpoint its name."""
        step, where = self.state.global_step, self.run_folder / CHECKPOINTS
        made = Path(self.args.output_dir) / f"checkpoint-{step}"
        guards = {name: guard.state_dict() for name, guard in self.run_guards.items()}
        (made / GUARD).write_text(json.dumps(guards), encoding="utf-8")
        (made / SETTINGS).write_text(json.dumps(self.run_config.essence(), indent=1), encoding="utf-8")
        export(made, step_folder(self.run_folder / EXPORT, step))
        shutil.rmtree(step_folder(where, step), ignore_errors=True)
        made.replace(step_folder(where, step))
        for parent in (where, self.run_folder / EXPORT):
            keep_last(parent, self.run_config.keep)


class Watcher(transformers.TrainerCallback):
    """Writes each step's figures, says how far it is, stops at NaN, and has the validation done when it is due."""

    def __init__(
        self, config: Config, writer: Writer | None, progress: Progress, guards: dict[str, Guard], validate: Callable[[int], None]
    ) -> None:
        """``writer`` None: a process that is not the first."""
        self._config, self._writer, self._progress, self._guards, self._validate = config, writer, progress, guards, validate

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """One step's figures, and the validation when it is due."""
        if not logs or "grad_norm" not in logs:
            return  # the summary at the end
        figures = {new: float(logs[old]) for old, new in _renamed(logs).items() if logs[old] is not None}
        self._guards["loss"].check(state.global_step, {"loss": figures["loss"]})
        self._guards["gradient"].check(state.global_step, {"gradient norm": figures["gradient_norm"]})
        answers = self._config.optimiser.pairs * self._config.generation.per_prompt * args.world_size
        if seconds := figures.get("speed/seconds"):
            figures["speed/answers_per_second"] = answers / seconds
            figures["speed/tokens_per_second"] = answers * figures.get("answer/tokens", 0.0) / seconds
        if torch.cuda.is_available():
            figures["speed/peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if self._writer is not None:
            self._writer.scalars(state.global_step, figures)
            shown = {name: value for name, value in figures.items() if name.startswith("reward/")}
            self._progress.step(state.global_step, shown, answers)
        # Before the checkpoint of the same step is written, so that a resumed run does it neither twice nor not at all.
        if state.global_step % self._config.validate_every == 0 or state.global_step == self._config.steps:
            self._validate(state.global_step)


def export(checkpoint: Path, folder: Path) -> None:
    """The adapter alone, as PEFT and the ``vlm`` prompter read it."""
    part = folder.with_name(f".unfinished-{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(checkpoint / name, part / name)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def guards(folder: Path) -> dict[str, Guard]:
    """NaN in the loss, which is about 0 when all goes well; NaN and explosion in the gradient."""
    return {"loss": Guard(folder / CHECKPOINTS, factor=0.0), "gradient": Guard(folder / CHECKPOINTS, factor=1000.0, patience=20)}


def _as_trl(reward: Weighted, pairs: Pairs) -> Any:
    """A reward in the form that TRL calls: completions in, a list of numbers or None out."""

    def call(completions: Any, pair: Sequence[int], log_metric: Any = None, **_: Any) -> list[float | None]:
        samples = [Sample(_text(said), pairs[number]) for said, number in zip(completions, pair, strict=True)]
        values = checked(reward.name, reward.function, samples)
        left: dict[str, list[float]] = {}
        for sample in samples:
            for name, value in sample.figures.items():
                left.setdefault(name, []).append(value)
        for name, found in left.items():
            log_metric(f"figure/{name}", sum(found) / len(found))
        return values

    call.__name__ = reward.name
    return call


def _text(completion: Any) -> str:
    """The words of a completion, which is a conversation of one turn whose content is text or a list of parts."""
    content = completion[-1]["content"]
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return str(content).strip()


def _picture_tokens(processor: Any) -> list[int]:
    """Tokens that stand for pictures: an answer with one would be taken for a picture that is not there."""
    tokenizer = getattr(processor, "tokenizer", processor)
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
    ids = (tokenizer.convert_tokens_to_ids(name) for name in names)
    return sorted({number for number in ids if number is not None and number != tokenizer.unk_token_id})


_NAMES = {
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "answer/tokens",
    "completions/clipped_ratio": "answer/cut",
    "frac_reward_zero_std": "groups_without_difference",
    "step_time": "speed/seconds",
}


def _renamed(logs: dict[str, Any]) -> dict[str, str]:
    """TRL's names of what we keep, and ours."""
    ours = {name: name for name in logs if name.startswith(("reward/", "abstained/", "figure/"))}
    return ours | {old: new for old, new in _NAMES.items() if old in logs}
