"""``Client(dashboard=True)``: a page of what the client's governor runs, or those of a service."""

from __future__ import annotations

import os

from rain import _core
from rain.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from rain.dashboard.server import Dashboard


def open_dashboard(
    engine: _core.Engine,
    languages: Mapping[str, str],
    port: bool | int | None,
    events: str | PathLike[str] | None,
) -> Dashboard:
    """Serve the page of an engine.

    Parameters
    ----------
    languages : mapping
        Registered executor type -> "C++" or "Python".
    port : int
        True: a free one.
    events : path, optional
        Of the event log. Without one there will be one in the run directory once somebody asks
        for events.

    Raises
    ------
    ConfigError
        The port is none, or in use.
    """
    if port is not True and (not isinstance(port, int) or not 0 < port < 65536):
        raise ConfigError(f"dashboard must be True or a port from 1 to 65535, not {port!r}")
    from rain.dashboard.events import LoggedEvents
    from rain.dashboard.server import Dashboard
    from rain.dashboard.source import EngineSource
    from rain.engine.mirror import MirrorEngine

    if port is True:
        port = 0
    if isinstance(engine, MirrorEngine):
        from rain.dashboard.shared import RemoteSource

        return Dashboard(RemoteSource(engine.ask, engine.kind), port)

    def log() -> str:
        path = os.path.join(engine.run_directory, "events.jsonl")
        if events is not None or not engine.start_event_log(path):
            return os.path.abspath(events or path)
        return path

    own = f"client-{os.getpid()}"
    source = EngineSource(
        engine,
        languages,
        name=own,
        events=LoggedEvents(log, _core.own_governor, own),
    )
    return Dashboard(source, port)
