"""``rain status``: what a service has and does."""

from __future__ import annotations

from typing import Any

import click

from rain.cli.forms import address_text
from rain.cli.output import count_text, json_option, print_json, print_table
from rain.cli.service import (
    Service,
    address_argument,
    connection_options,
    find_service,
    task_counts,
)
from rain.common.text import size_text


@click.command(name="status", short_help="Show a running service.")
@address_argument
@connection_options
@json_option
def command(address: str | None, tls: str | None, http_port: int | None, as_json: bool) -> None:
    """Show governors, executors, sessions, tasks and the store of a running service.

    ADDRESS is HOST:PORT of a server or the socket of a standalone governor. Without it, the one
    that this user runs on this machine. Exit code 1 if there is none.
    """
    service = find_service(address, tls, http_port)
    status = service.status()
    if as_json:
        print_json(status)
    else:
        _print(service, status)


def _print(service: Service, status: dict[str, Any]) -> None:
    governors = status["governors"]
    cpus = sum(governor.get("cpus", 0) for governor in governors)
    kind = "standalone governor" if service.socket else "server"
    line = f"{kind} {_address(service, status)}: {count_text(len(governors), 'governor')}"
    click.echo(f"{line}, {count_text(cpus, 'cpu')}, {_tasks(task_counts(status))}")
    if governors:
        click.echo()
        print_table(
            ("governor", "executors", "cpus", "running", "store"),
            [_governor(governor) for governor in governors],
            flush_left=2,
        )
    for line in status.get("lacking", []):
        verb = "waits" if line["tasks"] == 1 else "wait"
        click.echo(f"{count_text(line['tasks'], 'task')} {verb} for {line['lacks']} now")
    sessions = status.get("sessions", [])
    if sessions:
        click.echo()
        print_table(
            ("session", "name", "client", "tasks"),
            [
                (
                    str(session.get("id", "")),
                    str(session.get("name", "")),
                    str(session.get("client", "")),
                    _tasks(session.get("tasks", {})),
                )
                for session in sessions
            ],
            flush_left=4,
        )


def _address(service: Service, status: dict[str, Any]) -> str:
    """Where the one is that answered: pages may be those of another port than was asked for."""
    if service.socket:
        return service.address
    _, _, port = str(status.get("address", "")).rpartition(":")
    return address_text((service.server[0], int(port))) if port else service.address


def _governor(governor: dict[str, Any]) -> tuple[str, str, str, str, str]:
    store = governor.get("store", {})
    used, budget = store.get("blobs_bytes", 0), store.get("budget_bytes", 0)
    executors = (
        f"{executor['type']} ({len(executor['pids'])})" if executor["pids"] else executor["type"]
        for executor in governor.get("executors", [])
        if executor["type"] != "buildin"
    )
    return (
        str(governor.get("name") or governor.get("address", "")),
        ", ".join(executors),
        str(governor.get("cpus", "")),
        str(governor.get("tasks", {}).get("running", 0)),
        f"{size_text(used)} of {size_text(budget)}" if budget else "",
    )


def _tasks(counts: dict[str, int]) -> str:
    told = [f"{count} {state}" for state, count in counts.items() if count]
    return f"tasks: {', '.join(told)}" if told else "no tasks"
