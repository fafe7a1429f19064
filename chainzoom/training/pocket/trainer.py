"""The pocket's training loop: generator against two critics, on real pictures and on its own chains; killed and resumed at any step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from chainzoom.backbones.exemplars import Exemplars
from chainzoom.errors import OutputError
from chainzoom.seeds import derive
from chainzoom.sentences.encoder import SentenceEncoder
from chainzoom.torch_io import read_pickle
from chainzoom.training.loop import Guard, Progress
from chainzoom.training.pocket import colours, export
from chainzoom.training.pocket.batches import Batch, Made, draw_fields, make_batch
from chainzoom.training.pocket.config import Config
from chainzoom.training.pocket.critics import FeatureCritic, PixelCritic, hinge
from chainzoom.training.pocket.features import Features, contrast_distance, style_distance
from chainzoom.training.pocket.generator import BORROWED, Generator, draw_noise
from chainzoom.training.pocket.pictures import Embed, Library
from chainzoom.training.pocket.preview import preview
from chainzoom.training.pocket.projection import band, consistent
from chainzoom.training.runs import (
    CHECKPOINTS,
    EXPORT,
    Writer,
    check_run,
    check_same,
    keep_last,
    open_run,
    restore_rng,
    rng_state,
    saved_steps,
    seed_everything,
    step_folder,
    unfinished_step,
)
from chainzoom.training.sr.exports import write_tensors

STATE = "state.pt"
_FREE, _FREE_COLOUR = (0.008, 0.3), (0.004, 0.1)
"""What results may differ from their field's shading at no cost, in lightness and in colour: so much, and such a share of its spread."""
Say = Callable[[str], None]


class Trainer:
    """Trains a generator. Build it, call ``run``."""

    def __init__(
        self,
        config: Config,
        text: str = "",
        *,
        resume: bool = False,
        say: Say = lambda line: None,
        embed: Embed | None = None,
        features: Features | None = None,
    ) -> None:
        """``text``: the configuration's TOML; ``embed`` and ``features`` replace the sentence encoder and the critics' eyes.

        Raises OptionError, OutputError, WeightsError.
        """
        self.config, self.folder, self._say = config, Path(config.out), say
        check_run(self.folder, resume=resume)
        if config.threads:
            torch.set_num_threads(config.threads)
        seed_everything(derive(config.seed, "pocket"))
        self.features = features or Features.read(Path(config.data.features))
        self.shelf = Exemplars.read(Path(config.data.exemplars)) if config.data.exemplars else None
        data, words = config.data, embed or SentenceEncoder().encode_many
        self.library = Library(Path(data.folder), words, "train", data.photos, data.limit, data.coats, data.emphasis)
        self.words = torch.from_numpy(self.library.words)
        shape = config.network.shape()
        self.generator = Generator(shape).to(memory_format=torch.channels_last)
        self.generator.centre.copy_(self.words.mean(0))
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.pixel = PixelCritic(shape.words, config.network.critic).to(memory_format=torch.channels_last)
        self.feature = FeatureCritic(shape.words).to(memory_format=torch.channels_last)
        critics = [*self.pixel.parameters(), *self.feature.parameters()]
        self.optimisers = {
            "generator": torch.optim.Adam(self.generator.parameters(), config.lr, (0.0, 0.99)),
            "critics": torch.optim.Adam(critics, config.critic_lr, (0.0, 0.99)),
        }
        self.made = Made()
        self.guard = Guard(self.folder / CHECKPOINTS, factor=0)
        self.step = 0
        if resume and saved_steps(self.folder / CHECKPOINTS):
            self._load()
            say(f"resumed at step {self.step}")
        open_run(self.folder, text, resume=resume)

    def run(self) -> dict[str, float]:
        """Train to the end and return the last figures. Raises TrainingStoppedError for NaN."""
        config = self.config
        writer = Writer(self.folder, step=self.step)
        bar = Progress(self._say, config.steps, self.step, every=30.0)
        figures: dict[str, float] = {}
        sums: dict[str, list[float]] = {}
        try:
            while self.step < config.steps:
                figures = self._optimise()
                self.guard.check(self.step + 1, figures)
                self.step += 1
                for name, value in figures.items():
                    sums.setdefault(name, []).append(value)
                if self.step % config.log_every == 0 or self.step == config.steps:
                    writer.scalars(self.step, {name: float(np.mean(values)) for name, values in sums.items()})
                    sums = {}
                bar.step(self.step, figures, config.batch)
                if config.picture_every and (self.step % config.picture_every == 0 or self.step == config.steps):
                    writer.picture(self.step, "chains", preview(self.average, self.library, self.shelf, self.folder, self.step))
                if self.step % config.save_every == 0 or self.step == config.steps:
                    self._save()
        finally:
            writer.close()
        return figures

    def _optimise(self) -> dict[str, float]:
        """One step of the critics and one of the generator on the same pictures."""
        config = self.config
        rng = np.random.default_rng(derive(config.seed, "batch", self.step))
        pure, soft, chained = config.data.shares
        batch = make_batch(self.library, self.made, rng, config.batch, config.data.side, (pure, soft, chained), config.data.faithful)
        words = self.words[torch.from_numpy(batch.sentence)]
        wrong = functional.normalize(words.roll(1, 0) - self.generator.centre, dim=1)
        code = functional.normalize(words - self.generator.centre, dim=1)
        self._rate()
        fields, sights = draw_fields(self.shelf, self.library.words[batch.sentence], 4 * config.data.side, batch.sights)
        noise = draw_noise(self.generator.shape, fields, batch.creativity)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.mixed):
            raw = self.generator(image, words, noise, batch.creativity)
        made = consistent(raw, batch.image)
        light = colours.draw(config.batch)
        shown = colours.apply(made.clamp(0, 1) + 0.1 * (made - made.clamp(0, 1)), light)
        real = colours.apply(batch.real, light)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.mixed):
            with torch.no_grad():
                seen_real = self.features(real)
            seen = self.features(shown)
            # How the critics see faithful pictures is not asked: they are not meant to look real.
            free = batch.creativity >= 1
            free = free if free.any() else torch.ones_like(free)
            loss_critics = self._judge(real[free], shown[free].detach(), seen_real, [x.detach() for x in seen], free, code, wrong)
            self.optimisers["critics"].zero_grad(set_to_none=True)
            loss_critics.backward()
            self.optimisers["critics"].step()
            for critic in (self.pixel, self.feature):
                critic.requires_grad_(False)
            fool_pixel = -torch.stack([m.float().mean() for m in self.pixel(shown[free], code[free])[0]]).mean()
            fool_feature = -torch.stack([m.float().mean() for m in self.feature([x[free] for x in seen], code[free])[0]]).mean()
        alike = batch.pure & free
        style = (style_distance(seen, seen_real) * alike).sum() / alike.sum().clamp_min(1)
        gap = (made - batch.real).abs().mean((1, 2, 3)) * batch.pure
        contrast = (contrast_distance(made, batch.real) * alike).sum() / alike.sum().clamp_min(1)
        strayed = self._strayed(made, batch, noise)
        loss = config.loss
        pixels = (gap * (loss.pixels * batch.creativity + loss.faithful * (1 - batch.creativity))).sum() / batch.pure.sum().clamp_min(1)
        total = loss.pixel_critic * fool_pixel + loss.feature_critic * fool_feature + loss.style * style + loss.contrast * contrast
        total = total + pixels + loss.strayed * strayed
        self.optimisers["generator"].zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        self.optimisers["generator"].step()
        for critic in (self.pixel, self.feature):
            critic.requires_grad_(True)
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, 1 - min(config.ema, (self.step + 1) / (self.step + 10)))
        self.made.add(made.detach(), batch, sights)
        fine = self._fineness(made.detach(), batch)
        return {
            "critics": float(loss_critics.detach()),
            "fool/pixel": float(fool_pixel.detach()),
            "fool/feature": float(fool_feature.detach()),
            "style": float(style.detach()),
            "contrast": float(contrast.detach()),
            "strayed": float(strayed.detach()),
            "gap": float((gap.sum() / batch.pure.sum().clamp_min(1)).detach()),
            "norm": float(norm),
            **fine,
        }

    def _judge(
        self,
        real: torch.Tensor,
        made: torch.Tensor,
        seen_real: list[torch.Tensor],
        seen: list[torch.Tensor],
        free: torch.Tensor,
        words: torch.Tensor,
        wrong: torch.Tensor,
    ) -> torch.Tensor:
        """The critics' loss on the pictures that are meant to look real."""
        words, wrong = words[free], wrong[free]
        loss = torch.zeros(())
        reals = [x[free] for x in seen_real]
        for critic, true, false in ((self.pixel, real, made), (self.feature, reals, [x[free] for x in seen])):
            right, other = critic(true, words, wrong)
            loss = loss + hinge(right, critic(false, words)[0], other)
        return loss

    def _strayed(self, made: torch.Tensor, batch: Batch, noise: list[torch.Tensor]) -> torch.Tensor:
        """How far results are from the plain shading by their field, beyond a share of its strength: critics may refine a surface, not
        write over it.
        """
        if self.shelf is None:
            return torch.zeros(())
        share = torch.full((len(made), 3), BORROWED)
        plain = consistent(self.generator.lent(batch.image, share, noise[2][:, :1]), batch.image)
        spread, gap = band(plain).std((1, 2, 3)), made - plain
        light = gap.mean(1, keepdim=True)
        beyond = torch.zeros(len(made))
        for part, (least, more) in ((light, _FREE), (gap - light, _FREE_COLOUR)):
            beyond = beyond + functional.relu(part.abs() - (least + more * spread)[:, None, None, None]).mean((1, 2, 3))
        return (beyond * ~batch.pure).sum() / (~batch.pure).sum().clamp_min(1)

    @staticmethod
    def _fineness(made: torch.Tensor, batch: Batch) -> dict[str, float]:
        """Spread of the finest band, made over real, of all and of the deepest chains: 1 is right, growth over depth is not."""
        fine = [(p - functional.avg_pool2d(p, 3, 1, 1)).std((1, 2, 3)) for p in (made, batch.real)]
        deep = torch.from_numpy(batch.depth >= 3)
        found = {"fine": float(fine[0].mean() / fine[1].mean())}
        if deep.any():
            found["fine/deep"] = float(fine[0][deep].mean() / fine[1][deep].mean())
        return found

    def _rate(self) -> None:
        """Constant, then down in a straight line to a tenth from ``decay_from`` on."""
        config = self.config
        share = 1.0
        if config.decay_from and self.step > config.decay_from:
            share = max(0.1, 1 - 0.9 * (self.step - config.decay_from) / max(1, config.steps - config.decay_from))
        for name, base in (("generator", config.lr), ("critics", config.critic_lr)):
            for group in self.optimisers[name].param_groups:
                group["lr"] = base * share

    def _shown(self) -> str:
        """Names all pictures, sentences and exemplars in their order."""
        names = [*(entry.name for entry in self.library.entries), *self.library.texts, *(self.shelf.names if self.shelf else ())]
        return sha256("\n".join(names).encode()).hexdigest()

    def _networks(self) -> dict[str, torch.nn.Module]:
        return {"generator": self.generator, "average": self.average, "pixel": self.pixel, "feature": self.feature}

    def _save(self) -> None:
        content: dict[str, Any] = {
            "step": self.step,
            "config": self.config.essence(),
            "networks": {name: network.state_dict() for name, network in self._networks().items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "made": self.made.state_dict(),
            "shown": self._shown(),
            "rng": rng_state(),
            "guard": self.guard.state_dict(),
        }
        with unfinished_step(self.folder / CHECKPOINTS, self.step) as scratch:
            write_tensors(scratch / STATE, content)
        keep_last(self.folder / CHECKPOINTS, self.config.keep)
        with unfinished_step(self.folder / EXPORT, self.step) as scratch:
            export.write(self.average, scratch / export.FILE, {"steps": str(self.step)})

    def _load(self) -> None:
        steps = saved_steps(self.folder / CHECKPOINTS)
        if not steps:
            raise OutputError(f"{self.folder} holds no checkpoint yet; remove the folder and start without --resume")
        place = step_folder(self.folder / CHECKPOINTS, steps[-1])
        state = read_pickle(place / STATE, "checkpoint")
        check_same(state["config"], self.config.essence(), place)
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        if state.get("shown") == self._shown():  # what was made before goes by numbers of pictures and exemplars
            self.made.load_state_dict(state["made"])
        self.guard.load_state_dict(state["guard"])
        restore_rng(state["rng"])
        self.step = int(state["step"])


def train(config: Config, text: str, *, resume: bool = False, say: Say = lambda line: None) -> Path:
    """Train as a configuration says and return the last exported file."""
    trainer = Trainer(config, text, resume=resume, say=say)
    trainer.run()
    return step_folder(trainer.folder / EXPORT, trainer.step) / export.FILE
