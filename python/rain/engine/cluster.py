"""The link of a client to a server with governors: over Dask distributed.

What a client submits is cut into parts, and each is a Dask task that a governor runs at native
speed (rain.governor.parts). Ends of tasks come back as messages that Dask's scheduler passes on
(rain.governor.relay); data come from the governors, without the scheduler where they can.
"""

from __future__ import annotations

import contextlib
import os
import threading

from rain.common.errors import ConnectionFailed, RainException, UsageError
from rain.engine import dask_process
from rain.engine.cluster_data import ClusterLink
from rain.engine.cluster_questions import CONNECT_SECONDS, check_server
from rain.engine.mirror import MirrorEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rain import _core

_MEMORY = "memory"  # a resource that every governor has


def connect(host: str, port: int, *, tls: str | None = None) -> tuple[MirrorEngine, dict[str, str]]:
    """Return the engine of a client of the server there, and the languages of its executors.

    Raises
    ------
    ConnectionFailed
    ConfigError
        distributed is not installed, or of the TLS folder.
    """
    tls = None if tls is None else os.fspath(tls)
    distributed = dask_process.import_distributed()
    security = dask_process.security(tls)
    check_server(host, port, tls)
    where = f"{dask_process.bracketed(host)}:{port}"
    try:
        with dask_process.client_settings():
            dask = distributed.Client(
                f"{dask_process.scheme(tls)}://{where}",
                timeout=CONNECT_SECONDS,
                set_as_default=False,
                security=security,
                name="rain",
            )
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ConnectionFailed(f"no connection to the server at {where}: {error}") from error
    return _engine(dask, f"the server at {where}", f"rain governor {where}", own=True)


def connect_dask(dask: Any, **options: Any) -> tuple[MirrorEngine, dict[str, str]]:
    """As connect(), for a cluster of Dask: each of its workers gets a governor.

    Parameters
    ----------
    dask : distributed.Client
        Connected. It stays its owner's.
    **options
        For the governors, as Client has them. A worker that has one keeps it.

    Raises
    ------
    ConnectionFailed, UsageError
    """
    distributed = dask_process.import_distributed()
    if not isinstance(dask, distributed.Client) or dask.asynchronous:
        raise UsageError(
            f"Client(dask=...) needs a distributed.Client that is not asynchronous, not {dask!r}"
        )
    from rain.governor.plugin import GovernorPlugin, NannySettings
    from rain.governor.relay import Relay

    if "config" in options:
        options["config_file"] = os.path.abspath(options.pop("config"))
    try:
        dask.register_plugin(Relay())
        dask.register_plugin(NannySettings())
        dask.register_plugin(GovernorPlugin(**options))
    except Exception as error:
        raise ConnectionFailed(
            f"Dask's scheduler or workers did not take Rain's plugins ({error}): is the same "
            "rain-tasklib installed there?"
        ) from error
    where = f"Dask's scheduler at {dask.scheduler.address}"
    try:
        return _engine(dask, where, "another Dask worker", own=False)
    except ConnectionFailed:  # there is no governor
        # Else workers that come would get these options, whatever the next client says.
        with contextlib.suppress(Exception):
            dask.unregister_worker_plugin(GovernorPlugin.name)
        raise


def _engine(dask: Any, where: str, remedy: str, own: bool) -> tuple[MirrorEngine, dict[str, str]]:
    link = ClusterLink(dask, where, own)
    try:
        engine = ClusterEngine(link, link.wait_for_offers(remedy))
        return engine, engine.languages
    except BaseException:
        link.close()
        raise


class ClusterEngine(MirrorEngine):
    """A mirror whose governors come and go, and that tells what its link has noticed.

    Parameters
    ----------
    link : ClusterLink
    offers : list
        Of the governors that there are, one at least.
    """

    kind = "cluster"
    _link: ClusterLink

    def __init__(self, link: ClusterLink, offers: list[dict[str, Any]]) -> None:
        self._offering = threading.Lock()
        self.languages: dict[str, str] = {}  # executor type -> language, of all there ever were
        self._resources: dict[str, _core.ResourceTuple] = {}  # likewise, the most of one governor
        self._note_offers(offers)
        memory = self._resources.get(_MEMORY)
        super().__init__(
            link,
            executors=self.languages,
            cpus=max(offer["cpus"] for offer in offers),
            resources=[each for each in self._resources.values() if each is not memory],
            task_memory_bytes=0 if memory is None else memory[1],
        )
        self._checks_resources = bool(self._resources)  # else governors do, as always
        link.begin_offers(self.take_offers)

    def take_offers(self, offers: Iterable[dict[str, Any]]) -> None:
        """Allow what governors offer by now, and what they have offered. Any thread."""
        offers = list(offers)
        with self._offering:
            late, resources = self._note_offers(offers)
            cpus = max((offer["cpus"] for offer in offers), default=0)
            if not self._checks_resources:
                resources = []
            if late or resources or cpus > self.cpus:
                self.add_offer(late, cpus, resources)

    def _note_offers(
        self, offers: list[dict[str, Any]]
    ) -> tuple[list[str], list[_core.ResourceTuple]]:
        """Return the executor types that are new, and resources of which there is more."""
        late: dict[str, str] = {}
        more: dict[str, _core.ResourceTuple] = {}
        for offer in offers:
            memory: _core.ResourceTuple = (_MEMORY, offer["task_memory_bytes"], [])
            for name, amount, ids in [*offer["resources"], memory]:
                if not amount:
                    continue  # of memory: not known
                known = more.get(name) or self._resources.get(name)
                if known is None or known[1] < amount:
                    more[name] = name, amount, list(ids)
            late |= {name: its for name, its in offer["executors"].items()
                     if name not in self.languages}  # fmt: skip
        self.languages |= late
        self._resources |= more
        return list(late), list(more.values())

    def learn_offers(self) -> bool:
        """Ask what governors offer by now. True: what this client has refused may be allowed."""
        try:
            self._check()
            self._link.learn_offers()
        except RainException:
            return False  # what was refused says why
        return True

    def take_warnings(self) -> list[str]:
        return super().take_warnings() + self._link.take_notes()

    def take_recomputations(self) -> list[str]:
        return self._link.take_recomputations()
