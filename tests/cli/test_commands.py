from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chainzoom import __version__
from chainzoom.cli import main
from tests.cli.test_zoom import FAST, call


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("--version", capsys=capsys)
    assert (code, printed.strip()) == (0, f"chainzoom, version {__version__}")
    code, printed, _ = call("zoom", "--help", capsys=capsys)
    assert code == 0
    assert "--consistency" in printed


def test_presets_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("presets", capsys=capsys)
    assert code == 0
    assert "default" in printed
    assert "bicubic" in printed


def test_doctor_names_versions_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call("doctor", capsys=capsys)
    assert code == 0
    assert __version__ in printed
    assert "openvino" in printed
    assert "bicubic" in printed


def test_report_can_be_drawn_again(tmp_path: Path, photo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("zoom", photo_file, "--to", "4", "--out", tmp_path / "o", *FAST, capsys=capsys)
    before = (tmp_path / "o" / "strip.png").read_bytes()
    (tmp_path / "o" / "strip.png").unlink()
    assert call("report", tmp_path / "o", capsys=capsys)[0] == 0
    assert (tmp_path / "o" / "strip.png").read_bytes() == before
    code, _, said = call("report", tmp_path, capsys=capsys)
    assert code == 2
    assert "run.json" in said


def test_nothing_heavy_is_imported() -> None:
    """Rule 7 of docs/architecture.md: neither the package nor the default preset loads torch and its kin."""
    code = (
        "import sys, numpy as np, chainzoom\n"
        "chain = chainzoom.load_preset('default').build(size=64)\n"
        "steps = list(chain.run(np.zeros((32, 32, 3), np.float32) + 0.5, to=4))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'transformers', 'diffusers', 'ray', 'pyiqa', 'peft'}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_import_is_quick() -> None:
    """No timing here (see benchmarks/); only that the slow modules stay out of ``import chainzoom``."""
    code = "import sys, chainzoom; print(sorted({'av', 'openvino', 'rich', 'ncnn'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_command_line_docs_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    from docs.make_cli import document

    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text(encoding="utf-8") == document(), "run: python docs/make_cli.py"


def test_main_without_arguments_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    out, err = capsys.readouterr()
    assert "zoom" in out + err
