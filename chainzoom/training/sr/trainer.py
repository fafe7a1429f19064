"""The training loop: one process or many, killed and resumed at any step with the losses of an undisturbed run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chainzoom.backbones.torch_common import require
from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics import load_metrics
from chainzoom.images import Image
from chainzoom.models import Store
from chainzoom.prompters.base import Prompter
from chainzoom.seeds import derive
from chainzoom.training.loop import Guard, Progress
from chainzoom.training.runs import (
    CHECKPOINTS,
    EXPORT,
    Writer,
    check_run,
    open_run,
    saved_steps,
    seed_everything,
    step_folder,
    unfinished_step,
)
from chainzoom.training.sr import checkpoints, validation
from chainzoom.training.sr.base import Deeper, Recipe
from chainzoom.training.sr.config import Config
from chainzoom.training.sr.data import Sample, loader
from chainzoom.training.sr.degradation import degrade
from chainzoom.training.sr.networks import Batch, whole
from chainzoom.training.sr.objective import Draws
from chainzoom.training.sr.prompts import PromptBook
from chainzoom.training.sr.recipes import build_recipe
from chainzoom.training.sr.sources import list_pictures

EXPLOSIVE = ("loss/total", "loss/l2", "loss/fidelity")
"""Losses whose size is known from the first step on; VSD and the leash begin at zero."""

Say = Callable[[str], None]


class Trainer:
    """Trains a recipe. Build it, call ``run``."""

    def __init__(
        self, config: Config, text: str = "", *, resume: bool = False, say: Say = lambda line: None, prompter: Prompter | None = None
    ) -> None:
        """``text``: the configuration's TOML, kept in the run's folder; ``say`` prints progress; ``prompter`` replaces the configured one.

        Raises OptionError, OutputError, WeightsError, MissingExtraError before the first step.
        """
        self.config, self.folder = config, Path(config.out)
        self.entries = list_pictures(config.data.sources)
        load_metrics(config.validation.metrics)  # an unknown name is said now, not after the networks are loaded
        self.world = _accelerator(config)
        self._say = say if self.world.is_main_process else lambda line: None
        check_run(self.folder, resume=resume)
        seed_everything(derive(config.seed, "process", self.world.process_index))
        kind = str(self.world.distributed_type).rpartition(".")[2]
        sharded = kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM")
        self.book = PromptBook(config.prompts, self.folder, str(self.world.device), self.world.process_index, prompter)
        recipe = build_recipe(config, self.world.device, share=not sharded)
        optimisers = _optimisers(recipe, config, one=kind == "DEEPSPEED")
        if kind == "DEEPSPEED":
            self.world.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch
        self.model, *prepared = self.world.prepare(recipe, *optimisers.values())
        self.optimisers: dict[str, Any] = dict(zip(optimisers, prepared, strict=True))
        self.recipe: Recipe = self.world.unwrap_model(self.model)
        self.guard = Guard(self.folder / CHECKPOINTS, factor=config.explode, explosive=EXPLOSIVE)
        self.step = 0
        if resume and saved_steps(self.folder / CHECKPOINTS):
            self.step = checkpoints.load(self.folder, config, self.recipe, self.optimisers, self.guard, self.world)
            self._say(f"resumed at step {self.step}")
        self.world.wait_for_everyone()
        if self.world.is_main_process:  # only now: what cannot start or resume leaves nothing behind
            open_run(self.folder, text, resume=resume)
        self.world.wait_for_everyone()
        self.cases = self._cases()

    def run(self) -> dict[str, float]:
        """Train to the end and return the last figures. Raises TrainingStoppedError for NaN and exploding losses."""
        config = self.config
        wandb = dict(config.wandb) or None
        writer = Writer(self.folder, step=self.step, wandb=wandb) if self.world.is_main_process else None
        bar = Progress(self._say, config.steps, self.step)
        batches = self._batches()
        figures: dict[str, float] = {}
        try:
            if self.step == 0:
                self._validate(writer)
            while self.step < config.steps:
                figures = self._optimise(batches)
                self.guard.check(self.step + 1, {name: value for name, value in figures.items() if name.startswith(("loss/", "norm/"))})
                self.step += 1
                if writer is not None and (self.step % config.log_every == 0 or self.step == config.steps):
                    writer.scalars(self.step, figures)
                bar.step(self.step, figures, config.batch * config.accumulation * self.world.num_processes)
                if config.validation.every and (self.step % config.validation.every == 0 or self.step == config.steps):
                    self._validate(writer)
                if self.step % config.save_every == 0 or self.step == config.steps:
                    checkpoints.save(self.folder, config, self.step, self.recipe, self.optimisers, self.guard, self.world)
                    self._export()
            if self.step not in saved_steps(self.folder / EXPORT):  # killed between the last checkpoint and its export
                self._export()
        finally:
            if writer is not None:
                writer.close()
        return figures

    def _optimise(self, batches: Iterator[list[Sample]]) -> dict[str, float]:
        """One optimiser step: ``accumulation`` micro-steps, then clipping and stepping of each group."""
        config, sums = self.config, dict[str, torch.Tensor]()
        norms: dict[str, float] = {}
        rate = config.optimiser.lr * min(1.0, (self.step + 1) / max(1, config.optimiser.warmup))
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        for part in range(config.accumulation):
            micro = self.step * config.accumulation + part
            samples = next(batches)
            with self.world.accumulate(self.model):
                found = self.model("losses", batch=self._batch(samples), draws=self._draws(micro), deeper=self._deeper(samples, micro))
                self.world.backward(found["total"])
                for name, value in found.items():
                    sums[name] = sums.get(name, 0) + value.detach().float() / config.accumulation
                if self.world.sync_gradients:
                    norms = self._clip()
                for optimiser in self.optimisers.values():
                    optimiser.step()
                    optimiser.zero_grad()
        self.recipe.after_step()
        values = self.world.reduce(torch.stack(list(sums.values())), reduction="mean").tolist()
        return {**{f"loss/{name}": value for name, value in zip(sums, values, strict=True)}, **norms, "lr": rate}

    def _clip(self) -> dict[str, float]:
        """Clip each group's gradient to its own norm; the norms before clipping."""
        norms = {}
        for name, optimiser in self.optimisers.items():
            parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            norm = self.world.clip_grad_norm_(parameters, self.config.optimiser.clip)
            if norm is not None:
                norms[f"norm/{name}"] = float(whole(norm)) if torch.is_tensor(norm) else float(norm)
        return norms

    def _batches(self) -> Iterator[list[Sample]]:
        start = self.step * self.config.accumulation
        return iter(loader(self.entries, self.config, start, self.world.process_index, self.world.num_processes))

    def _batch(self, samples: list[Sample]) -> Batch:
        """To the device, in [-1, 1], degraded there when the workers did not."""
        device = self.world.device
        gt = torch.stack([sample.gt for sample in samples]).to(device)
        ready = [s.lq.to(device) if s.lq is not None else degrade(s.gt.to(device), s.degradation, s.seed) for s in samples]
        words = self.recipe.encode_prompts(self.book.words(samples))
        return Batch(torch.stack(ready) * 2 - 1, gt * 2 - 1, words)

    def _draws(self, micro: int) -> Draws:
        return Draws(derive(self.config.seed, "draws", micro, self.world.process_index))

    def _deeper(self, samples: list[Sample], micro: int) -> Deeper | None:
        """How the second step of a chain gets its words: from the prompter, else the first step's again."""
        if self.config.recipe != "oraclezoom" or not self.book.asks:
            return None

        def words(states: list[Image], crops: list[Image]) -> tuple[torch.Tensor, ...]:
            return self.recipe.encode_prompts(self.book.deeper(states, crops, derive(self.config.seed, "deeper", micro)))

        return words

    def _cases(self) -> list[validation.Case]:
        if not self.config.validation.every:
            return []
        sources = self.config.validation.sources
        entries = list_pictures(sources) if sources else self.entries
        return validation.make_cases(entries, self.config, self.book.words)

    def _validate(self, writer: Writer | None) -> None:
        """Every process computes (a sharded network needs all of them), the first one writes."""
        if not self.cases:
            return
        encode, channels = self.recipe.encode_prompts, self.recipe.latent_channels
        outputs = validation.validate(self.cases, self.config, self.model, encode, channels, self.world.device)
        if writer is not None:
            means = validation.report(self.cases, outputs, self.config, self.folder, self.step, writer)
            self._say(f"validation at step {self.step}: " + "  ".join(f"{k.partition('/')[2]} {v:.4g}" for k, v in means.items()))

    def _export(self) -> None:
        """The weights in their published formats."""
        kept = {name: whole(parameter) for name, parameter in self.recipe.kept().items()}
        if self.world.is_main_process:
            with unfinished_step(self.folder / EXPORT, self.step) as scratch:
                self.recipe.export(scratch, kept, self.step)
        self.world.wait_for_everyone()


def train(config: Config, text: str, *, resume: bool = False, say: Say = lambda line: None) -> Path:
    """Train as a configuration says (weights named ``models:NAME`` are looked up) and return the folder of the last export."""
    trainer = Trainer(resolved(config), text, resume=resume, say=say)
    trainer.run()
    return step_folder(trainer.folder / EXPORT, trainer.step)


def resolved(config: Config) -> Config:
    """The configuration with ``models:NAME`` replaced by paths. Raises WeightsError with the line that fetches them."""
    store = Store()
    network = replace(
        config.network, **store.resolve_options({k: getattr(config.network, k) for k in ("model_dir", "lora", "vae_encoder")})
    )
    loss = replace(config.loss, **store.resolve_options({k: getattr(config.loss, k) for k in ("vgg", "lpips_linear")}))
    return replace(config, network=network, loss=loss)


def _accelerator(config: Config) -> Any:
    """One process or many, as the launcher set it up. Raises OptionError for a device that is not there."""
    accelerate = require("accelerate", "training", "train")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    if config.device not in ("", "cpu", "cuda"):
        raise OptionError(f"device must be cpu, cuda or left out (accelerate chooses), not {config.device!r}")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device 'cuda' was asked for, but torch {torch.__version__} sees no CUDA device; use device = \"cpu\"")
    return accelerate.Accelerator(cpu=config.device == "cpu", mixed_precision=config.mixed, gradient_accumulation_steps=config.accumulation)


def _optimisers(recipe: Recipe, config: Config, *, one: bool) -> dict[str, Any]:
    """One AdamW a group; DeepSpeed takes only ``one``, which then has a parameter group each (and clips them together)."""
    settings = config.optimiser
    kind: Any = torch.optim.AdamW
    if settings.bits == 8:
        kind = require("bitsandbytes", "the 8-bit optimiser", "quant").optim.AdamW8bit
    options = {"lr": settings.lr, "betas": tuple(settings.betas), "weight_decay": settings.weight_decay}
    groups = recipe.groups()
    if one:
        return {"all": kind([{"params": parameters} for parameters in groups.values()], **options)}
    return {name: kind(parameters, **options) for name, parameters in groups.items()}
