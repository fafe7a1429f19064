"""Run every benchmark, one after another: ``make bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("realesrgan_runtimes.py", "four_steps.py", "engine_overhead.py", "drift.py")

if __name__ == "__main__":
    for script in SCRIPTS:
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)
