"""`rain doctor`: on this machine, and on made-up ones."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from rain.cli import checks, checks_installation, filesystems
from rain_command import run_rain


def doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_rain("doctor", *options, env=os.environ | environment)


def test_this_machine_is_fit() -> None:
    done = doctor("--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["error"] == 0
    names = [check["name"] for check in found["checks"]]
    assert len(names) == len(set(names))
    assert {
        "kernel", "cpus", "memory", "open files", "shared memory", "huge pages", "locked memory",
        "overcommit", "versions", "C++ compiler", "CMake", "run directory", "spill to disk",
        "first task",
    } <= set(names)  # fmt: skip
    for check in found["checks"]:
        assert check["state"] in ("ok", "warning", "error")
        assert check["found"]
        assert check["state"] == "ok" or check["advice"]


def test_an_unusable_run_directory_is_an_error_with_advice(tmp_path: Path) -> None:
    place = tmp_path / ("long" * 30)
    place.mkdir()
    done = doctor(XDG_RUNTIME_DIR=str(place))
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "run directory:" in line]
    assert line.startswith("error")
    assert "The path is too long for sockets" in done.stdout
    assert "1 error" in done.stdout or "2 errors" in done.stdout


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_limits_of_cgroup_v2_are_those_of_all_parents(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/self/cgroup": "0::/a/b\n",
        "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",
        "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/memory.max": "max\n",
        "sys/fs/cgroup/a/b/memory.max": "268435456\n",
        "sys/fs/cgroup/a/pids.max": "20\n",
    })  # fmt: skip
    assert checks.cpu_quota(tmp_path) == 0.5
    assert checks.memory_limit(tmp_path) == 256 << 20
    assert checks.check_cpus(tmp_path).state == "warning"
    memory = checks.check_memory(tmp_path)
    assert memory.state == "warning"
    assert "cgroup limit 268.4 MB" in memory.found
    assert checks.check_processes(tmp_path).state == "warning"


def test_limits_of_cgroup_v1_are_read_too(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/self/cgroup": "3:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n",
        "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "4294967296\n",
    })  # fmt: skip
    assert checks.cpu_quota(tmp_path) == 1.5
    assert checks.memory_limit(tmp_path) == 4 << 30
    assert checks.check_memory(tmp_path).state == "ok"


def test_a_machine_without_limits(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert checks.cpu_quota(tmp_path) is None
    assert checks.memory_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("release", "state"),
    [("4.19.0-5-amd64", "error"), ("5.3", "error"), ("5.4.0", "ok"), ("6.1.0-13", "ok")],
)
def test_kernels(release: str, state: str) -> None:
    assert checks.check_kernel(release).state == state


def test_single_readings(tmp_path: Path) -> None:
    assert checks.check_files(256, 4096).state == "warning"
    assert "ulimit -n 4096" in checks.check_files(256, 4096).advice
    assert checks.check_files(-1, -1).state == "ok"
    write(tmp_path, {"proc/sys/vm/overcommit_memory": "2\n"})
    assert checks.check_overcommit(tmp_path).state == "warning"
    huge = "sys/kernel/mm/transparent_hugepage/shmem_enabled"
    write(tmp_path, {huge: "always within_size advise [never] deny force\n"})
    assert "echo advise" in checks.check_huge_pages(tmp_path).advice
    write(tmp_path, {huge: "always within_size [advise] never deny force\n"})
    assert checks.check_huge_pages(tmp_path).found.endswith("advise")


def test_missing_tools_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert checks_installation.check_compiler().state == "warning"
    assert checks_installation.check_cmake().state == "warning"
    program = tmp_path / "cmake"
    program.write_text("#!/bin/sh\necho cmake version 3.10.2\n")
    program.chmod(0o755)
    assert "needs 3.15" in checks_installation.check_cmake().advice


def test_unusable_directories(tmp_path: Path) -> None:
    assert checks_installation.check_run_directory(str(tmp_path / "no")).state == "error"
    assert checks_installation.check_run_directory("/tmp").state != "error"


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 22 0:41 / /scratch\\040fast rw - lustre mgs@tcp:/x rw
32 30 8:2 / /home/local rw - xfs /dev/sdb1 rw
33 22 0:42 / /mnt rw - fuse.sshfs host: rw
34 22 0:43 / /box rw - fuse.fuse-overlayfs fuse-overlayfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/tmp/x", "ext4", False),
        ("/home/me", "nfs4", True),
        ("/homes", "ext4", False),
        ("/home/local/x", "xfs", False),
        ("/scratch fast", "lustre", True),
        ("/mnt/y", "fuse.sshfs", True),
        ("/box", "fuse.fuse-overlayfs", False),
    ],
)
def test_file_systems(tmp_path: Path, path: str, kind: str, shared: bool) -> None:
    root = str(write(tmp_path, {"proc/self/mountinfo": MOUNTS}))
    assert filesystems.filesystem(path, root) == kind
    assert filesystems.is_shared(path, root) == shared
    assert filesystems.filesystem("/proc/self") == "proc"


def test_directories_that_machines_share_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 11 of Dask on HPC: a work directory on GPFS or NFS stalls."""
    from rain.cli import process

    for module in (checks_installation, process):
        monkeypatch.setattr(module, "is_shared", lambda path: True)
    check = checks_installation.check_run_directory("/tmp")
    assert check.state == "warning"
    assert "Several machines share it" in check.advice
    assert checks_installation.check_spill("/tmp").state == "warning"
    warned: list[str] = []
    monkeypatch.setattr(process.log, "warning", lambda text, *given: warned.append(text % given))
    with process.work_directory(str(tmp_path / "work"), "governor"):
        pass
    (warning,) = warned
    assert f"--workdir {tmp_path}/work is on a file system that machines share" in warning
