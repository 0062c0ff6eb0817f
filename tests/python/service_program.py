"""What `rain start --runprefix` runs in place of rain: servers and governors that only pretend.

    python service_program.py RAIN server|governor …

Environment: FAKE_JOURNAL, a file to which each process appends its arguments and pid as JSON;
FAKE_FAIL, "governor-1:3" for the process with that log directory to end with 3 before it is ready;
FAKE_HANG, "governor-0" for one that never gets ready; FAKE_DEAF, for one that ignores SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def main() -> int:
    arguments = sys.argv[2:]
    logs = Path(arguments[arguments.index("--logdir") + 1])
    with open(os.environ["FAKE_JOURNAL"], "a") as journal:
        print(json.dumps({"arguments": arguments, "pid": os.getpid()}), file=journal, flush=True)
    failing, _, code = os.environ.get("FAKE_FAIL", "").partition(":")
    if failing == logs.name:
        print("no licence found", file=sys.stderr)
        return int(code)
    if os.environ.get("FAKE_DEAF") == logs.name:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.environ.get("FAKE_HANG") != logs.name:
        Path(arguments[arguments.index("--ready-file") + 1]).write_text("ready\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
