"""The remote prompter against the library's own server, where its packages are installed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httpx")

from chainzoom.prompters.asking import Request
from chainzoom.prompters.questions import TWO_IMAGES
from tests.prompters.test_remote import asking


def test_transformers_serve_answers_as_it_does_here(tmp_path: Path):
    for package in ("torch", "transformers", "torchvision", "fastapi", "uvicorn", "openai", "typer"):
        pytest.importorskip(package)
    from chainzoom.prompters.vlm import VLM
    from tests.prompters import tiny_vlm

    folder = tiny_vlm.make(tmp_path / "tiny", seed=5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    with (tmp_path / "log").open("wb") as log, subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment) as process:
        try:
            with asking(
                f"http://127.0.0.1:{port}", str(folder), max_new_tokens=8, timeout=60, retries=100, sleep=lambda _: time.sleep(1)
            ) as remote:
                remote.check()
                rng = np.random.default_rng(1)
                asked = [Request(tuple(rng.integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)), TWO_IMAGES, 0.0, 0) for _ in range(2)]
                local = VLM.from_pretrained(folder, device="cpu", max_new_tokens=8, local_files_only=True)
                assert remote.answers(asked) == local.answers(asked)
        finally:
            process.terminate()
