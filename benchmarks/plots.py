"""Figures for the documentation from a result of run.py.

    python benchmarks/plots.py RESULT.json… [--into docs/figures]

Of a case that is in several files the last one counts. A figure whose cases are missing is left
out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS, PEER, LIMIT = "tab:blue", "tab:gray", "tab:red"
WAYS = {"cc": "C++ → C++", "cp": "C++ → Python", "pc": "Python → C++", "pp": "Python → Python"}
Cases = dict[str, dict[str, Any]]


def medians(case: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Ours, and the peers' by name."""
    peers = {peer["name"]: statistics.median(peer["figures"]) for peer in case["peers"]}
    return statistics.median(case["ours"]), peers


def size_text(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            return f"{size:g} {unit}"
        size /= 1024
    raise AssertionError


def crossing(sizes: list[int], inline: list[float], shared: list[float]) -> int | None:
    """The smallest size from which on shared memory is never slower."""
    faster = [s <= i for i, s in zip(inline, shared, strict=True)]
    for k in range(len(sizes)):
        if all(faster[k:]):
            return sizes[k]
    return None


def inline_sweep(cases: Cases, chosen: int, target: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, how, words in zip(
        axes, ("one", "burst"), ("one pair alone", "a pair in a burst of 200"), strict=True
    ):
        prefix = f"inline-{how}-"
        sizes = sorted(int(name.removeprefix(prefix)) for name in cases if name.startswith(prefix))
        both = [medians(cases[f"{prefix}{size}"]) for size in sizes]
        inline = [ours for ours, _ in both]
        shared = [peers["in shared memory"] for _, peers in both]
        axis.plot(sizes, inline, "o-", color=PEER, label="inside of the messages")
        axis.plot(sizes, shared, "o-", color=OURS, label="in shared memory")
        axis.axvline(chosen, color=LIMIT, linestyle="--", label=f"chosen: {size_text(chosen)}")
        axis.set(xscale="log", yscale="log", xlabel="size [B]", title=words)
        axis.grid(alpha=0.3)
        found = crossing(sizes, inline, shared)
        print(f"inline-{how}: shared memory is never slower from {found} bytes on")
    axes[0].set_ylabel("filled and summed [µs]")
    axes[0].legend()
    save(figure, target / "inline.png")


def passing(cases: Cases, target: Path) -> None:
    sizes = [size for size in (100, 1000) if f"pass-{size}-cc" in cases]
    figure, axes = plt.subplots(1, len(sizes), figsize=(5 * len(sizes), 4), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        bars: dict[str, float] = {}
        peers: dict[str, list[float]] = {}
        for how, way in WAYS.items():
            bars[way], others = medians(cases[f"pass-{size}-{how}"])
            for name, median in others.items():
                peers.setdefault(name, []).append(median)
        colors = [OURS] * len(bars) + [PEER] * len(peers)
        bars |= {name: statistics.median(figures) for name, figures in peers.items()}
        axis.barh(list(bars), [1e3 * value for value in bars.values()], color=colors)
        for y, value in enumerate(bars.values()):
            milliseconds = 1e3 * value
            text = f" {milliseconds:.3g}" if milliseconds < 1000 else f" {milliseconds:,.0f}"
            axis.text(milliseconds, y, text, va="center", fontsize=8)
        axis.set(xscale="log", xlabel="ms", title=f"{size} MB filled, first byte read, warm")
        axis.set_xlim(right=4e3 * max(bars.values()))
        axis.title.set_fontsize(9)
        axis.invert_yaxis()
        if axis is not axes[0][0]:
            axis.set_yticklabels([])
    save(figure, target / "produce-consume.png")


def hand_off(cases: Cases, target: Path) -> None:
    names = [name for name in cases if name.startswith("hand-off-")]
    sizes = sorted(int(name.removeprefix("hand-off-").removesuffix("k")) for name in names)
    figure, axis = plt.subplots(figsize=(6, 4))
    ours, theirs = [], []
    for size in sizes:
        median, peers = medians(cases[f"hand-off-{size}k"])
        ours.append(median)
        theirs += [peers["Ray"]] if "Ray" in peers else []
    axis.plot([size * 1000 for size in sizes], ours, "o-", color=OURS, label="here")
    if len(theirs) == len(sizes):
        axis.plot([size * 1000 for size in sizes], theirs, "o-", color=PEER, label="Ray")
    axis.axhline(0.3, color=LIMIT, linestyle="--", label="target")
    axis.set(xscale="log", yscale="log", xlabel="size [B]", ylabel="p50 [ms]")
    axis.set_title("hand-off to a task that does not touch the data")
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, target / "hand-off.png")


def cluster(cases: Cases, target: Path) -> None:
    """A panel for each case that has a peer: bars of ours and of the peers, from zero."""
    panels = {
        "cluster-noop": ("no-op tasks", "tasks/s", 1),
        "cluster-reduce": ("map and reduce", "s", 1),
        "cluster-transfer": ("a blob between governors", "GB/s", 1e-9),
        "cluster-start": ("start", "s", 1),
        "cluster-graph": ("memory of a task", "B", 1),
    }
    shown = [name for name in panels if name in cases]
    figure, axes = plt.subplots(1, len(shown), figsize=(2.4 * len(shown), 3.4), squeeze=False)
    for axis, name in zip(axes[0], shown, strict=True):
        title, unit, scale = panels[name]
        ours, peers = medians(cases[name])
        bars = {"here": ours}
        for peer, median in peers.items():
            if peer.startswith(("Dask", "dask")):
                bars["Dask"] = median
            elif "socket" in peer:
                bars["socket"] = median
        values = [value * scale for value in bars.values()]
        axis.bar(list(bars), values, color=[OURS, PEER, LIMIT][: len(bars)])
        for x, value in enumerate(values):
            text = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
            axis.text(x, value, text, ha="center", va="bottom", fontsize=8)
        axis.set(title=f"{title} [{unit}]", yticks=[])
        axis.title.set_fontsize(9)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.margins(y=0.12)
    save(figure, target / "cluster.png")


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument(
        "--into", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "figures"
    )
    arguments = parser.parse_args()
    cases: Cases = {}
    for path in arguments.results:
        result = json.loads(path.read_text())
        cases |= result["cases"]
    arguments.into.mkdir(parents=True, exist_ok=True)
    if any(name.startswith("inline-") for name in cases):
        inline_sweep(cases, result["inline_limit"], arguments.into)
    if "pass-100-cc" in cases:
        passing(cases, arguments.into)
    if any(name.startswith("hand-off-") for name in cases):
        hand_off(cases, arguments.into)
    if "cluster-noop" in cases:
        cluster(cases, arguments.into)


if __name__ == "__main__":
    main()
