"""What runs inside Dask's scheduler: passes messages between governors and clients, counts deaths,
shares out work that has not begun, and resolves objects before their part has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import time

import distributed
from distributed.diagnostics.plugin import SchedulerPlugin

from rain.governor import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rain.dashboard.site import Site

_log = logging.getLogger("rain.server")

# Keys of ours are PREFIX-{kind}-{client}-{session}-{number}; Dask takes the first as their group.
PART_PREFIX = "rain_part"
UPLOAD_PREFIX = "rain_upload"
PREFIXES = (PART_PREFIX, "rain_object", UPLOAD_PREFIX)

# A client of ours is named by its Dask client and itself: several may share one.
CLIENT_SEPARATOR = "/"
TOPIC = "rain "  # and the client's name: of the events that it gets
FROM_GOVERNOR = "rain-from-governor"  # op of stream messages
FROM_CLIENT = "rain-from-client"
TO_GOVERNOR = "rain-to-governor"
ASK = "rain_ask"  # op of requests, to governors, too

PARTS_IN_FLIGHT = 2  # of a governor, so that one is ready when the other has run out
DEATHS_ALLOWED = 1
_BALANCE_MS = 100
_ASK_SECONDS = 5.0
_START_SECONDS = 60.0  # of an executor
_LACKING_SECONDS = 1.0  # between looks at what no governor can run, which is told after as long
N_TASKS = "rain_tasks"  # annotation of a part
_EXECUTOR = "rain executor "  # and its name: what Dask calls resources
_RESOURCE = "rain resource "


def governor_resources(
    cpus: int, executors: Iterable[str], amounts: dict[str, float]
) -> dict[str, float]:
    """Return what a governor offers, in Dask's terms. What a part asks for is in part_resources."""
    resources: dict[str, float] = {"rain part": PARTS_IN_FLIGHT, "rain cpus": cpus}
    resources |= {_EXECUTOR + name: 1e9 for name in executors}
    return resources | {_RESOURCE + name: amount for name, amount in amounts.items()}


def part_resources(
    max_cpus: int, executors: Iterable[str], amounts: dict[str, float]
) -> dict[str, float]:
    resources: dict[str, float] = {"rain part": 1}
    if max_cpus > 1:  # the governor shares its cpus out; this is for parts that not all can run
        resources["rain cpus"] = max_cpus
    resources |= {_EXECUTOR + name: 1 for name in executors if name != "buildin"}
    return resources | {_RESOURCE + name: amount for name, amount in amounts.items()}


def lacking_text(wanted: dict[str, float], offered: Iterable[dict[str, float]]) -> str:
    """Return what of a part's resources no governor has: "executor 'x', which no governor offers".

    Empty if one has them all.
    """
    governors = list(offered)
    if not governors:
        return "a governor, and there is none"

    def met(names: Iterable[str]) -> bool:
        return any(all(its.get(name, 0) >= wanted[name] for name in names) for its in governors)

    if met(wanted):
        return ""
    names = [name for name in wanted if not met([name])] or list(wanted)  # or not together
    texts = []
    for name in names:
        if name.startswith(_EXECUTOR):
            texts.append(f"executor {name.removeprefix(_EXECUTOR)!r}")
        elif name.startswith(_RESOURCE):
            texts.append(f"{wanted[name]:g} {name.removeprefix(_RESOURCE)}")
        elif name == "rain cpus":
            texts.append(f"{wanted[name]:g} cpus")
    return f"{' and '.join(texts)}, which no governor offers"


def _kind(key: Any) -> str:
    """The prefix of a key of ours; of others', which may be of any type, nothing to rely on."""
    return str(key[0]) if isinstance(key, tuple) and key else ""


def _guarded(handler: Any) -> Any:
    """An exception in a handler would end the connection that the message came from."""

    def handle(**message: Any) -> None:
        try:
            handler(**message)
        except Exception:
            _log.exception("a message was not understood: %.200r", message)

    return handle


class Relay(SchedulerPlugin):  # type: ignore[misc]
    """Part of a Dask scheduler. Thread: the scheduler's loop. Holds no data and no sessions.

    Messages are dicts. From governors ``do`` is ``offer``, ``started``, ``ended``, ``ready``,
    ``incomplete``, ``lost``, or something for the client alone; from clients ``hello``, or what is
    passed on.
    """

    name = "rain-relay"
    idempotent = True

    def __init__(self, log_directory: str = "") -> None:
        self.log_directory = log_directory
        self.scheduler: Any = None
        self.began = time.time()
        self.offers: dict[str, dict[str, Any]] = {}  # by address of the Dask worker
        self._offers_version = 0  # goes up with each change of them
        self.clients: set[str] = set()
        self._started: dict[Any, str] = {}  # parts at work, by key: the worker's address
        self._deaths: dict[Any, list[str]] = {}  # names of governors that were lost with the part
        self._blamed: dict[Any, int] = {}  # Dask's own count
        self._again: set[Any] = set()  # objects that a second run makes for others alone
        self._ran_on: dict[Any, str] = {}  # parts that have begun: the governor's name
        self.recomputed = 0  # parts that were begun again, as what they made was lost
        self.lacking: list[dict[str, Any]] = []  # what waits for governors; replaced, not changed
        self._told: dict[str, dict[Any, str]] = {}  # the same as clients were told it
        self._can_resolve = True
        self._site: Site | None = None

    async def start(self, scheduler: Any) -> None:
        from distributed import stealing
        from tornado.ioloop import PeriodicCallback

        self.scheduler = scheduler
        scheduler.stream_handlers[FROM_GOVERNOR] = _guarded(self._from_governor)
        scheduler.stream_handlers[FROM_CLIENT] = _guarded(self._from_client)
        scheduler.handlers[ASK] = self.ask
        stealing.fast_tasks.update(PREFIXES)  # Dask's own stealing leaves these alone
        balance = PeriodicCallback(self._balance, _BALANCE_MS)
        scheduler.periodic_callbacks["rain-balance"] = balance
        balance.start()
        look = PeriodicCallback(self._look_for_lacking, 1000 * _LACKING_SECONDS)
        scheduler.periodic_callbacks["rain-lacking"] = look
        look.start()
        for address, worker in scheduler.workers.items():
            self._learn_offer(address, worker.extra.get("rain"))
        self._site = http.mount(scheduler, self)

    async def before_close(self) -> None:
        """End the pages; the server's own end waits for nobody who reads them."""
        if self._site is not None:
            await http.close(self._site)

    # ---- messages

    def _from_governor(self, worker: str, do: str, **message: Any) -> None:
        if do == "offer":
            self._learn_offer(worker, message["offer"])
            return
        key = message.get("key")
        if do == "started":
            self._started[key] = worker
            self._note_begin(key, message)
        elif do == "ended":
            self._started.pop(key, None)
            self._deaths.pop(key, None)
            self._blamed.pop(key, None)
        elif do == "ready":
            self._resolve(worker, key, message["size"])
            return
        elif do == "incomplete":
            self._release(key)
            return
        elif do == "lost":
            address = self._started.pop(key, None)
            if address is not None and key in self.scheduler.tasks:
                self._count_death(key, address)
            return
        self.tell_client(message.pop("client"), do=do, worker=worker, **message)

    def _note_begin(self, key: Any, message: dict[str, Any]) -> None:
        before = self._ran_on.get(key)
        self._ran_on[key] = message["governor"]
        if before is not None:
            self.recomputed += 1
            if all(offer["name"] != before for offer in self.offers.values()):
                message["lost"] = before

    def _from_client(self, client: str, name: str, do: str, **message: Any) -> None:
        if do == "hello":
            self.clients.add(name)
            self._tell_offers([name])
        elif do == "bye":
            self._forget(name)
        elif do == "wanted":
            self._tell_wanted(**message)
        elif "key" in message:
            self._tell_holders(do=do, **message)
        else:
            self.tell_governors(list(self.offers), do=do, client=name, **message)

    def _tell_wanted(self, key: Any, objects: list[int]) -> None:
        """A part runs again, of which its client wants these; others may wait for more."""
        task = self.scheduler.tasks.get(key)
        wanted = set(objects)
        for each in () if task is None else task.dependents:
            if each.state in ("waiting", "processing", "queued", "no-worker"):
                if each.key[3] not in wanted:
                    self._again.add(each.key)
                wanted.add(each.key[3])
        self._tell_holders(key, do="wanted", objects=sorted(wanted))

    def _tell_holders(self, key: Any, **message: Any) -> None:
        """Tell whoever runs a part or has what it made."""
        task = self.scheduler.tasks.get(key)
        workers = [] if task is None else [*(task.who_has or ())]
        if task is not None and task.processing_on is not None:
            workers.append(task.processing_on)
        self.tell_governors([worker.address for worker in workers], key=key, **message)

    def tell_client(self, client: str, **message: Any) -> None:
        event = {"op": "event", "topic": TOPIC + client, "event": (time.time(), message)}
        self.scheduler.client_send(client.split(CLIENT_SEPARATOR)[0], event)

    def tell_governors(self, addresses: Iterable[str], **message: Any) -> None:
        for address in addresses:
            self.scheduler.worker_send(address, {"op": TO_GOVERNOR, **message})

    def _learn_offer(self, address: str, offer: dict[str, Any] | None) -> None:
        if offer is not None and address in self.scheduler.workers:
            self.offers[address] = offer
            self._offers_version += 1
            self._tell_offers(self.clients)

    def _tell_offers(self, clients: Iterable[str]) -> None:
        for client in clients:
            self.tell_client(client, do="governors", **self._offers_now())

    def _offers_now(self) -> dict[str, Any]:
        """What a client is told, and asks for: one may overtake the other."""
        return {"offers": dict(self.offers), "version": self._offers_version}

    # ---- what Dask tells its plugins

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._learn_offer(worker, scheduler.workers[worker].extra.get("rain"))

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        if self.offers.pop(worker, None) is not None:
            self._offers_version += 1
            self._tell_offers(self.clients)

    def remove_client(self, scheduler: Any, client: str) -> None:
        for name in [each for each in self.clients if each.startswith(client + CLIENT_SEPARATOR)]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.clients.discard(name)
        self.tell_governors(list(self.offers), do="forget", client=name)

    def restart(self, scheduler: Any) -> None:
        for name in self.clients:
            self.tell_client(name, do="restarted")

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        if _kind(key) not in PREFIXES:
            return
        if finish == "erred":
            text = self.scheduler.tasks[key].exception_text
            self.tell_client(key[1], do="erred", key=key, message=text or "no cause is known")
        if start == "processing" and finish != "memory":
            self._note_death(key)
        if key in self._again and finish in ("released", "erred", "forgotten"):
            self._again.discard(key)
            for part in self.scheduler.tasks[key].dependencies:
                self._tell_holders(part.key, do="unkeep", objects=[key[3]])
        if finish == "forgotten" and key[0] == UPLOAD_PREFIX:
            self.tell_client(key[1], do="forgotten", key=key)
        if finish in ("erred", "forgotten"):
            self._ran_on.pop(key, None)
            self._started.pop(key, None)
            self._deaths.pop(key, None)
            self._blamed.pop(key, None)

    def _note_death(self, key: Any) -> None:
        """A part was taken from its governor. If that was lost while it ran, count it."""
        task = self.scheduler.tasks.get(key)
        address = self._started.pop(key, None)
        if task is None or task.suspicious <= self._blamed.get(key, 0):
            return
        self._blamed[key] = task.suspicious
        if address is not None:  # else it waited there, and has nothing to do with it
            self._count_death(key, address)

    def _count_death(self, key: Any, address: str) -> None:
        task = self.scheduler.tasks[key]
        name = self.offers.get(address, {}).get("name", address)
        deaths = self._deaths.setdefault(key, [])
        deaths.append(name)
        task.annotations = {**(task.annotations or {}), "rain deaths": deaths}
        if len(deaths) > DEATHS_ALLOWED:
            self.tell_client(key[1], do="killer", key=key, governors=deaths)
        else:
            self.tell_client(key[1], do="died", key=key, governor=name)

    def _look_for_lacking(self) -> None:
        """Tell of parts that wait though there is nothing else to wait for."""
        told: dict[str, dict[Any, str]] = {client: {} for client in self._told}
        lines: dict[str, dict[str, Any]] = {}
        begin = time.monotonic() - _LACKING_SECONDS
        offered = [worker.resources for worker in self.scheduler.running]
        waiting = self.scheduler.unrunnable
        if not isinstance(waiting, dict):  # an older Dask does not say since when
            waiting = dict.fromkeys(waiting, begin)
        for task, since in list(waiting.items()):
            key = task.key
            if _kind(key) != PART_PREFIX or since > begin:
                continue
            what = lacking_text(task.resource_restrictions or {}, offered)
            if what:
                told.setdefault(key[1], {})[key] = what
                line = lines.setdefault(what, {"lacks": what, "tasks": 0, "parts": 0})
                line["tasks"] += (task.annotations or {}).get(N_TASKS, 0)
                line["parts"] += 1
        for client, parts in told.items():
            if parts != self._told.get(client, {}):
                self.tell_client(client, do="lacking", parts=list(parts.items()))
        self._told = {client: parts for client, parts in told.items() if parts}
        self.lacking = list(lines.values())

    # ---- placement

    def _balance(self) -> None:
        """Give governors that run out of parts those that wait at others."""
        stealing = self.scheduler.extensions.get("stealing")
        if stealing is None:
            return
        waiting: dict[Any, list[Any]] = {}
        load: dict[Any, int] = {}
        for address in self.offers:
            worker = self.scheduler.workers.get(address)
            if worker is None or worker not in self.scheduler.running:
                continue
            parts = [task for task in worker.processing if _kind(task.key) == PART_PREFIX]
            load[worker] = len(parts)
            waiting[worker] = [task for task in parts if task.key not in self._started]
        for thief in load:
            while load[thief] < PARTS_IN_FLIGHT:
                victim = max(load, key=load.__getitem__)
                if load[victim] <= PARTS_IN_FLIGHT:
                    return
                task = self._movable(waiting[victim], victim, thief, stealing)
                if task is None:
                    break
                stealing.move_task_request(task, victim, thief)
                waiting[victim].remove(task)
                load[victim] -= 1
                load[thief] += 1

    def _movable(self, tasks: list[Any], victim: Any, thief: Any, stealing: Any) -> Any:
        """The last of the waiting parts that is no longer on its way than in the queue."""
        for task in sorted(tasks, key=lambda each: each.priority, reverse=True):
            valid = self.scheduler.valid_workers(task)
            if task in stealing.in_flight or (valid is not None and thief not in valid):
                continue
            here = self.scheduler.get_comm_cost(task, victim)
            if self.scheduler.get_comm_cost(task, thief) - here <= max(victim.occupancy, 0.1):
                return task
        return None

    # ---- objects before the end of their part

    def _resolve(self, worker: str, key: Any, size: int) -> None:
        """An object that a running part made is there: as if the task that collects it had run.

        This moves the state of Dask's scheduler by its own private means. Where they are missing,
        or the key waits for nothing any more, nothing happens: it is collected after the part.
        """
        scheduler = self.scheduler
        task, holder = scheduler.tasks.get(key), scheduler.workers.get(worker)
        if not self._can_resolve or task is None or holder is None or task.state != "waiting":
            return
        try:
            recommendations: dict[Any, Any] = {}
            client_messages: dict[str, list[Any]] = {}
            task.waiting_on = set()
            task.set_nbytes(size)
            scheduler._add_to_memory(
                task, holder, recommendations, client_messages, type=b"", typename="BlobRef"
            )
            worker_messages: dict[str, list[Any]] = {}
            scheduler._transitions(
                recommendations, client_messages, worker_messages, f"rain-ready-{time.time()}"
            )
            scheduler.send_all(client_messages, worker_messages)
        except (AttributeError, TypeError):
            _log.exception("this version of Dask is not known: objects resolve with their part")
            self._can_resolve = False

    def _release(self, key: Any) -> None:
        """A bundle lacks what somebody needs again: its part runs again."""
        task = self.scheduler.tasks.get(key)
        if task is not None and task.state == "memory":
            self.scheduler.transitions({key: "released"}, f"rain-incomplete-{time.time()}")

    # ---- questions

    async def ask(
        self, operation: str, client: str = "", arguments: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Answer a client or a command: the answer, or the error's class and text.

        "versions", "offers", "stop" and "status" are the relay's own; else the answers of all
        governors, by the address of their worker.
        """
        if operation == "stop":
            self.scheduler.loop.add_callback(self.scheduler.close, reason="a client said stop")
            return {"answer": None}
        if operation == "versions":
            return {"answer": {"distributed": distributed.__version__}}
        if operation == "offers":
            return {"answer": self._offers_now()}
        answers, errors = await self.ask_governors(operation, client, arguments or {})
        if operation == "status":
            return {"answer": {**self.about(), "governors": list(answers.values())}}
        if errors and not answers:
            return {"error": next(iter(errors.values()))}
        return {"answer": answers}

    def about(self) -> dict[str, Any]:
        return {
            "kind": "server",
            "address": self.scheduler.address.split("://")[-1],
            "pid": os.getpid(),
            "began": self.began,
            "log_directory": self.log_directory,
            "recomputed": self.recomputed,
            "lacking": self.lacking,
        }

    async def ask_governors(
        self, operation: str, client: str, arguments: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """Ask all governors at once: their answers, and the errors of the others."""

        seconds = _ASK_SECONDS + (arguments.get("timeout") or 0)
        if operation in ("learn_tasks", "ping"):
            seconds += _START_SECONDS

        async def one(address: str) -> Any:
            asked = getattr(self.scheduler.rpc(address), ASK)
            return await asyncio.wait_for(
                asked(operation=operation, client=client, arguments=arguments), seconds
            )

        addresses = list(self.offers)
        replies = await asyncio.gather(*map(one, addresses), return_exceptions=True)
        answers: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        for address, reply in zip(addresses, replies, strict=True):
            if isinstance(reply, BaseException):
                what = str(reply) or f"no answer within {seconds:.0f} s"
                errors[address] = ["ConnectionFailed", f"governor at {address}: {what}"]
            elif "error" in reply:
                errors[address] = list(reply["error"])
            else:
                answers[address] = reply["answer"]
        return answers, errors
