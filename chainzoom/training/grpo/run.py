"""A run of ``chainzoom train prompts`` from its configuration to the adapter: everything that can be wrong is found before the first step.

config -> rewards and critics -> pairs -> model -> a rehearsal of every reward -> answers before -> steps -> answers after, curves
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainzoom.errors import BackendError, OptionError, OutputError
from chainzoom.extras import need
from chainzoom.models import Store
from chainzoom.prompters.asking import Request
from chainzoom.prompters.questions import critic_question
from chainzoom.torch_io import out_of_memory
from chainzoom.training.grpo.config import Config
from chainzoom.training.grpo.critics import Weighted, build_rewards
from chainzoom.training.grpo.pairs import Pair, list_photos, make_pairs
from chainzoom.training.grpo.rewards import Sample, checked, critic
from chainzoom.training.runs import CHECKPOINTS, CONFIG, EXPORT, Writer, check_same, open_run, read_log, saved_steps, step_folder

NEEDED_BY = "training the prompt extractor"
_PACKAGES = (("torch", None), ("transformers", None), ("peft", None), ("datasets", None), ("trl", None), ("tensorboard", None))
_WORDS = "a stone wall, moss, grass, morning light"


def train_prompts(config: Config, text: str, *, resume: bool, say: Callable[[str], None]) -> Path:
    """Train, or go on with a run that was stopped; the folder of the finished adapter. ``text`` is the configuration's TOML, to be kept.

    Raises OptionError, OutputError, MissingExtraError, WeightsError or BackendError before the first step for what is wrong by then;
    later BackendError for a critic that fails, and TrainingStoppedError for numbers that are not to be trusted.
    """
    for name, package in (*_PACKAGES, ("matplotlib", None)):
        need(name, NEEDED_BY, package, extra="train")
    _check_options(config)
    folder = Path(config.out)
    last = _start(folder, config, resume)
    list_photos(config.data.photos)
    rewards = build_rewards(config.rewards)
    train, validation = make_pairs(config.data, config.seed, Path(config.data.cache or folder / "pairs"), say)
    shown = [validation[number] for number in range(config.data.validation_pairs)]
    with _quiet():
        return _Run(config, text, folder, last, rewards, train, shown, say).go()


class _Run:
    """The parts of a run that need the model."""

    def __init__(
        self,
        config: Config,
        text: str,
        folder: Path,
        last: int,
        rewards: list[Weighted],
        train: Any,
        shown: list[Pair],
        say: Callable[[str], None],
    ) -> None:
        from chainzoom.prompters import vlm_loading

        self.config, self.folder, self.last, self.rewards, self.shown, self.say = config, folder, last, rewards, shown, say
        rehearse(rewards, shown[:3])
        model = config.model
        # Started by accelerate: each process its own GPU.
        rank = os.environ.get("LOCAL_RANK")
        device = f"cuda:{rank}" if rank and model.device != "cpu" and need("torch", NEEDED_BY).cuda.is_available() else model.device
        path = Store().resolve_options({"path": model.path})["path"]
        self.loaded = vlm_loading.load(path, device=device, dtype=model.dtype, quantise=None, revision=model.revision or None)
        self.tokenizer = getattr(self.loaded.processor, "tokenizer", self.loaded.processor)
        self.tokenizer.padding_side = "left"
        self.text, self.train = text, train
        self.writer: Writer | None = None
        self.before: list[Any] = []

    def go(self) -> Path:
        """All steps; see train_prompts."""
        from chainzoom.training.grpo import examples, trainer
        from chainzoom.training.loop import Progress
        from chainzoom.training.runs import seed_everything

        config, folder = self.config, self.folder
        seed_everything(config.seed)
        try:
            made = trainer.PromptTrainer(config, folder, self.loaded, self.train, self.rewards)
        except (ValueError, ImportError) as error:
            raise OptionError(f"TRL refuses these settings: {' '.join(str(error).split())[:300]}") from None
        first = made.is_world_process_zero()
        if first:
            open_run(folder, self.text, resume=self.last > 0 or (folder / CONFIG).exists())
            if not self.last:  # what a run logged that was killed before its first checkpoint
                shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            wandb = dict(config.wandb) if config.wandb else None
            self.writer = Writer(folder, step=self.last, wandb=wandb)
            if self.last and (folder / examples.BEFORE).exists():
                self.before = examples.read_before(folder)
            else:
                with _untouched_draws(), made.model.disable_adapter():
                    self.before = self._answers()
                examples.keep_before(folder, self.before, self.shown)
                self._log_validation(0, self.before)
        made.run_guards = trainer.guards(folder)
        if self.last:
            kept = json.loads((step_folder(folder / CHECKPOINTS, self.last) / trainer.GUARD).read_text(encoding="utf-8"))
            for name, guard in made.run_guards.items():
                guard.load_state_dict(kept[name])
        transformers = need("transformers", NEEDED_BY)
        made.remove_callback(transformers.PrinterCallback)
        progress = Progress(self.say, config.steps, self.last)
        made.add_callback(trainer.Watcher(config, self.writer, progress, made.run_guards, self._validate))
        try:
            made.train(resume_from_checkpoint=str(step_folder(folder / CHECKPOINTS, self.last)) if self.last else None)
            if config.steps % config.save_every:
                made._save_checkpoint(made.model, None)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise BackendError(
                f"training ran out of memory on {self.loaded.device}; raise optimiser.accumulate, or lower optimiser.pairs or data.size, "
                "and start a new run"
            ) from None
        finally:
            if self.writer is not None:
                self.writer.close()
                shutil.rmtree(made.args.output_dir, ignore_errors=True)
        return step_folder(folder / EXPORT, config.steps)

    def _validate(self, step: int) -> None:
        """Answers, curves and the page of examples as they are now."""
        from chainzoom.training.grpo import examples, plots

        if self.writer is None:
            return
        with _untouched_draws():
            now = self._answers()
        self._log_validation(step, now)
        examples.write_page(self.folder, step, self.before, now, self.shown)
        plots.draw(read_log(self.folder), self.folder / plots.PLOT)

    def _answers(self) -> list[Any]:
        from chainzoom.training.grpo import examples

        side = self.tokenizer.padding_side
        texts = examples.ask(self.loaded, self.shown, self.config.generation.max_new_tokens)
        self.tokenizer.padding_side = side
        return examples.judged(texts, self.shown, self.rewards)

    def _log_validation(self, step: int, answered: Sequence[Any]) -> None:
        from chainzoom.training.grpo import examples

        assert self.writer is not None
        self.writer.scalars(step, examples.means(answered, self.rewards))
        lines = [f"{pair.name}: {one.text}" for pair, one in zip(self.shown, answered, strict=True)]
        self.writer.text(step, "validation/answers", "\n\n".join(lines))


def rehearse(rewards: Sequence[Weighted], pairs: Sequence[Pair]) -> None:
    """Ask every reward about plain words once, so that one that cannot work is known before training. Raises OptionError, RewardError."""
    for one in rewards:
        values = checked(one.name, one.function, [Sample(_WORDS, pair) for pair in pairs])
        if all(value is None for value in values):
            said = ""
            if getattr(one.function, "func", None) is critic:
                request = Request(pairs[0].images, critic_question(_WORDS), 0.0, 0)
                answer = one.function.keywords["judge"]([request])[0].text  # type: ignore[attr-defined]
                said = f" (it answered {answer[:60]!r})"
            raise OptionError(
                f"the reward '{one.name}' gave no usable value for any of {len(pairs)} test descriptions{said}; "
                "a critic must answer with one number from 0 to 100 and nothing else: use another model"
            )


def _check_options(config: Config) -> None:
    """Packages that only some settings need. Raises OptionError, MissingExtraError."""
    if config.generation.backend == "vllm" and importlib.util.find_spec("vllm") is None:
        raise OptionError("generation.backend = 'vllm' needs vLLM, which no extra installs: pip install vllm, or use 'transformers'")
    if config.optimiser.bits == 8:
        need("bitsandbytes", "optimiser.bits = 8", extra="quant")


def _start(folder: Path, config: Config, resume: bool) -> int:
    """The step to go on from (0: from the beginning). Raises OutputError and OptionError before anything is loaded or written."""
    from chainzoom.training.grpo.trainer import SETTINGS

    if (folder / CONFIG).exists() and not resume:
        raise OutputError(f"{folder} holds a run already; continue it with --resume or choose another folder")
    if resume and not (folder / CONFIG).exists():
        raise OutputError(f"{folder} holds no run to resume; start it without --resume")
    steps = saved_steps(folder / CHECKPOINTS)
    if not steps:
        return 0
    where = step_folder(folder / CHECKPOINTS, steps[-1])
    saved = json.loads((where / SETTINGS).read_text(encoding="utf-8"))
    check_same(saved, json.loads(json.dumps(config.essence())), where)
    if steps[-1] >= config.steps:
        raise OutputError(f"{folder} is finished: it has made {steps[-1]} steps; raise steps to go on")
    return steps[-1]


@contextmanager
def _untouched_draws() -> Iterator[None]:
    """Looking at answers must not change what training draws."""
    from chainzoom.training.runs import restore_rng, rng_state

    state = rng_state()
    try:
        yield
    finally:
        restore_rng(state)


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' bars and remarks stay off the terminal; errors do not."""
    transformers, datasets = need("transformers", NEEDED_BY), need("datasets", NEEDED_BY, extra="train")
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            # What the libraries will rename in their next versions is their users' affair, not this run's.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.set_verbosity(level)
        datasets.enable_progress_bars()
