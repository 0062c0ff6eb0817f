"""How busy a machine is, as events ``Monitoring`` of Rain 0.4 told it. Read from /proc."""

from __future__ import annotations

import threading
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Monitor:
    """Tells an event at once and every five seconds, from a thread, until close().

    Parameters
    ----------
    tell : callable
        Called with each event.
    governor : str
        As events call it: its address.
    """

    SECONDS = 5.0

    def __init__(self, tell: Callable[[dict[str, Any]], None], governor: str) -> None:
        self._tell = tell
        self._machine = Machine()
        self._governor = governor
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rain-monitor", daemon=True)
        self._sample()
        self._thread.start()

    def close(self) -> None:
        """Idempotent."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self.SECONDS):
            self._sample()

    def _sample(self) -> None:
        usage = self._machine.usage()
        self._tell({"type": "Monitoring", "governor": self._governor, **usage})


class Machine:
    """Reads counters of the kernel below `root`."""

    def __init__(self, root: str = "/") -> None:
        self._root = Path(root)
        self._cpus: dict[str, tuple[int, int]] = {}  # at the last call

    def usage(self) -> dict[str, Any]:
        """Return how busy it was since the last call.

        ``cpu_usage``, percent of each core, of the first call empty; ``mem_usage``, percent;
        ``net_stat``, interface -> [bytes received, bytes sent] since the machine started.
        """
        before, self._cpus = self._cpus, self._read_cpus()
        cpu_usage = []
        for name, (busy, total) in self._cpus.items():
            if name in before:
                passed = total - before[name][1]
                used = busy - before[name][0]
                cpu_usage.append(round(100 * used / passed, 1) if passed > 0 else 0.0)
        return {
            "cpu_usage": cpu_usage,
            "mem_usage": self._memory(),
            "net_stat": self._network(),
        }

    def _read_cpus(self) -> dict[str, tuple[int, int]]:
        """Return the busy and all ticks of each core since the machine started."""
        cpus = {}
        for line in self._lines("stat"):
            name, *numbers = line.split()
            if name.startswith("cpu") and name != "cpu":
                # user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two
                ticks = [int(number) for number in numbers[:8]]
                total = sum(ticks)
                cpus[name] = total - sum(ticks[3:5]), total
        return cpus

    def _memory(self) -> float:
        values = {}
        for line in self._lines("meminfo"):
            name, _, rest = line.partition(":")
            values[name] = int(rest.split()[0])
        total = values.get("MemTotal", 0)
        return round(100 * (1 - values.get("MemAvailable", 0) / total), 1) if total else 0.0

    def _network(self) -> dict[str, list[int]]:
        found = {}
        for line in self._lines("net/dev"):
            name, colon, rest = line.partition(":")
            numbers = rest.split()
            if colon and len(numbers) > 8:  # but the two lines of heads
                found[name.strip()] = [int(numbers[0]), int(numbers[8])]
        return found

    def _lines(self, file: str) -> list[str]:
        try:
            return (self._root / "proc" / file).read_text().splitlines()
        except OSError:
            return []
