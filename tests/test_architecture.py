"""Rule 1 of docs/architecture.md: imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "chainzoom"
LAYERS: list[set[str]] = [
    {"errors", "version"},
    {
        "images",
        "seeds",
        "regions",
        "weights",
        "atomic",
        "torchfile",
        "torch_io",
        "torch_device",
        "torch_memory",
        "extras",
        "icc",
        "png_chunks",
    },
    {"photo_decode", "sources", "provenance"},
    {"photos"},
    {"pictures", "models", "sentences"},
    {"correctors"},
    {"backbones", "prompters"},
    {"step", "settings"},
    {"course"},
    {"chain"},
    {"many", "windows"},
    {"registry", "stack_memory"},
    {"presets", "records"},
    {"report"},
    {"jobs", "full"},
    {"viewer"},
    {"evaluation"},
    {"training"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def unit(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("chainzoom"):
            # ``from chainzoom import icc`` names a module; ``from chainzoom import Chain`` the package's public face.
            found |= {node.module.split(".")[1]} if "." in node.module else {_named(alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("chainzoom.")}
    return found


def _named(name: str) -> str:
    return name if (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir() else "__init__"


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = unit(path)
    assert here in LEVEL, f"{here} has no place in LAYERS"
    for other in imported(path):
        assert other == here or LEVEL[other] < LEVEL[here], f"{path.name} imports {other}"


def test_the_chain_knows_only_protocols() -> None:
    for path in (ROOT / "chain.py", ROOT / "step.py"):
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module}
        for module in modules:
            if module.startswith(("chainzoom.backbones", "chainzoom.prompters")):
                assert module.endswith((".base", ".noise"))


def test_files_stay_short() -> None:
    assert not [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 500]
