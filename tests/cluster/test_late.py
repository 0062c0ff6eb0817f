"""What governors that join late bring, and what waits for those that have left."""

from __future__ import annotations

import json
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clusters import Cluster, cluster
from rain.cli import status
from rain.client import InvalidGraph, RainException, RainWarning, Task
from tasks import call, contains
from world import wait_until


@pytest.fixture
def plain(place: Path, commands: dict[str, Any]) -> Iterator[Cluster]:
    """A server and a governor without the executor `gates`."""
    without = {name: command for name, command in commands.items() if name != "gates"}
    with cluster(place, without, governors=1) as made:
        yield made


def add_special(made: Cluster, commands: dict[str, Any], name: str = "special") -> Any:
    return made.add_governor(name, cpus=3, executors={"gates": commands["gates"]})


def server_status(made: Cluster) -> dict[str, Any]:
    url = f"http://127.0.0.1:{made.http_port}/rain/status.json"
    with urllib.request.urlopen(url) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def test_clients_from_before_can_use_what_a_late_governor_offers(
    plain: Cluster, commands: dict[str, Any]
) -> None:
    with plain.client(record=True) as client, client.new_session():
        with pytest.raises(RainException, match="'gates' is not registered"):
            call("gates/environment", name="x")
        with pytest.raises(KeyError, match="gates"):
            client.executors["gates"]

        add_special(plain, commands)
        late = call("gates/environment", name="nothing of this name")
        assert late.output.fetch().get_bytes() == b"is not set"
        made = client.executors["gates"].environment(config={"name": "x"})
        assert made.output.fetch().get_bytes() == b"is not set"
        assert client.info()["executors"] == sorted([*commands, "py"])
        with pytest.raises(RainException, match=r"'gate' is not registered.*mean 'gates'"):
            call("gate/environment", name="x")
        assert [each.executor for each in client.report()] == ["gates", "gates"]


def test_an_old_answer_brings_no_lost_governor_back(
    plain: Cluster, commands: dict[str, Any]
) -> None:
    special = add_special(plain, commands)
    with plain.client() as client:
        link: Any = client._engine._link  # type: ignore[attr-defined]
        wait_until(lambda: len(link._offers) == 2, "both governors")
        late = link._ask("offers")
        special.end()
        wait_until(lambda: len(link._offers) == 1, "the governor's end")
        link._do_governors(**late)
        assert len(link._offers) == 1
        link.learn_offers()
        assert len(link._offers) == 1


def test_more_cpus_of_a_late_governor(plain: Cluster, commands: dict[str, Any]) -> None:
    with plain.client() as client, client.new_session() as session:
        wide = Task([], outputs=1, task_type="pytester/pid", cpus=4)
        wide.keep_outputs()
        with pytest.raises(InvalidGraph, match="4 cpus, but"):
            session.submit()
        plain.add_governor("wide", cpus=4, executors={"pytester": commands["pytester"]})
        session.submit()
        assert wide.output.fetch().get_bytes()


def test_tasks_that_no_governor_can_run_any_more_are_told_of_and_wait(
    plain: Cluster, commands: dict[str, Any]
) -> None:
    special = add_special(plain, commands)
    with (
        warnings.catch_warnings(record=True) as caught,
        plain.client() as client,
        client.new_session() as session,
    ):
        warnings.simplefilter("always")
        call("gates/environment", name="x").output.fetch()
        special.end()
        wait_until(lambda: len(server_status(plain)["governors"]) == 1, "the governor's end")
        waiting = [call("gates/environment", name="nothing of this name") for _ in range(3)]
        for task in waiting:
            task.keep_outputs()
        session.submit()
        other = call("pytester/hello", b"you")
        assert other.output.fetch().get_bytes() == b"Hello you!"

        def told() -> list[str]:
            return [str(each.message) for each in caught if each.category is RainWarning]

        wait_until(lambda: any("tasks wait for" in line for line in told()), "a warning")
        text = "3 tasks wait for executor 'gates', which no governor offers now"
        contains(told()[-1], text)
        wait_until(lambda: server_status(plain)["lacking"], "it in the status")
        (line,) = server_status(plain)["lacking"]
        assert (line["tasks"], line["lacks"]) == (3, "executor 'gates', which no governor offers")
        address = [f"127.0.0.1:{plain.port}", "--http-port", str(plain.http_port)]
        assert text in CliRunner().invoke(status.command, address).output

        add_special(plain, commands, "again")
        session.wait_all()
        assert {task.output.fetch().get_bytes() for task in waiting} == {b"is not set"}
        wait_until(lambda: not server_status(plain)["lacking"], "that nothing waits")
        assert sum("wait for" in line for line in told()) == 1


def test_a_wait_without_any_governor_is_told_of(place: Path, commands: dict[str, Any]) -> None:
    with cluster(place, commands, governors=1) as made, made.client() as client:
        made.governors[0].end()
        wait_until(lambda: not server_status(made)["governors"], "the governor's end")
        with client.new_session() as session:
            task = call("pytester/hello", b"you")
            task.keep_outputs()
            session.submit()
            with pytest.warns(RainWarning, match="1 task waits for a governor, and there is none"):
                wait_until(lambda: server_status(made)["lacking"], "it in the status")
            made.add_governor("late")
            assert task.output.fetch().get_bytes() == b"Hello you!"
