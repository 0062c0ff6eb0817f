"""What ``rain doctor`` finds out about the machine. Each check reads and changes nothing.

Files of /proc and /sys are read below a `root`, so that tests can make machines up.
"""

from __future__ import annotations

import os
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rain.common.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 1 << 20
_KERNEL = (5, 4)
_POPULATE_KERNEL = (5, 14)  # MADV_POPULATE_WRITE
_FEW_FILES = 1024
_FEW_PROCESSES = 256
_LITTLE_MEMORY = 512 * _MIB


@dataclass
class Check:
    """One line of the doctor's report. `state`: "ok", "warning" or "error"."""

    name: str
    state: str
    found: str
    advice: str = ""

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def machine_checks(root: str = "/") -> Iterator[Check]:
    """Give the checks of kernel, CPUs, memory and limits."""
    place = Path(root)
    yield check_kernel(os.uname().release)
    yield check_cpus(place)
    yield check_memory(place)
    yield check_overcommit(place)
    yield check_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield check_processes(place)
    yield check_memlock(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
    yield check_memfd()
    yield check_huge_pages(place)


def check_kernel(release: str) -> Check:
    numbers = [int(part) if part.isdigit() else 0 for part in release.split("-")[0].split(".")]
    version = tuple([*numbers, 0, 0][:2])
    if version < _KERNEL:
        return Check(
            "kernel",
            "error",
            f"Linux {release}",
            "Rain needs Linux 5.4 or newer: update the system",
        )
    if version < _POPULATE_KERNEL:
        return Check(
            "kernel", "ok", f"Linux {release}", "with 5.14 fresh shared memory is filled faster"
        )
    return Check("kernel", "ok", f"Linux {release}")


def check_cpus(root: Path) -> Check:
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    found = f"{allowed} of {os.cpu_count()} usable"
    if quota is None:
        return Check("cpus", "ok", f"{found}, no cgroup quota")
    found += f", cgroup quota {quota:g}"
    if quota < 1:
        return Check(
            "cpus", "warning", found,
            "Less than one CPU: tasks are stopped many times a second. Give the container more",
        )  # fmt: skip
    if quota < allowed:
        return Check(
            "cpus", "ok", found, f"{-int(-quota // 1)} tasks run at once; Client(cpus=...) for more"
        )
    return Check("cpus", "ok", found)


def check_memory(root: Path) -> Check:
    values = _meminfo(root)
    total, available = values.get("MemTotal", 0), values.get("MemAvailable", 0)
    found = f"{size_text(available)} of {size_text(total)} available"
    limit = memory_limit(root)
    if limit is not None and limit < total:
        found += f", cgroup limit {size_text(limit)}"
        available = min(available, limit)
    if available < _LITTLE_MEMORY:
        return Check(
            "memory", "warning", found,
            "Little is left for blobs: end other programs, or raise the container's limit",
        )  # fmt: skip
    return Check("memory", "ok", found)


def check_overcommit(root: Path) -> Check:
    mode = _read(root / "proc/sys/vm/overcommit_memory")
    if mode == "2":
        return Check(
            "overcommit", "warning", "vm.overcommit_memory is 2",
            "The kernel may refuse memory within the store's budget: "
            'sysctl vm.overcommit_memory=0, or a smaller Client(memory="...")',
        )  # fmt: skip
    return Check("overcommit", "ok", f"vm.overcommit_memory is {mode or 'unknown'}")


def check_files(soft: int, hard: int) -> Check:
    found = f"at most {_limit(soft)} open files (hard limit {_limit(hard)})"
    if 0 <= soft < _FEW_FILES:
        return Check(
            "open files", "warning", found,
            f"Many executors or large blobs may need more: ulimit -n {_limit(hard)}",
        )  # fmt: skip
    return Check("open files", "ok", found)


def check_processes(root: Path) -> Check:
    limits = list(_cgroup_numbers(root, "pids", "pids.max", "pids.max"))
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft >= 0 and os.geteuid() != 0:
        limits.append(soft)
    if not limits:
        return Check("processes", "ok", "no limit")
    found = f"at most {min(limits)} processes and threads"
    if min(limits) < _FEW_PROCESSES:
        return Check(
            "processes", "warning", found,
            "Executors may fail to start: raise the container's pids limit, or ulimit -u",
        )  # fmt: skip
    return Check("processes", "ok", found)


def check_memlock(soft: int) -> Check:
    found = "no limit" if soft < 0 else f"at most {size_text(soft)}"
    return Check("locked memory", "ok", f"{found}; Rain locks none")


def check_memfd() -> Check:
    import fcntl

    try:
        fd = os.memfd_create("rain-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        return Check(
            "shared memory", "error", f"memfd_create: {error.strerror}",
            "Blobs live in memfds: allow the system call memfd_create in the container's "
            "seccomp profile",
        )  # fmt: skip
    try:
        os.ftruncate(fd, 4096)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        os.pwrite(fd, b"rain", 0)
    except OSError as error:
        return Check(
            "shared memory", "error", f"a memfd can't be sized, sealed and written: {error}",
            "Blobs live in memfds: look whether memory or the container's profile forbids it",
        )  # fmt: skip
    finally:
        os.close(fd)
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return Check(
            "shared memory", "ok", "memfds work; no /dev/shm",
            "Rain doesn't use /dev/shm, but other libraries of a program may",
        )  # fmt: skip
    free = size_text(room.f_bavail * room.f_frsize)
    return Check(
        "shared memory", "ok", f"memfds work; /dev/shm, which Rain doesn't use: {free} free"
    )


def check_huge_pages(root: Path) -> Check:
    file = "sys/kernel/mm/transparent_hugepage/shmem_enabled"
    words = _read(root / file)
    chosen = words.partition("[")[2].partition("]")[0]
    if not chosen:
        return Check("huge pages", "ok", "unknown for shared memory")
    if chosen in ("never", "deny"):
        return Check(
            "huge pages", "ok", f"none for shared memory ({chosen})",
            f"as root 'echo advise > /{file}' makes fresh large blobs faster to fill",
        )  # fmt: skip
    return Check("huge pages", "ok", f"for shared memory: {chosen}")


def cpu_quota(root: Path) -> float | None:
    """Return how many CPUs the cgroups allow, None without a quota."""
    quotas = []
    for folder in _cgroup_folders(root, "cpu"):
        words = _read(folder / "cpu.max").split()  # v2: quota and period
        if not words:
            v1 = (_read(folder / f"cpu.cfs_{what}_us") for what in ("quota", "period"))
            words = [word for word in v1 if word]
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(root: Path) -> int | None:
    """Return the least memory limit of the cgroups in bytes, None without."""
    limits = _cgroup_numbers(root, "memory", "memory.max", "memory.limit_in_bytes")
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # v1's "unlimited"


def _cgroup_numbers(root: Path, controller: str, v2: str, v1: str) -> Iterator[int]:
    for folder in _cgroup_folders(root, controller):
        text = _read(folder / v2) or _read(folder / v1)
        if text.isdigit():
            yield int(text)


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Give the cgroup of this process and its parents, of v2 and of v1's controller."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mounts / controllers if controllers else mounts
        top = top if top.is_dir() else mounts / controller
        folder = top / path.lstrip("/")
        while True:
            yield folder
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent


def _meminfo(root: Path) -> dict[str, int]:
    values = {}
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            values[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)
