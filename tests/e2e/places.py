"""In which pages data lie, as both sides see it, and how much was copied on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rain.client import Client, DataObject
from tasks import call


def place_of(obj: DataObject) -> str:
    """Where the client's view of it lies, as the testers' tasks say it."""
    address = obj.fetch()._address
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, offset, device, inode = line.split()[:5]
        begin, end = (int(word, 16) for word in addresses.split("-"))
        if begin <= address < end:
            assert "/memfd:" in line
            return f"{device}:{inode} +{int(offset, 16) + address - begin}"
    raise AssertionError("an address that is not mapped")


def read_ends(consumer: str, *objects: DataObject) -> list[dict[str, Any]]:
    said = call(f"{consumer}/read_ends", *objects).output.fetch().get_bytes()
    return list(json.loads(said))


def copies(client: Client) -> dict[str, int]:
    return {f"{task.task_type} {task.id}": task.copied_bytes for task in client.report()}
