"""Clients that pan in the viewer at once, on loopback: milliseconds from request to sharp tile, and how much of it is the backbone.

    python benchmarks/viewer_load.py [--clients 8 | --browsers 8] [--seconds 25] [--photo examples/cat.png] [--preset default]

Each client does what the page does: it looks at a place, asks for the tiles it sees there with at most three requests at once, the middle
first, waits at most ten seconds for them, and moves on; what it no longer sees it drops. It goes its way twice: what is made the first time
comes from the cache the second time. With ``--browsers`` they are real ones (``viewer_browsers.py``), and the figures those of their pages.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from common import header, save

from chainzoom.photos import Photo
from chainzoom.viewer.pyramid import TILE, Pyramid

PHOTO = Path(__file__).parents[1] / "examples" / "cat.png"
_WIDE, _HIGH, _AT_ONCE = 4, 3, 3
_PATIENCE = 10.0
_COST = re.compile(r"made in ([\d.]+) s, backbone ([\d.]+) s, windows (\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--browsers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    if options.browsers:
        from viewer_browsers import measure

        text = measure(options, [sys.executable, *command(options)])
        who, name, arguments = (
            f"{options.browsers} browsers",
            "viewer_browsers",
            f"--browsers {options.browsers} --seconds {options.seconds:g} ",
        )
    else:
        with tempfile.TemporaryDirectory() as cache:
            text = asyncio.run(load(options, Path(cache)))
        who, name, arguments = f"{options.clients} clients", "viewer_load", ""
    if not options.no_save:
        note = f"{who} for {options.seconds:g} s each way; load average before: {before:.1f}"
        told = f"python benchmarks/viewer_load.py {arguments}--preset {options.preset}"
        save(f"{name}_{Path(options.preset).stem}", header(told, note) + text)
    else:
        print(text)


def command(options: argparse.Namespace) -> list[str]:
    """The viewer's command line; the cache's folder is still to be added."""
    shown = ["-m", "chainzoom", "view", str(options.photo), "--preset", options.preset]
    return [*shown, "--port", "0", "--no-browser", "--cache"]


async def load(options: argparse.Namespace, cache: Path) -> str:
    """The table of a cold and a cached run."""
    arguments = [*command(options), str(cache)]
    server = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.PIPE)
    assert server.stderr is not None
    try:
        line = (await server.stderr.readline()).decode()
        address = re.search(r"http://\S+?(?=/)", line)
        if address is None:
            raise SystemExit(f"the viewer did not start: {line}")
        async with httpx.AsyncClient(base_url=address[0], timeout=600, limits=httpx.Limits(max_connections=200)) as http:
            photo = (await http.get("/api/photos")).json()[0]["id"]
            view = (await http.post("/api/views", json={"photo": photo, "preset": options.preset})).json()["id"]
            await http.get(f"/api/views/{view}")  # the preset is loaded
            found = Photo.open(options.photo)
            pyramid = Pyramid(found.width, found.height)
            rows = []
            for name in ("first", "again"):
                before = (await http.get("/api/status")).json()
                clients = [Client(http, view, pyramid, number) for number in range(options.clients)]
                pages = asyncio.create_task(page_times(http, options.seconds))
                await asyncio.gather(*(client.pan(options.seconds) for client in clients))
                rows.append(row(name, clients, await pages, before, (await http.get("/api/status")).json()))
        return table(rows)
    finally:
        server.terminate()
        await server.wait()


class Client:
    """One browser: a place that moves along a line of its own, the same line in every run."""

    def __init__(self, http: httpx.AsyncClient, view: str, pyramid: Pyramid, number: int) -> None:
        self._http, self._view, self._pyramid, self._number = http, view, pyramid, number
        self.made: list[tuple[float, float, float]] = []
        self.kept: list[float] = []
        self.refused = self.lost = self.dropped = 0

    async def pan(self, seconds: float) -> None:
        """Look, wait for a while, move half a screen; from 4x to 64x and back."""
        end = perf_counter() + seconds
        step = 0
        while perf_counter() < end:
            level = self._pyramid.level_of((4, 16, 64)[step // 4 % 3])
            width, height = (-(-side // TILE) for side in self._pyramid.size(level))
            room = max(0, width - _WIDE)
            column = min(room, round((0.1 + 0.1 * self._number) * room) + 2 * (step % 4))
            row_ = round(0.45 * max(0, height - _HIGH))
            wanted = [(c, r) for r in range(row_, min(height, row_ + _HIGH)) for c in range(column, min(width, column + _WIDE))]
            wanted.sort(key=lambda at: abs(at[0] - column - 1.5) + abs(at[1] - row_ - 1))
            await self._look(level, wanted, min(_PATIENCE, max(0.2, end - perf_counter())))
            step += 1

    async def _look(self, level: int, wanted: list[tuple[int, int]], patience: float) -> None:
        doors = asyncio.Semaphore(_AT_ONCE)

        async def fetch(order: int, at: tuple[int, int]) -> None:
            async with doors:
                await self._tile(level, at, level * 1000 + order)

        tasks = [asyncio.create_task(fetch(order, at)) for order, at in enumerate(wanted)]
        _, left = await asyncio.wait(tasks, timeout=patience)
        self.dropped += len(left)
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tile(self, level: int, at: tuple[int, int], order: int) -> None:
        start = perf_counter()
        for _ in range(20):
            response = await self._http.get(f"/api/views/{self._view}/tiles/{level}/{at[0]}_{at[1]}.png?order={order}")
            if response.status_code != 429:
                break
            self.refused += 1
            await asyncio.sleep(0.7)
        spent = perf_counter() - start
        if response.status_code != 200 or not response.content.endswith(b"IEND\xaeB`\x82"):
            self.lost += 1
        elif cost := _COST.match(response.headers.get("x-chainzoom", "")):
            self.made.append((spent, float(cost[1]), float(cost[2])))
        else:
            self.kept.append(spent)


async def page_times(http: httpx.AsyncClient, seconds: float) -> list[float]:
    """How long the page itself and a tile of real pixels take meanwhile: whether anything freezes."""
    end, found = perf_counter() + seconds, []
    photo = (await http.get("/api/photos")).json()[0]["id"]
    while perf_counter() < end:
        start = perf_counter()
        await http.get("/")
        await http.get(f"/api/photos/{photo}/tiles/9/0_0.png")
        found.append((perf_counter() - start) / 2)
        await asyncio.sleep(0.2)
    return found


def row(name: str, clients: list[Client], pages: list[float], before: Any, after: Any) -> dict[str, Any]:
    spent = {key: after["tiles"][key] - before["tiles"][key] for key in ("seconds", "backbone_seconds", "windows")}
    return {
        "name": name,
        "made": [one[0] for client in clients for one in client.made],
        "kept": [one for client in clients for one in client.kept],
        "pages": pages,
        "spent": spent,
        **{key: sum(getattr(client, key) for client in clients) for key in ("refused", "lost", "dropped")},
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| way | made: tiles | p50, ms | p95, ms | cached: tiles | p50, ms | p95, ms | windows made | "
        "backbone's share of the worker's time | "
        "dropped | 429 | lost | page and real pixels: p95, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        spent = one["spent"]
        share = f"{100 * spent['backbone_seconds'] / spent['seconds']:.1f} %" if spent["windows"] else "none made"
        lines.append(
            f"| {one['name']} | {figures(one['made'])} | {figures(one['kept'])} | {spent['windows']} | {share} | "
            f"{one['dropped']} | {one['refused']} | {one['lost']} | {quantile(one['pages'], 0.95)} |"
        )
    return "\n".join(lines)


def figures(times: list[float]) -> str:
    return f"{len(times)} | {quantile(times, 0.5)} | {quantile(times, 0.95)}"


def quantile(values: list[float], share: float) -> str:
    return f"{1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]:.0f}" if values else "none"


if __name__ == "__main__":
    main()
