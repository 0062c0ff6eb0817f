"""Questions to a server, of who is no client of it (yet), too, and what is made of the answers."""

from __future__ import annotations

import asyncio
import concurrent.futures

from rain.common import errors
from rain.common.errors import ConnectionFailed, RainException
from rain.engine import dask_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONNECT_SECONDS = 4.0  # for all steps: an error comes within 5


def ask(host: str, port: int, tls: str | None, operation: str, **arguments: Any) -> Any:
    """Ask the server there one thing: "versions", "offers", "status", "stop", "store", "logs".

    Of "store" and "logs": the governors' answers put together.

    Raises
    ------
    ConnectionFailed
    RainException
        What the other side says.
    """
    distributed = dask_process.import_distributed()
    security = dask_process.security(tls)
    from rain.engine.knock import knock
    from rain.governor.relay import ASK

    knock(host, port, tls=tls)
    address = f"{dask_process.scheme(tls)}://{dask_process.bracketed(host)}:{port}"

    async def asked() -> Any:
        given = {} if security is None else security.get_connection_args("client")
        async with distributed.rpc(address, connection_args=given) as server:
            return await getattr(server, ASK)(operation=operation, arguments=arguments)

    seconds = (1 if operation == "versions" else 2) * CONNECT_SECONDS
    waited = asyncio.wait_for(asked(), seconds)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as thread:  # here a loop may be running
            reply = thread.submit(asyncio.run, waited).result()
    except (OSError, asyncio.TimeoutError) as error:
        raise ConnectionFailed(f"no answer from the server at {host}:{port}: {error}") from error
    answer = answer_of(reply, f"{host}:{port}")
    own = operation in ("versions", "status", "offers", "stop")
    return answer if own else joined(operation, answer)


def check_server(host: str, port: int, tls: str | None) -> None:
    """Return if a server is there that this process can be a client or a governor of.

    Raises
    ------
    ConnectionFailed
        There is none, or its Dask is of another month than the one here: their messages differ.
    """
    there = ask(host, port, tls, "versions")["distributed"]
    here = dask_process.import_distributed().__version__
    if there.split(".")[:2] != here.split(".")[:2]:
        raise ConnectionFailed(
            f"the server at {host}:{port} has distributed {there}, and here is {here}: they don't "
            f"understand each other; install the same on both, pip install distributed=={there}"
        )


def answer_of(reply: Any, where: str) -> Any:
    """The answer, or what the other side raised."""
    if not isinstance(reply, dict):
        raise ConnectionFailed(
            f"{where} is a Dask scheduler without Rain: start one with `rain server`, or use "
            "Client(dask=...)"
        )
    if "error" not in reply:
        return reply["answer"]
    name, text = reply["error"]
    if name == "OSError":
        raise OSError(text)
    kind = getattr(errors, name, RainException)
    if not (isinstance(kind, type) and issubclass(kind, RainException)):
        kind = RainException
    raise kind(text)


def joined(operation: str, answers: dict[str, Any]) -> Any:
    """Put the governors' answers together."""
    known = [answer for answer in answers.values() if answer is not None]
    match operation:
        case "announced_signature" | "command_of":
            return known[0] if known else None
        case "learn_tasks" | "announced_tasks":
            tasks = {line[0]: line for answer in known for line in answer}
            return list(tasks.values()) if known else None
        case "store_usage":
            return _summed(known)
        case "store":  # of each governor
            return known
        case _:
            return [line for answer in known for line in answer]


def _summed(usages: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for usage in usages:
        for name, value in usage.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and name in total:
                total[name] += value
            else:
                total.setdefault(name, value)
    return total
