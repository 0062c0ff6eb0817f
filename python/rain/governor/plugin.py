"""The governor of a Dask worker: of `rain governor`, and of the workers of any Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from distributed.diagnostics.plugin import NannyPlugin, WorkerPlugin

from rain.governor import parts, relay, worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.governor.host import Host

_log = logging.getLogger("rain.governor")

_WATCH_SECONDS = 0.5
_AMOUNT = 10_000  # of a resource, in config.Resource


class GovernorPlugin(WorkerPlugin):  # type: ignore[misc]
    """Owns the Host of a Dask worker, and ends with it.

    Parameters
    ----------
    host : Host, optional
        That runs already, whoever made it closes it. Else each worker starts one.
    seconds : float
        How long that may take.
    **options
        What Host.start() takes. Pickled, so that new workers get them.
    """

    name = "rain-governor"
    idempotent = True

    def __init__(self, host: Host | None = None, *, seconds: float = 20.0, **options: Any) -> None:
        self.host = host
        self.seconds = seconds
        self.options = options
        self.retired = ""  # why the worker was closed by us
        self._watch: asyncio.Task[None] | None = None
        self._runner: parts.PartRunner | None = None

    def __reduce__(self) -> Any:
        return _unpickled, (self.seconds, self.options)

    def resources(self) -> dict[str, float]:
        """What Dask has to know of the governor to place parts."""
        assert self.host is not None
        offer = self.host.offer()
        amounts = {name: amount / _AMOUNT for name, amount, _ in offer["resources"]}
        return relay.governor_resources(offer["cpus"], offer["executors"], amounts)

    async def setup(self, worker: Any) -> None:
        """Never raises: what a plugin raises can freeze a worker. It retires instead."""
        try:
            own = self.host is not None
            if not own:
                address = worker.address
                self.host = await self._started(str(worker.name), address)
            self._runner = parts.PartRunner(worker, self.host)  # type: ignore[arg-type]
            offer = self._offer(worker)
            worker.startup_information["rain"] = lambda _: offer  # told when it registers
            if not own:  # it has registered
                _let_memory_be(worker)
                await worker.set_resources(**self.resources())
                self._runner.tell(do="offer", offer=offer)
            self._watch = asyncio.create_task(self._look_after(worker))
        except Exception as error:
            self._retire(worker, f"no governor could be started: {error or type(error).__name__}")

    async def _started(self, name: str, address: str) -> Host:
        return await worker.start_host(self.seconds, name=name, address=address, **self.options)

    def _offer(self, worker: Any) -> dict[str, Any]:
        assert self.host is not None
        offer = dict(self.host.offer())
        offer["resources"] = [list(each) for each in offer["resources"]]
        return offer

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Dask cannot stop what runs: it waits for its end, which we bring about."""
        if start == "executing" and finish == "released" and self._runner is not None:
            try:
                self._runner.drop(key)
            except Exception:  # Dask would only note it
                _log.exception("a part could not be stopped")

    async def teardown(self, worker: Any) -> None:
        if self._watch is not None:
            self._watch.cancel()
        parts.runners.pop(worker, None)
        if self.host is not None:
            await asyncio.to_thread(self.host.close)

    async def _look_after(self, worker: Any) -> None:
        """The end of the governor is the end of its Dask worker: then its parts run elsewhere."""
        assert self.host is not None
        while not (why := self.host.why_ended()):
            await asyncio.sleep(_WATCH_SECONDS)
        self._retire(worker, why)

    def _retire(self, worker: Any, why: str) -> None:
        self.retired = why
        _log.error("%s", why)
        with contextlib.suppress(Exception):
            worker.log_event("rain", {"worker": worker.address, "retired": why})

        async def close() -> None:
            await worker.close(reason=why, executor_wait=False)

        worker.loop.add_callback(close)


class NannySettings(NannyPlugin):  # type: ignore[misc]
    """Lets the governors of a Dask cluster be, whose memory is mostly shared pages."""

    name = "rain-nanny"
    idempotent = True

    def setup(self, nanny: Any) -> None:
        with contextlib.suppress(AttributeError):
            nanny.memory_manager.memory_terminate_fraction = float("inf")


def _unpickled(seconds: float, options: dict[str, Any]) -> GovernorPlugin:
    return GovernorPlugin(seconds=seconds, **options)


def _let_memory_be(worker: Any) -> None:
    """Dask neither pauses nor spills: RSS counts pages shared with executors, and the bytes of our
    references are the blob store's, which spills by itself."""
    manager = worker.memory_manager
    for name in ("memory_target_fraction", "memory_spill_fraction", "memory_pause_fraction"):
        with contextlib.suppress(AttributeError):
            setattr(manager, name, False)
    with contextlib.suppress(AttributeError):
        manager.data.fast.n = float("inf")
