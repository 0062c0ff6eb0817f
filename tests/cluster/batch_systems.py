"""Batch systems that are not there: Slurm's and PBS' commands, as far as dask-jobqueue uses them.

A job is its script, run at once as a process group of this machine.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

# The script is copied: whoever submits it removes it. A job's number is that of its directory.
SUBMIT = """#!/bin/sh
for script; do :; done
n=1
until mkdir "{jobs}/$n" 2>/dev/null; do n=$((n + 1)); done
cp "$script" "{jobs}/$n/script"
cd "{jobs}/$n"
{variable}=$n setsid sh script >out 2>err </dev/null &
echo $! >pid
echo "{answer}"
"""
CANCEL = """#!/bin/sh
for job; do kill -TERM "-$(cat "{jobs}/${{job%%.*}}/pid")"; done
"""
COMMANDS = {
    "slurm": ("sbatch", "scancel", "SLURM_JOB_ID", "Submitted batch job $n"),
    "pbs": ("qsub", "qdel", "PBS_JOBID", "$n.server"),
}


class Queue:
    """Jobs of one batch system, whose commands are in `programs`, to be found by PATH."""

    def __init__(self, place: Path, kind: str) -> None:
        self.kind = kind
        self.programs = place / "bin"
        self.jobs = place / "jobs"
        submit, cancel, variable, answer = COMMANDS[kind]
        for folder in (self.programs, self.jobs):
            folder.mkdir()
        for name, text in ((submit, SUBMIT), (cancel, CANCEL)):
            file = self.programs / name
            file.write_text(text.format(jobs=self.jobs, variable=variable, answer=answer))
            file.chmod(0o755)

    def scripts(self) -> list[str]:
        """What was submitted, in order."""
        folders = sorted(self.jobs.iterdir(), key=lambda folder: int(folder.name))
        return [(folder / "script").read_text() for folder in folders]

    def running(self) -> list[int]:
        """The process groups of jobs that run."""
        return [pid for pid in self._pids() if exists(pid)]

    def errors(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.jobs.glob("*/err")))

    def end(self) -> None:
        for pid in self.running():
            os.killpg(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        return [int(text) for file in self.jobs.glob("*/pid") if (text := file.read_text())]


def exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
