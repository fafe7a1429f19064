"""Real browsers that pan in the viewer at once: the part of ``viewer_load.py --browsers N`` that drives headless Chromium.

One Chromium process, N windows with profiles of their own. Each goes its way through the page's own code (animated moves, the page's
queue), waits until everything it sees is sharp, at most ten seconds, and moves on. A script in the page counts what it asks for and what
comes of it, and how long its main thread does not answer.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.viewer.viewer_browser import ViewerBrowser

WIDTH, HEIGHT = 1000, 640
_COST = re.compile(r"made in ([\d.]+) s, backbone ([\d.]+) s, windows (\d+)")
_SCRIPT = """
(() => {
  const picture = chainzoomPicture, { loader } = picture, now = () => performance.now();
  const load = window.load = { asked: 0, answered: [], dropped: 0, trouble: [], frames: [], long: [], late: 0, steps: 0, over: false };
  const wrap = (name, before) => {
    const own = loader[name].bind(loader);
    loader[name] = (...given) => { before(...given); return own(...given); };
  };
  wrap("add", (job, url, lane) => { load.asked += lane === "made"; });
  wrap("drop", (entry) => { load.dropped += !entry.over && entry.lane === "made"; });
  wrap("note", (entry, cost) => { load.answered.push([now() - entry.since, cost]); });
  picture.addEventListener("trouble", ({ detail }) => load.trouble.push(`${detail.status} ${detail.text}`));
  new PerformanceObserver((list) => list.getEntries().forEach((one) => load.long.push(one.duration))).observe({ type: "longtask" });
  let ticked = now();
  // A loop of frames would itself be work for the browser: one is asked for now and then.
  setInterval(() => { const since = now(); requestAnimationFrame(() => load.frames.push(now() - since)); }, 200);
  setInterval(() => { load.late = Math.max(load.late, now() - ticked - 50); ticked = now(); }, 50);
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const clamp = (at, half) => Math.min(1 - half, Math.max(half, at));
  const spot = (step) => {
    const z = [4, 16, 64][Math.floor(step / 4) % 3], { width, height } = picture.photo;
    const wide = Math.min(1, innerWidth / z / width), high = Math.min(1, innerHeight / z / height);
    const x = 0.08 + 0.11 * NUMBER + 0.5 * wide * (step % 4), y = 0.3 + 0.05 * NUMBER;
    return { z, x: clamp(x, wide / 2), y: clamp(y, high / 2) };
  };
  load.pan = async (seconds, limit) => {
    const end = now() + 1000 * seconds;
    for (let step = 0; now() < end; step += 1) {
      picture.go(spot(limit ? step % limit : step));
      await pause(900);
      for (const patience = Math.min(end, now() + 10000); loader.toldLast > 0 && now() < patience;) await pause(50);
      load.steps += 1;
    }
    load.left = loader.all().filter((entry) => entry.lane === "made").length;
    load.over = true;
  };
})()
"""


class Windows(ViewerBrowser):
    """Chromium with several windows; ``at`` chooses the one that commands go to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "profile", folder / "downloads", width=WIDTH, height=HEIGHT)
        self.sessions: list[str] = []
        self.failed: list[str] = []

    def at(self, session: str) -> Windows:
        """The window of a session; "" is the browser itself."""
        self._session = session
        return self

    def add(self, address: str) -> None:
        """A window of another person: cookies, storage and cache of its own."""
        context = self.at("")._send("Target.createBrowserContext")["browserContextId"]
        given = {"url": "about:blank", "browserContextId": context, "newWindow": True, "width": WIDTH, "height": HEIGHT}
        target = self._send("Target.createTarget", **given)["targetId"]
        session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.sessions.append(session)
        self.at(session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")
        self._send("Network.setCacheDisabled", cacheDisabled=True)  # what is measured is the server's cache
        self._send("Emulation.setFocusEmulationEnabled", enabled=True)
        self._send("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        self.open(address)

    def _note(self, event: dict[str, Any]) -> None:
        super()._note(event)
        if event["method"] == "Network.loadingFailed" and not event["params"].get("canceled"):
            self.failed.append(str(event["params"].get("errorText")))


def measure(options: argparse.Namespace, server: list[str]) -> str:
    """The table of a cold way and of the same way again, from the cache."""
    with tempfile.TemporaryDirectory() as name, subprocess.Popen([*server, name], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"http://\S+?(?=/)", line := process.stderr.readline())
            if found is None:
                raise SystemExit(f"the viewer did not start: {line}")
            rows, limits = [], [0] * options.browsers
            for way in ("cold", "the same again"):
                rows.append(go(options, found[0], way, limits))
                limits = [one["steps"] for one in rows[-1]["windows"]]
            return table(rows)
        finally:
            process.terminate()


def go(options: argparse.Namespace, address: str, way: str, limits: list[int]) -> dict[str, Any]:
    """All windows for ``options.seconds``; a limit is after how many steps a window begins its way anew."""
    photo = ask(address, "/api/photos")[0]["id"]
    with tempfile.TemporaryDirectory() as folder, Windows(Path(folder)) as windows:
        for number in range(options.browsers):
            windows.add(f"{address}/#photo={photo}&x=0.5&y=0.5&z=1")
            windows.wait("Boolean(window.chainzoomPicture?.photo && chainzoomPicture.layers.made)", 120)
            windows.wait("document.getElementById('seedhint').innerText.length > 0", 120)  # the preset is loaded
            windows.run(_SCRIPT.replace("NUMBER", str(number)))
        before = ask(address, "/api/status")
        for session, limit in zip(windows.sessions, limits, strict=True):
            windows.at(session).run(f"void load.pan({options.seconds}, {limit})")
        end = time.monotonic() + options.seconds + 60
        pages = []
        while not all(windows.at(session).run("load.over") for session in windows.sessions):
            assert time.monotonic() < end, "a page is frozen"
            start = time.monotonic()
            urllib.request.urlopen(address, timeout=60).read()
            pages.append(time.monotonic() - start)
            time.sleep(1)
        told = [json.loads(windows.at(session).run("JSON.stringify(load)")) for session in windows.sessions]
        return {
            "way": way,
            "windows": told,
            "failed": windows.failed,
            "complaints": windows.complaints,
            "pages": pages,
            "status": (before, ask(address, "/api/status")),
        }


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=120) as answer:
        return json.load(answer)


def table(rows: list[dict[str, Any]]) -> str:
    """Three tables: tiles, costs, and whether pages answered."""
    tiles = [
        "| way | steps | tiles asked for | sharp | out of sight first | waited for at the end | lost | failed requests | refused (429) |",
        "|" + "---|" * 9,
    ]
    times = [
        "| way | made: tiles | p50, s | p95, s | cached: tiles | p50, ms | p95, ms | windows | backbone's share of the work |",
        "|" + "---|" * 9,
    ]
    frozen = [
        "| way | frames asked for | longest wait in each window, ms | p99 | tasks over 50 ms | longest, ms | latest timer "
        "| page again: p95, ms |",
        "|" + "---|" * 8,
    ]
    for row in rows:
        every = row["windows"]
        asked, dropped, left = (sum(one[key] for one in every) for key in ("asked", "dropped", "left"))
        answered = [pair for one in every for pair in one["answered"]]
        made = [ms / 1000 for ms, cost in answered if _COST.match(cost or "")]
        kept = [ms for ms, cost in answered if cost == "cached"]
        refused = row["status"][1]["refused"] - row["status"][0]["refused"]
        bad = len(row["failed"]) + sum(" 429" not in f" {one}" and not one.startswith("429") for one in row["complaints"])
        lost = max(0, asked - len(answered) - dropped - left)  # one that arrives while they are counted is counted twice
        steps = sum(one["steps"] for one in every)
        tiles.append(f"| {row['way']} | {steps} | {asked} | {len(answered)} | {dropped} | {left} | {lost} | {bad} | {refused} |")
        spent = {key: row["status"][1]["tiles"][key] - row["status"][0]["tiles"][key] for key in ("seconds", "backbone_seconds", "windows")}
        share = f"{100 * spent['backbone_seconds'] / spent['seconds']:.1f} %" if spent["windows"] else "none made"
        times.append(
            f"| {row['way']} | {len(made)} | {at(made, 0.5):.2f} | {at(made, 0.95):.2f} | {len(kept)} | {at(kept, 0.5):.0f} | "
            f"{at(kept, 0.95):.0f} | {spent['windows']} | {share} |"
        )
        frames = [gap for one in every for gap in one["frames"]]
        long = [task for one in every for task in one["long"]]
        worst = ", ".join(f"{max(one['frames'], default=0):.0f}" for one in every)
        late = max(one["late"] for one in every)
        frozen.append(
            f"| {row['way']} | {len(frames)} | {worst} | {at(frames, 0.99):.0f} | {len(long)} | {max(long, default=0):.0f} | "
            f"{late:.0f} | {1000 * at(row['pages'], 0.95):.0f} |"
        )
        for one in sorted({*row["failed"], *row["complaints"], *(text for each in every for text in each["trouble"])}):
            print(f"{row['way']}: {one}", file=sys.stderr)
    return "\n".join([*tiles, "", *times, "", *frozen])


def at(values: list[float], share: float) -> float:
    """A quantile; nan of nothing."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
