"""The official stack in the authors' configuration and in ours, one after the other in one run; see official_stack.md.

python benchmarks/official_stack.py --size full            # needs a CUDA GPU
python benchmarks/official_stack.py --size tiny            # smoke test on the CPU: its figures say nothing about speed
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from common import cores, cpu_name, save
from official.measure import FULL, Row, attempt, clean, marks, now, peak
from official.models import SIZES, Size
from official.ours import Options, build_ours
from official.theirs import Theirs
from PIL import Image as PILImage

from chainzoom import Chain
from chainzoom.many import run_many

SCALES = (4, 16, 64, 256)
BATCHES = (1, 8)
AIMS = {"latency": 3.0, "throughput": 8.0, "memory": 0.5}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="tiny")
    parser.add_argument("--rounds", type=int, default=3, help="repeats whose median counts (default 3)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="ours; default bfloat16, float32 for tiny")
    parser.add_argument("--memory", nargs="+", choices=("fast", "balanced", "low"), default=["fast", "balanced"], help="ours, a row each")
    parser.add_argument("--channels-last", action="store_true", help="ours: the VAE's convolutions in that layout")
    parser.add_argument("--compile", metavar="BACKEND", help="ours: torch.compile the transformer, e.g. inductor")
    parser.add_argument("--out", default=None, help="name of the table in benchmarks/results (default official_stack_SIZE)")
    given = parser.parse_args()
    size = SIZES[given.size]
    if given.rounds < 1:
        print("official_stack.py: --rounds must be at least 1", file=sys.stderr)
        return 2
    if size.name == "full" and not torch.cuda.is_available():
        print("official_stack.py: --size full needs a CUDA GPU, and torch sees none here; --size tiny runs on the CPU", file=sys.stderr)
        return 2
    device = "cuda" if size.name == "full" else "cpu"
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.manual_seed(0)
    photos = pictures(size.side)
    dtype = given.dtype or ("bfloat16" if device == "cuda" else "float32")
    rows = [measure_theirs(size, device, given.rounds, photos)]
    for memory in given.memory:
        options = Options(memory, dtype, given.channels_last, given.compile)
        rows.append(measure_ours(size, device, given.rounds, photos, options))
    save(given.out or f"official_stack_{size.name}", report(size, device, given, rows))
    return 0


def pictures(side: int) -> Iterator[np.ndarray]:
    """Another picture each time, so that nothing is answered from a cache."""
    rng = np.random.default_rng(0)
    while True:
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        yield np.asarray(PILImage.fromarray(coarse).resize((side, side), PILImage.Resampling.BICUBIC))


def measure_theirs(size: Size, device: str, rounds: int, photos: Iterator[np.ndarray]) -> Row:
    row = Row("authors' configuration")
    clean(device)
    theirs = attempt(lambda: Theirs(size, device))
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "0.png"

        def once(steps: int) -> list[float]:
            PILImage.fromarray(next(photos)).save(photo)
            return marks(theirs.zoom(photo, steps, Path(folder)), device)

        def many(batch: int) -> dict[int, float]:
            once(1)
            runs = [once(len(SCALES)) for _ in range(rounds if batch == 1 else batch)]
            middle = statistics.median if batch == 1 else statistics.fmean
            return {scale: middle(run[n] for run in runs) for n, scale in enumerate(SCALES)}

        fill(row, theirs, device, many)
    return row


def measure_ours(size: Size, device: str, rounds: int, photos: Iterator[np.ndarray], options: Options) -> Row:
    parts = [options.memory, options.dtype, "channels_last" if options.channels_last else "", options.compile or ""]
    row = Row("ours: " + ", ".join(filter(None, parts)))
    clean(device)
    chain = attempt(lambda: build_ours(size, device, options, max(BATCHES)))

    def once() -> list[float]:
        return marks((step for step in chain.run(next(photos), to=SCALES[-1]) if step.kind == "synthesised"), device)

    def together(batch: int, scale: int) -> float:
        """Seconds an image with two groups on their way, so that words and pixels overlap."""
        count = 2 * batch
        start = now(device)
        done = sum(1 for _ in run_many(chain, courses(chain, photos, count, scale), batch=batch, ahead=2))
        assert done == count * (2 + SCALES.index(scale))
        return (now(device) - start) / count

    def many(batch: int) -> dict[int, float]:
        if batch == 1:
            once()
            runs = [once() for _ in range(rounds)]
            return {scale: statistics.median(run[n] for run in runs) for n, scale in enumerate(SCALES)}
        together(batch, SCALES[0])
        return {scale: statistics.median(together(batch, scale) for _ in range(rounds)) for scale in SCALES}

    fill(row, chain, device, many)
    return row


def courses(chain: Chain, photos: Iterator[np.ndarray], count: int, scale: int) -> Iterator:
    return (chain.course(next(photos), to=scale) for _ in range(count))


def fill(row: Row, built: object, device: str, many: Callable[[int], dict[int, float]]) -> None:
    for batch in BATCHES:
        clean(device)
        found = FULL if built == FULL else attempt(lambda batch=batch: many(batch))
        row.seconds[batch] = found
        row.memory[batch] = FULL if found == FULL else peak(device)


def ratio(theirs: object, ours: object) -> float | None:
    """How many times theirs is ours; None when one of them is not a number."""
    return theirs / ours if isinstance(theirs, float | int) and isinstance(ours, float | int) and ours else None


def report(size: Size, device: str, given: argparse.Namespace, rows: list[Row]) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else f"{cpu_name()}, {cores()} cores"
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("chainzoom", "torch", "diffusers", "transformers"))
    command = "python benchmarks/official_stack.py " + " ".join(sys.argv[1:])
    lines = [f"`{command.strip()}`", "", f"{name}; {versions}; random weights, {size.name} size, {size.new_tokens} tokens a prompt."]
    lines += [
        "Seconds an image up to each scale (batch 1: median of the rounds; batch 8: share of a batch), and peak GPU memory of tensors.",
        "",
    ]
    if size.name == "tiny":
        lines += ["**A smoke test: it shows that everything runs. At this size the figures say nothing about speed.**", ""]
    lines += ["| | batch | " + " | ".join(f"{scale}x" for scale in SCALES) + " | GB |", "|---|---|" + "---|" * (len(SCALES) + 1)]
    lines += [line(row, batch) for batch in BATCHES for row in rows]
    theirs = rows[0]
    for row in rows[1:]:
        lines += ["", f"{row.name}, against the {theirs.name}:", ""]
        lines += [f"- {text}" for text in verdicts(theirs, row, aims=size.name == "full")]
    return "\n".join(lines)


def line(row: Row, batch: int) -> str:
    seconds, memory = row.seconds[batch], row.memory[batch]
    cells = [seconds] * len(SCALES) if isinstance(seconds, str) else [f"{seconds[scale]:.3f}" for scale in SCALES]
    held = memory if isinstance(memory, str) else "–" if memory is None else f"{memory / 1e9:.1f}"
    return "| " + " | ".join([row.name, str(batch), *cells, held]) + " |"


def verdicts(theirs: Row, ours: Row, *, aims: bool) -> list[str]:
    """The ratios at the last scale beside what was aimed at; without ``aims`` the ratios alone."""

    def at_end(row: Row, batch: int) -> object:
        seconds = row.seconds[batch]
        return seconds if isinstance(seconds, str) else seconds[SCALES[-1]]

    first, last = BATCHES
    found = {
        "latency": (f"latency, batch {first}", ratio(at_end(theirs, first), at_end(ours, first)), "at least", " lower"),
        "throughput": (f"throughput, batch {last}", ratio(at_end(theirs, last), at_end(ours, last)), "at least", " higher"),
        "memory": (f"GPU memory, batch {first}", ratio(ours.memory[first], theirs.memory[first]), "at most", " of theirs"),
    }
    said = []
    for aim, (what, value, limit, unit) in found.items():
        text = f"{what}: " + ("not to be had" if value is None else f"{value:.2f}x{unit}")
        if aims:
            met = value is not None and (value <= AIMS[aim] if limit == "at most" else value >= AIMS[aim])
            text += f" (aim: {limit} {AIMS[aim]:g}x; {'met' if met else 'not met'})"
        said.append(text)
    return said


if __name__ == "__main__":
    sys.exit(main())
