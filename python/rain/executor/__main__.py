"""``python -m rain.executor``, started by a governor."""

import os
import sys


def _use_path_of_client() -> None:
    """Find modules where the client finds them: functions come by name if they are in one."""
    path = os.environ.pop("RAIN_SYS_PATH", "")
    if path:
        sys.path[:] = path.split(os.pathsep)


_use_path_of_client()

from rain.executor.executor import main  # noqa: E402 - needs that path

if __name__ == "__main__":
    main()
