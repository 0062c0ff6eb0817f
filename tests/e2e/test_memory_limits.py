"""Limits from outside: a memory cgroup that is small, a disk for spilled data that is full."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks import contains
from world import need, outcome, program, wait_until

MiB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")


def limited_cgroup(limit: int, name: str) -> Path:
    """A new memory cgroup, v1 or v2, without swap; skips the test where none can be made."""
    reasons = []
    for parent, files in (
        (CGROUPS / "memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
        (CGROUPS, ("memory.max", "memory.swap.max")),
    ):
        group = parent / name
        try:
            if parent == CGROUPS:
                controllers = (parent / "cgroup.controllers").read_text().split()
                if "memory" not in controllers:
                    raise OSError("cgroup v2 without the memory controller")
                (parent / "cgroup.subtree_control").write_text("+memory")
            group.mkdir()
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            (group / files[0]).write_text(str(limit))
            swap = group / files[1]
            if swap.exists():  # not without swap accounting
                swap.write_text("0" if parent == CGROUPS else str(limit))
            return group
        except OSError as error:
            group.rmdir()
            reasons.append(str(error))
    pytest.skip("no memory cgroup can be made here: " + "; ".join(reasons))


@pytest.fixture
def cgroup(mark: str) -> Iterator[Path]:
    """A cgroup of 256 MiB; a test's first command joins it."""
    group = limited_cgroup(256 * MiB, f"rain-test-{mark[:8]}")
    yield group
    for line in (group / "cgroup.procs").read_text().split():
        os.kill(int(line), signal.SIGKILL)
    wait_until(lambda: not (group / "cgroup.procs").read_text(), "an empty cgroup")
    group.rmdir()


def inside(group: Path) -> list[str]:
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]


def kills_by_oom(group: Path) -> int:
    for name in ("memory.oom_control", "memory.events"):
        path = group / name
        for line in path.read_text().splitlines() if path.exists() else ():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    raise AssertionError(f"{group} counts no kills")


FILL = """
    copies = sys.argv[1] == "copies"
    options = json.loads(sys.argv[2])
    full = ""
    good = 0
    with Client(executors=executors, cpus=2, **options) as client:
        with client.new_session(on_error="continue") as session:
            kept = []
            for i in range(64):
                task = call(("cpptester", "pytester")[i % 2] + "/fill", size=16 << 20, byte=i)
                task.output.keep()
                kept.append(task)
            session.submit()
            for i, task in enumerate(kept):
                try:
                    with task.output.fetch() as instance:
                        data = instance.get_bytes() if copies else memoryview(instance)
                        assert len(data) == 16 << 20 and data[0] == data[-1] == i, (i, len(data))
                        del data
                    good += 1
                except TaskStoreFull as error:
                    full = str(error)
            store = client.info()["store"]
            for task in kept:
                task.output.unkeep()
            works("cpptester", session)
            works("pytester", session)
    say(json.dumps({"good": good, "full": full, "store": store}))
"""


def filled(commands: dict[str, Any], *wrap: str, **options: Any) -> Any:
    """What became of 64 blobs of 16 MiB, all kept, and the store then.

    The program takes a private copy of each, one after the other. That needs a budget which leaves
    room in its cgroup; 8 GiB is none, and there it looks at the blobs in place.
    """
    reading = "views" if options.get("memory") == "8 GiB" else "copies"
    with program(FILL, commands, reading, json.dumps(options), wrap=wrap) as process:
        return json.loads(outcome(process))


# ---- A cgroup of 256 MiB -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"memory": "8 GiB"}], ids=["default", "memory-8-GiB"])
def test_a_gibibyte_of_blobs_in_a_cgroup_of_256_mib_passes_by_spilling(
    commands: dict[str, Any], cgroup: Path, options: dict[str, Any]
) -> None:
    said = filled(commands, *inside(cgroup), **options)
    assert kills_by_oom(cgroup) == 0
    assert said["good"] == 64, said
    assert said["store"]["spilled_bytes"] >= 768 * MiB


@pytest.mark.parametrize("options", [{}, {"memory": "8 GiB"}], ids=["default", "memory-8-GiB"])
def test_a_gibibyte_of_blobs_in_a_cgroup_of_256_mib_without_spilling_ends_in_store_full(
    commands: dict[str, Any], cgroup: Path, options: dict[str, Any]
) -> None:
    said = filled(commands, *inside(cgroup), spill=False, **options)
    assert kills_by_oom(cgroup) == 0
    assert 0 < said["good"] < 16, said
    contains(said["full"], "16.0 MiB were asked for", "spill=False", "kept by the client")


# Each task reads half of what the one before it made, and all of what another one made.
CHAIN = """
    links, size = 32, 16 << 20
    keep = sys.argv[1] == "all"
    options = json.loads(sys.argv[2])
    full = ""
    good = 0
    testers = ("cpptester", "pytester")
    with Client(executors=executors, cpus=2, **options) as client:
        with client.new_session(on_error="continue") as session:
            chain = [blob(bytes(size))]
            others = []
            for i in range(links):
                others.append(call(testers[i // 2 % 2] + "/fill", size=size, byte=7).output)
                inputs = chain[-1][size // 2 :], others[-1]
                chain.append(call(testers[i % 2] + "/follow", *inputs, size=size).output)
            kept = chain[1:] + others if keep else chain[-1:]
            for obj in kept:
                obj.keep()
            session.submit()
            for obj in kept:
                try:
                    data = obj.fetch().get_bytes()
                    byte = 7 if obj in others else chain.index(obj)
                    assert (len(data), data[0], data[-1]) == (size, byte, byte)
                    del data
                    good += 1
                except TaskStoreFull as error:
                    full = full or str(error)
                except DependencyFailed:
                    pass
            for obj in kept:
                obj.unkeep()
            works("cpptester", session)
            works("pytester", session)
    say(json.dumps({"good": good, "full": full}))
"""


def chained(commands: dict[str, Any], group: Path, keep: str, **options: Any) -> Any:
    with program(CHAIN, commands, keep, json.dumps(options), wrap=inside(group)) as process:
        said = json.loads(outcome(process))
    assert kills_by_oom(group) == 0
    return said


@pytest.mark.parametrize(("keep", "good"), [("all", 64), ("last", 1)])
def test_a_chain_through_a_gibibyte_in_a_cgroup_of_256_mib_ends_well(
    commands: dict[str, Any], cgroup: Path, keep: str, good: int
) -> None:
    assert chained(commands, cgroup, keep) == {"good": good, "full": ""}


def test_a_chain_that_is_kept_in_a_cgroup_of_256_mib_without_spilling_ends_in_store_full(
    commands: dict[str, Any], cgroup: Path
) -> None:
    said = chained(commands, cgroup, "all", spill=False)
    assert 0 < said["good"] < 16, said
    contains(said["full"], "16.0 MiB were asked for", "spill=False", "kept by the client")


PUT = """
    options = json.loads(sys.argv[1])
    full = ""
    with Client(memory="8 GiB", **options) as client:
        with client.new_session():
            data = bytes(8 << 20)
            views = []
            try:
                for i in range(128):
                    views.append(memoryview(blob(data).fetch()))
            except StoreFull as error:
                full = str(error)
            assert all(view[-1] == 0 for view in views)
            good = len(views)
            views.clear()
            store = client.info()["store"]
    say(json.dumps({"good": good, "full": full, "store": store}))
"""


def test_what_the_client_puts_and_views_in_a_cgroup_of_256_mib_goes_to_disk_without_room(
    commands: dict[str, Any], cgroup: Path
) -> None:
    with program(PUT, commands, "{}", wrap=inside(cgroup)) as process:
        said = json.loads(outcome(process))
    assert kills_by_oom(cgroup) == 0
    assert said["good"] == 128, said
    assert said["store"]["spill_written_bytes"] >= 768 * MiB


def test_what_the_client_puts_and_views_in_a_cgroup_of_256_mib_ends_in_store_full(
    commands: dict[str, Any], cgroup: Path
) -> None:
    with program(PUT, commands, '{"spill": false}', wrap=inside(cgroup)) as process:
        said = json.loads(outcome(process))
    assert kills_by_oom(cgroup) == 0
    assert 0 < said["good"] < 32, said
    contains(said["full"], "8.0 MiB were asked for", "memory limit of this machine", "cgroup")


# ---- A full disk ---------------------------------------------------------------------------------


DISK = 'mount -t tmpfs -o size={size} none {place} && exec "$@"'


@pytest.mark.parametrize("size", ["20M", "4k"])
def test_a_disk_that_is_full_while_spilling_ends_in_store_full_and_keeps_what_was_there(
    commands: dict[str, Any], tmp_path: Path, size: str
) -> None:
    need("unshare", "--mount")
    mounted = ["unshare", "--mount", "sh", "-c", DISK.format(size=size, place=tmp_path), "sh"]
    said = filled(commands, *mounted, memory="128 MiB", spill=str(tmp_path))
    assert 6 <= said["good"] < 16, said
    contains(said["full"], "Spilling to disk failed", "No space left on device", str(tmp_path))


def test_what_the_client_puts_when_memory_and_disk_are_full_is_store_full(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    need("unshare", "--mount")
    text = """
    with Client(memory="64 MiB", spill=sys.argv[1]) as client:
        with client.new_session():
            views = []
            for _ in range(2):
                try:
                    while True:
                        views.append(memoryview(blob(bytes(8 << 20)).fetch()))
                except StoreFull as error:
                    say(len(views), str(error))
                del views[:]
    """
    mounted = ["unshare", "--mount", "sh", "-c", DISK.format(size="20M", place=tmp_path), "sh"]
    with program(text, commands, tmp_path, wrap=mounted) as process:
        for said in outcome(process).splitlines():
            count, words = said.split(" ", 1)
            assert 8 <= int(count) <= 10
            contains(words, "Writing it to disk failed", "No space left on device", str(tmp_path))
