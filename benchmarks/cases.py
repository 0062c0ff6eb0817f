"""What a case of the benchmarks is, and how it is measured and printed."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
Measure = Callable[[], float]


def times_faster(ours: float, peer: float) -> str:
    return f"{ours / peer:.1f}x"


def fraction(ours: float, peer: float) -> str:
    return f"{ours / peer:.2f}x"


def more(ours: float, peer: float) -> str:
    return f"{(ours - peer) * 1e3:.0f} ms more"


@dataclass
class Peer:
    """What a user would take instead, or what the machine can do at best."""

    name: str
    measure: Measure


@dataclass
class Case:
    """One figure of ours beside those of its peers, in the same unit.

    `check`, if there is one, gets the medians (ours, then the peers') and returns a line to print.
    """

    name: str
    title: str
    ours: Measure
    peers: list[Peer]
    ratio: Callable[[float, float], str] = times_faster
    check: Callable[[list[float]], str] | None = None
    figures: list[list[float]] = field(default_factory=list)

    def warm_up(self) -> None:
        """Run all once: processes start, caches fill; not counted."""
        for measure in self._measures():
            measure()
        self.figures = [[] for _ in self._measures()]

    def round(self) -> None:
        for measure, values in zip(self._measures(), self.figures, strict=True):
            values.append(measure())

    def _measures(self) -> list[Measure]:
        return [self.ours, *(peer.measure for peer in self.peers)]

    def _medians(self) -> list[float]:
        return [statistics.median(values) for values in self.figures]

    def lines(self) -> list[str]:
        ours, *theirs = medians = self._medians()
        lines = [f"{self.name:14} {ours:12.4g}  {self.title}"]
        for peer, figure in zip(self.peers, theirs, strict=True):
            lines.append(f"{'':14} {figure:12.4g}  {peer.name}   -> {self.ratio(ours, figure)}")
        if self.check:
            lines.append(f"{'':14} {'':12}  {self.check(medians)}")
        return lines

    def as_json(self) -> dict[str, object]:
        ours, *theirs = self._medians()
        return {
            "title": self.title,
            "ours": self.figures[0],
            "peers": [
                {"name": peer.name, "figures": values, "ratio": self.ratio(ours, figure)}
                for peer, values, figure in zip(self.peers, self.figures[1:], theirs, strict=True)
            ],
            "check": self.check(self._medians()) if self.check else None,
        }


def installed(package: str, what: str) -> bool:
    """Whether a peer's package is there; says so when it is not."""
    if importlib.util.find_spec(package) is not None:
        return True
    print(f"left out: {what}, since {package} is not installed: pip install {package}")
    return False


def met(yes: bool) -> str:
    return "met" if yes else "MISSED"


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def process_seconds(code: str, count: int) -> float:
    """Median seconds of a whole ``python -c code``."""
    return statistics.median(
        seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))
        for _ in range(count)
    )


def executors() -> dict[str, list[str]]:
    """The executors of the benchmarks."""
    return {
        "noop": [str(BUILD / "noop")],
        "pynoop": [sys.executable, str(HERE / "executors" / "noop.py")],
    }
