"""Reference 4.3: Client."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rain.client import Client, RainException, Task, blob
from rain.client.session import get_active_session
from rain.common import ID

pytestmark = pytest.mark.engines


def test_new_session_has_a_name_and_is_not_the_default(client: Client) -> None:
    session = client.new_session()
    assert session.name == "Unnamed Session"
    assert session.client is client
    with pytest.raises(RainException, match="No active session"):
        get_active_session()
    assert client.new_session(17).name == "17"  # type: ignore[arg-type]


def test_new_session_may_become_the_default(client: Client) -> None:
    session = client.new_session("mine", default=True)
    assert get_active_session() is session
    assert blob("x").session is session
    session.close()
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_session_ids_count_from_1(client: Client) -> None:
    assert [client.new_session().session_id for _ in range(3)] == [1, 2, 3]


def test_server_info_has_its_shape_and_what_lives(make_client: Callable[..., Client]) -> None:
    client = make_client(cpus=3)
    empty = client.get_server_info()
    assert list(empty) == ["governors"]
    (governor,) = empty["governors"]
    assert set(governor) == {
        *("governor_id", "tasks", "objects", "objects_to_delete", "resources"),
    }
    host, _, port = governor["governor_id"].rpartition(":")
    assert host
    assert port.isdigit()
    assert (governor["tasks"], governor["objects"], governor["objects_to_delete"]) == ([], [], [])
    assert governor["resources"]["cpus"] == 3
    with client.new_session() as session:
        data = blob("x")
        data.keep()
        endless = Task((data,), 1, task_type="cpptester/spin")
        session.submit()
        (governor,) = client.get_server_info()["governors"]
        assert governor["tasks"] == [endless.id]
        assert governor["objects"] == [data.id]
        assert type(governor["tasks"][0]) is ID
    (governor,) = client.get_server_info()["governors"]
    assert (governor["tasks"], governor["objects"]) == ([], [])


def test_update_takes_tasks_and_objects_and_nothing_else(client: Client) -> None:
    with client.new_session() as session:
        task = Task((blob("x"),), 1, task_type="cpptester/hello")
        session.submit()
        client.update([task, task.output])
        with pytest.raises(RainException, match=r"^'17' is not tasks nor dataobject$"):
            client.update([17])  # type: ignore[list-item]


def test_sessions_live_as_long_as_their_client(make_client: Callable[..., Client]) -> None:
    client = make_client()
    session = client.new_session()
    assert session.active
    client.close()
    assert not session.active
