"""What the pocket backbone is to beat: the trial that came before it, made again from its description and judged like a preset.

    chainzoom train pocket-data DATA
    python benchmarks/pocket_trial.py train DATA trial.pt [--minutes 12]
    python benchmarks/pocket_trial.py eval trial.pt PHOTOS --textures DATA --perceptual-weights DIR --size 256 --out RESULTS

The trial: half a million parameters; a bicubic enlargement and what convolutions add to it, scaled and shifted by a bag of caption words,
with noise in every block and resize-convolutions; consistent by construction (the input less what the result's means are, enlarged, is
added). A critic that sees the picture, its fine band and the words, and not the input; hinge loss. 96-pixel crops of the surfaces of one
game (0 A.D.) and of photos, inputs blurred up to eightfold; every other step on its own pictures, one to three deep. Mean of the weights.
Spectral norm (Miyato et al. 2018), of which the description says nothing, keeps the critic in bounds.

Needs chainzoom[train]. ``eval`` takes the options of ``chainzoom eval``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from chainzoom.backbones.base import BackboneFacts
from chainzoom.cli import main as chainzoom
from chainzoom.evaluation.surfaces.textures import read_textures
from chainzoom.images import Image, clip
from chainzoom.registry import BACKBONES, Entry

SIDE, BATCH, RATE, LEAST = 96, 12, 2e-4, 192
PADDING = 8


class Block(nn.Module):
    def __init__(self, channels: int, words: int) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.film, self.noise = nn.Linear(words, 2 * channels), nn.Parameter(torch.full((1, channels, 1, 1), 0.1))
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.b.weight.data *= 0.3

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        scale, shift = self.film(words)[..., None, None].chunk(2, 1)
        found = self.a(functional.leaky_relu(x, 0.2)) * (1 + scale) + shift
        found = found + self.noise * torch.randn(len(x), 1, *x.shape[2:], dtype=found.dtype)
        return x + self.b(functional.leaky_relu(found, 0.2))


class Generator(nn.Module):
    def __init__(self, vocabulary: int, words: int = 64) -> None:
        super().__init__()
        self.bag, self.head = nn.Linear(vocabulary, words), nn.Conv2d(3, 64, 3, padding=1)
        self.one = nn.ModuleList(Block(64, words) for _ in range(5))
        self.up1, self.two = nn.Conv2d(64, 48, 3, padding=1), Block(48, words)
        self.up2, self.four = nn.Conv2d(48, 32, 3, padding=1), Block(32, words)
        self.out = nn.Conv2d(32, 3, 3, padding=1)
        self.out.weight.data *= 0.1
        nn.init.zeros_(self.out.bias)

    def forward(self, small: Tensor, bag: Tensor) -> Tensor:
        words, x = functional.leaky_relu(self.bag(bag), 0.2), self.head(small * 2 - 1)
        for block in self.one:
            x = block(x, words)
        x = self.two(self.up1(functional.interpolate(x, scale_factor=2.0)), words)
        x = self.four(self.up2(functional.interpolate(x, scale_factor=2.0)), words)
        added = self.out(functional.leaky_relu(x, 0.2)).to(small.dtype)
        made = functional.interpolate(small, scale_factor=4.0, mode="bicubic") + added
        return made + functional.interpolate(small - functional.avg_pool2d(made, 4), scale_factor=4.0)


class Critic(nn.Module):
    def __init__(self, vocabulary: int, width: int = 48) -> None:
        super().__init__()
        plan = [(6, 1, 3, 1), (1, 2, 4, 2), (2, 3, 4, 2), (3, 4, 4, 2), (4, 4, 3, 1)]
        layers: list[nn.Module] = []
        for number, (before, after, kernel, stride) in enumerate(plan):
            convolution = nn.Conv2d(before * (width if number else 1), after * width, kernel, stride, 1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.last, self.words = spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1)), spectral_norm(nn.Linear(vocabulary, 4 * width))

    def forward(self, image: Tensor, bag: Tensor) -> Tensor:
        fine = image - functional.avg_pool2d(functional.pad(image, [2] * 4, mode="reflect"), 5, 1)
        found = self.layers(torch.cat([image * 2 - 1, 6 * fine], 1))
        return self.last(found) + (found * self.words(bag)[..., None, None]).sum(1, keepdim=True)


class Crops:
    """Random squares of training pictures at a random whole scale, and the bags of their words."""

    def __init__(self, folder: Path) -> None:
        chosen = [t for t in read_textures(folder) if t.split == "train" and min(t.width, t.height) >= LEAST]
        chosen = [t for t in chosen if t.kind != "texture" or t.path.name.startswith("0ad")]
        said = [re.findall(r"[a-z]{2,}", t.caption.lower()) for t in chosen]
        often = Counter(word for words in said for word in set(words))
        self.vocabulary = {word: k for k, word in enumerate(sorted(word for word, count in often.items() if count > 1))}
        self.bags = [bag_of(words, self.vocabulary) for words in said]
        self.pictures = [_at_most(np.asarray(clip(t.read()) * 255, np.uint8)) for t in chosen]

    def draw(self, numbers: list[int] | None = None) -> tuple[Tensor, Tensor, list[int]]:
        numbers = numbers or [random.randrange(len(self.pictures)) for _ in range(BATCH)]
        found = []
        for number in numbers:
            picture = self.pictures[number]
            factor = max(1, int(min(min(picture.shape[:2]) / SIDE, 2 ** random.uniform(0, 2))))
            top, left = (random.randint(0, length - SIDE * factor) for length in picture.shape[:2])
            square = picture[top : top + SIDE * factor, left : left + SIDE * factor].astype(np.float32)
            square = square.reshape(SIDE, factor, SIDE, factor, 3).mean((1, 3)) / 255
            square = square[:: random.choice((1, -1)), :: random.choice((1, -1))]
            found.append(torch.from_numpy(square.transpose(2, 0, 1).copy()))
        return torch.stack(found), torch.stack([self.bags[number] for number in numbers]), numbers


def bag_of(words: list[str], vocabulary: dict[str, int]) -> Tensor:
    """The words that are known, or in their other number."""
    found = torch.zeros(len(vocabulary))
    for word in words:
        if known := next((one for one in (word, word + "s", word.rstrip("s")) if one in vocabulary), ""):
            found[vocabulary[known]] = 1
    return found / max(1.0, float(found.sum())) ** 0.5


def _at_most(picture: np.ndarray, most: int = 1600) -> np.ndarray:
    factor = -(-max(picture.shape) // most)
    height, width = (length // factor for length in picture.shape[:2])
    cells = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return cells.mean((1, 3)).astype(np.uint8)


def blurred(small: Tensor) -> Tensor:
    side = max(3, round(small.shape[-1] / 2 ** random.uniform(0, 3)))
    less = functional.interpolate(small, size=(side, side), mode="area")
    return functional.interpolate(less, size=small.shape[-2:], mode="bicubic").clamp(0, 1)


def inputs(real: Tensor, bag: Tensor, made_by: Generator, step: int) -> Tensor:
    small = torch.cat([blurred(one[None]) for one in functional.avg_pool2d(real, 4)])
    side = SIDE // 4
    for _ in range(random.randint(1, 3) if step % 2 else 0):
        made = made_by(small, bag).clamp(0, 1).float()
        places = [(random.randint(0, SIDE - side), random.randint(0, SIDE - side)) for _ in made]
        small = torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in zip(made, places, strict=True)])
    return small


def train(data: Path, out: Path, minutes: float) -> None:
    torch.manual_seed(0)
    random.seed(0)
    crops = Crops(data)
    count = len(crops.vocabulary)
    generator, critic, mean = Generator(count), Critic(count), Generator(count)
    mean.load_state_dict(generator.state_dict())
    optimisers = [torch.optim.Adam(one.parameters(), RATE, (0.0, 0.99)) for one in (generator, critic)]
    print(f"{len(crops.pictures)} pictures, {count} words, {sum(p.numel() for p in generator.parameters())} parameters", flush=True)
    begun, step = time.time(), 0
    while time.time() - begun < 60 * minutes:
        real, bag, numbers = crops.draw()
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                small = inputs(real, bag, mean, step)
            fake = generator(small, bag).float()
            other, _, _ = crops.draw(numbers)
            wrong, right = critic(fake.detach(), bag).float(), critic(other, bag).float()
        loss = functional.relu(1 - right).mean() + functional.relu(1 + wrong).mean()
        _step(optimisers[1], loss)
        critic.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            pleased = critic(fake, bag).float().mean()
        # What leaves the range of pictures is cut off: it must not carry detail.
        _step(optimisers[0], 4 * (fake - fake.clamp(0, 1)).abs().mean() - pleased, generator)
        critic.requires_grad_(True)
        with torch.no_grad():
            for kept, now in zip(mean.parameters(), generator.parameters(), strict=True):
                kept.lerp_(now, 1 - min(0.995, (1 + step) / (10 + step)))
        step += 1
        if step % 50 == 0:
            print(f"step {step}, {time.time() - begun:.0f} s, critic {loss.item():.2f}", flush=True)
    torch.save({"weights": mean.state_dict(), "vocabulary": crops.vocabulary, "steps": step}, out)
    print(f"{step} steps: {out}")


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, clipped: nn.Module | None = None) -> None:
    optimiser.zero_grad()
    loss.backward()
    if clipped is not None:
        nn.utils.clip_grad_norm_(clipped.parameters(), 1.0)
    optimiser.step()


class Trial:
    """The trial's generator as a backbone."""

    def __init__(self, *, weights: str) -> None:
        stored = torch.load(weights, weights_only=True)
        self.vocabulary: dict[str, int] = stored["vocabulary"]
        self.network = Generator(len(self.vocabulary)).eval()
        self.network.load_state_dict(stored["weights"])
        self.facts = BackboneFacts(name="trial", scale=4, uses_prompt=True, stochastic=True, generative=True, runtime="torch")

    def upscale(self, image: Image, prompt: str = "", *, seed: int = 0) -> Image:
        """(H, W, 3) to (4H, 4W, 3)."""
        torch.manual_seed(seed)
        bag = bag_of(re.findall(r"[a-z]+", prompt.lower()), self.vocabulary)[None]
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]
        with torch.inference_mode():
            made = self.network(functional.pad(pixels, [PADDING] * 4, mode="reflect"), bag)[0].numpy()
        cut = slice(4 * PADDING, -4 * PADDING)
        return clip(np.ascontiguousarray(made[:, cut, cut].transpose(1, 2, 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    training = tasks.add_parser("train")
    training.add_argument("data", type=Path)
    training.add_argument("out", type=Path)
    training.add_argument("--minutes", type=float, default=12.0)
    tasks.add_parser("eval").add_argument("weights", type=Path)
    options, others = parser.parse_known_args()
    if options.task == "train":
        train(options.data, options.out, options.minutes)
        return
    BACKBONES["trial"] = Entry("pocket_trial:Trial", "the trial that came before pocket")
    preset = options.weights.with_suffix(".toml")
    weights = json.dumps(str(options.weights.resolve()))
    preset.write_text(f'[backbone]\nname = "trial"\nweights = {weights}\n\n[prompter]\nname = "tags"\n', encoding="utf-8")
    chainzoom(["eval", *others, "--preset", str(preset)])


if __name__ == "__main__":
    main()
