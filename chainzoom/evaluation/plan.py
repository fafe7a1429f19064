"""The plan of an evaluation, as results/eval.json holds it, and the layout of the results folder.

eval.json                   this plan; report and resume start from it
runs/METHOD/IMAGE/          run folders: run.json and states/K.png
failures.json               what could not be run, and why; tried again next time
scores/METHOD/IMAGE.json    figures by picture hash, so that nothing is measured twice
table.md, .tex, .csv        means; scores.parquet has every figure of every image
plots/, sheets/, index.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainzoom.atomic import write_bytes
from chainzoom.errors import OptionError, OutputError
from chainzoom.evaluation.datasets import Item
from chainzoom.evaluation.protocol import Method
from chainzoom.regions import MAX_SCALE
from chainzoom.seeds import check_seed
from chainzoom.settings import Protocol, Settings
from chainzoom.version import __version__

SCHEMA = "chainzoom.eval/1"
PLAN, FAILURES = "eval.json", "failures.json"


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """Everything that decides what is run and measured.

    dataset      name and folder of the pictures, layout and split
    absent       methods that cannot run here, with the reason; they are listed, not scored
    note         said on the page, e.g. what an ablation asks
    """

    dataset: dict[str, str]
    items: tuple[Item, ...]
    methods: tuple[Method, ...]
    scales: tuple[float, ...]
    metrics: tuple[str, ...]
    protocol: Protocol = "paper"
    size: int = 512
    seed: int = 0
    absent: dict[str, str] = field(default_factory=dict)
    command: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.methods:
            raise OptionError("nothing to evaluate: no method can run here" + "".join(f"; {k}: {v}" for k, v in self.absent.items()))
        check_scales(self.scales)
        check_seed(self.seed)
        for method in self.methods:
            self.check_ladder(method)

    @property
    def to(self) -> float:
        """The deepest scale."""
        return max(self.scales)

    def settings(self, method: Method) -> dict[str, Any]:
        """What ``Preset.build`` is given for a method."""
        return {"protocol": self.protocol, "size": self.size, **method.overrides()}

    def check_ladder(self, method: Method) -> None:
        """Raise OptionError when a method's steps do not pass through every scale asked for."""
        settings: Settings = method.load().check(**self.settings(method))
        ladder = [state.scale for state in settings.plan(_Blank(), to=self.to)]
        for scale in self.scales:
            if not any(abs(scale / step - 1) < 1e-6 for step in ladder):
                met = ", ".join(f"{step:g}" for step in ladder if step > 1)
                raise OptionError(f"--scales: {method.name} does not pass {scale:g}x on the way to {self.to:g}x; it passes {met}")

    def run_folder(self, out: Path, method: Method, item: Item) -> Path:
        """Where a run lies."""
        return out / "runs" / method.name / item.name

    def write(self, out: Path) -> None:
        """Write eval.json. Raises OutputError."""
        data = {
            "schema": SCHEMA,
            "version": __version__,
            "command": self.command,
            "note": self.note,
            "dataset": self.dataset,
            "protocol": self.protocol,
            "size": self.size,
            "seed": self.seed,
            "scales": list(self.scales),
            "metrics": list(self.metrics),
            "methods": [method.as_dict() for method in self.methods],
            "absent": self.absent,
            "items": [
                {"name": item.name, "path": str(item.path), "reference": str(item.reference) if item.reference else None}
                | ({"material": item.material} if item.material else {})
                for item in self.items
            ],
        }
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / PLAN, (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode())


def read_plan(out: Path) -> EvalPlan:
    """The plan of a results folder. Raises OutputError when there is none."""
    try:
        data = json.loads((out / PLAN).read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"its schema is {data['schema']}")
        items = tuple(
            Item(i["name"], Path(i["path"]), Path(i["reference"]) if i["reference"] else None, i.get("material", "")) for i in data["items"]
        )
        methods = tuple(Method(m["name"], m["label"], m["preset"], m["changes"]) for m in data["methods"])
        return EvalPlan(
            data["dataset"],
            items,
            methods,
            tuple(data["scales"]),
            tuple(data["metrics"]),
            data["protocol"],
            data["size"],
            data["seed"],
            data["absent"],
            data["command"],
            data["note"],
        )
    except OSError as error:
        raise OutputError(f"cannot read {out / PLAN}: {error.strerror}; is {out} the --out of an evaluation?") from None
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out / PLAN} is not a whole plan of schema {SCHEMA} ({error}); run the evaluation again") from None


def check_scales(scales: Sequence[float]) -> None:
    """Raise OptionError for scales without sense."""
    if not scales or not all(1 < scale <= MAX_SCALE for scale in scales):
        raise OptionError(f"--scales takes numbers above 1 and at most {MAX_SCALE:.0f} joined by commas; got {','.join(map(str, scales))}")


class _Blank:
    """Stands for any photo when only the ladder is asked for."""

    width = height = 512
    sha256 = ""

    def read(self, *_: Any) -> Any:
        """Never called."""
        raise AssertionError("a ladder needs no pixels")

    read_alpha = read
