#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw a pool's trace file as an SVG: python tools/trace_picture.py TRACE.json PICTURE.svg

A lane for each worker, a box for each task, a cross where a worker died; on top, how many tasks
wait in the queue. Tasks that are too short to be seen are drawn together. A picture for a document:
to look at a trace, open it in ui.perfetto.dev.
"""

from __future__ import annotations

import itertools
import json
import sys
import zlib
from html import escape
from typing import Any

WIDTH, LEFT, TOP, LANE, QUEUE = 960, 110, 24, 26, 48  # px
COLOURS = ("#4c78a8", "#72b7b2", "#54a24b", "#b279a2", "#9d755d", "#eeca3b")
LEAST = 0.7  # px: what is shorter, or nearer to its neighbour, is drawn with it
STYLE = (
    "text{font:11px sans-serif;fill:#333}.axis{stroke:#ddd}.queue{fill:#f2cf9b}.starting{fill:#ddd}"
    ".bad{fill:#e45756}.cross{stroke:#c00;stroke-width:2.5}"
)

Events = list[dict[str, Any]]


class Picture:
    """Where things are, and what has been drawn."""

    def __init__(self, events: Events) -> None:
        self.events = [each for each in events if each["ph"] != "M"]
        if not self.events:
            raise SystemExit("the trace is empty")
        self.begin = min(each["ts"] for each in self.events)
        self.end = max(each["ts"] + each.get("dur", 0) for each in self.events)
        named = [each for each in events if each["ph"] == "M" and each["name"] == "thread_name"]
        tracks = {each["tid"]: each["args"]["name"] for each in named}
        self.workers = {tid: name for tid, name in tracks.items() if name != "queue"}
        self.bottom = TOP + QUEUE + 12 + LANE * len(self.workers)
        self.parts: list[str] = []

    def x(self, time: float) -> float:
        """Where a time is."""
        span = max(self.end - self.begin, 1)
        return LEFT + (time - self.begin) / span * (WIDTH - LEFT - 10)

    def draw(self) -> str:
        """All of it."""
        self.axis()
        self.queue()
        for number, (tid, name) in enumerate(self.workers.items()):
            self.lane(TOP + QUEUE + 12 + LANE * number, tid, name)
        height = self.bottom + 8
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        ground = f'<style>{STYLE}</style><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        return "\n".join([head, ground, *self.parts, "</svg>", ""])

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Write something."""
        self.parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def axis(self) -> None:
        """Draw lines at round times."""
        seconds = (self.end - self.begin) / 1e6
        steps = (base * 10.0**power for power in range(-6, 7) for base in (1, 2, 5))
        step = next(step for step in steps if seconds / step <= 10)
        for number in range(int(seconds / step) + 1):
            x = self.x(self.begin + number * step * 1e6)
            self.parts.append(f'<path class="axis" d="M{x:.1f} {TOP}V{self.bottom}"/>')
            self.text(x, TOP - 8, f"{number * step:g} s", "middle")

    def queue(self) -> None:
        """Draw how many tasks wait."""
        counts = [(each["ts"], each["args"]["queued"]) for each in self.events if each["ph"] == "C"]
        most = max((count for _, count in counts), default=0)
        self.text(4, TOP + QUEUE / 2, f"queued (≤ {most})")
        points, y = [f"M{self.x(self.begin):.1f} {TOP + QUEUE}"], 0.0
        for time, count in sorted(counts):
            new = TOP + QUEUE - count / max(most, 1) * (QUEUE - 4)
            if new != y:
                points.append(f"H{self.x(time):.1f}V{new:.1f}")
            y = new
        end = f"H{self.x(self.end):.1f}V{TOP + QUEUE}Z"
        self.parts.append(f'<path class="queue" d="{"".join(points)}{end}"/>')

    def lane(self, y: int, tid: int, name: str) -> None:
        """Draw one worker's time."""
        own = sorted((e for e in self.events if e["tid"] == tid), key=lambda e: e["ts"])
        self.text(4, y + LANE - 10, name)
        slices = [each for each in own if each["ph"] == "X"]
        for kind, group in itertools.groupby(slices, key=look):
            left = right = None
            for each in group:
                begin, end = self.x(each["ts"]), self.x(each["ts"] + each["dur"])
                if right is not None and begin - right < LEAST and end - begin < LEAST:
                    right = max(right, end)
                    continue
                self.box(kind, left, right, y)
                left, right = begin, end
            self.box(kind, left, right, y)
        for each in own:
            if each["ph"] == "i" and each["cat"] == "death":
                x, middle = self.x(each["ts"]), y + LANE / 2 - 2
                cross = f"M{x - 5:.1f} {middle - 5}l10 10m0-10l-10 10"
                self.parts.append(
                    f'<path class="cross" d="{cross}"><title>{escape(each["name"])}</title></path>'
                )

    def box(self, kind: tuple[str, str], left: float | None, right: float | None, y: int) -> None:
        """Draw what a worker was at."""
        if left is None or right is None:
            return
        style, title = kind
        place = f'x="{left:.1f}" y="{y}" width="{max(right - left - 0.5, 0.3):.1f}"'
        self.parts.append(
            f'<rect {place} height="{LANE - 6}" {style}><title>{escape(title)}</title></rect>'
        )


def look(each: dict[str, Any]) -> tuple[str, str]:
    """How a slice looks, and what it is called."""
    name, outcome = each["name"], each.get("args", {}).get("outcome")
    if each["cat"] == "worker":
        return 'class="starting"', name
    if outcome:
        return 'class="bad"', f"{name}: {outcome}"
    return f'fill="{COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]}"', name


def main() -> None:
    """Draw."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1]) as file:
        picture = Picture(json.load(file))
    with open(sys.argv[2], "w") as file:
        file.write(picture.draw())


if __name__ == "__main__":
    main()
