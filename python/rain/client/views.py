"""The data of finished objects, wherever they are."""

from __future__ import annotations

from rain import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rain.client.data import DataObject

_TRIES = 5  # what was fetched may have been let go for want of memory before it was looked at


def views(objects: Sequence[DataObject]) -> list[_core.Blob | None]:
    """Return the data of finished objects of one client; None where there are none.

    What lies with governors elsewhere is brought here first: see MirrorEngine.fetch_remote().
    """
    found = _core.views(objects)
    for _ in range(_TRIES):
        if None not in found:
            break
        missing = _core.remote_objects(objects)
        if missing:
            _fetch(objects[0], missing)
        found = _core.views(objects)  # also if none was: another thread may have brought them
        if not missing:
            break
    return found


def _fetch(any_object: DataObject, ids: list[tuple[int, int]]) -> None:
    client = any_object.session.client
    if client is None:  # closed meanwhile
        return
    by_session: dict[int, list[int]] = {}
    for session_id, object_id in ids:
        by_session.setdefault(session_id, []).append(object_id)
    for session_id, object_ids in by_session.items():
        client._engine.fetch_remote(session_id, object_ids)
