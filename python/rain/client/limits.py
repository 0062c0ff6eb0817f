"""What the options of a task mean: retries, timeout, memory and resources."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MOST_RETRIES = 1_000_000
_MOST_SECONDS = 1e9
_UNIT = 10_000  # of an amount, in the scheduling core
_MOST_AMOUNT = 1e12
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read(
    retries: Any, timeout: Any, memory: Any, resources: Any
) -> tuple[int, int, int, list[tuple[str, int]]]:
    """Return retries, nanoseconds, bytes, and names with amounts in 1/10,000; 0 for none.

    Raises
    ------
    TypeError, ValueError
        Names the option and what it may be.
    """
    return (
        0 if retries is None else _read_retries(retries),
        0 if timeout is None else _read_timeout(timeout),
        0 if memory is None else _read_memory(memory),
        [] if resources is None else _read_resources(resources),
    )


def amount_of(place: str, amount: Any) -> int:
    """Return an amount in 1/10,000."""
    from math import isfinite

    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"{place} must be a number, not {amount!r}")
    if not isfinite(amount) or not 0 < amount <= _MOST_AMOUNT:
        raise ValueError(f"{place} must be above 0 and at most {_MOST_AMOUNT:g}, not {amount!r}")
    units: int = round(amount * _UNIT)
    if abs(units - amount * _UNIT) > 1e-6 * max(1.0, amount):
        raise ValueError(f"{place} must be a multiple of 0.0001, not {amount!r}")
    return units


def _read_retries(retries: Any) -> int:
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries must be an int, not {retries!r}")
    if not 0 <= retries <= _MOST_RETRIES:
        raise ValueError(f"retries must be between 0 and {_MOST_RETRIES}, not {retries}")
    return retries


def _read_timeout(timeout: Any) -> int:
    seconds = timeout
    if isinstance(timeout, str):
        number = timeout.strip().rstrip("abcdefghijklmnopqrstuvwxyz").strip()
        unit = timeout.strip()[len(number) :].strip()
        try:
            seconds = float(number) * _SECONDS[unit or "s"]
        except (KeyError, ValueError):
            raise ValueError(
                f'timeout must be seconds, or like "30s", "500ms" or "2h", not {timeout!r}'
            ) from None
    elif isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f'timeout must be a number of seconds or like "30s", not {timeout!r}')
    if not 0 < seconds <= _MOST_SECONDS:  # NaN is refused, too
        raise ValueError(
            f"timeout must be above 0 and at most {_MOST_SECONDS:g} seconds, not {timeout!r}"
        )
    nanoseconds: int = round(seconds * 1e9)
    return max(1, nanoseconds)


def _read_memory(memory: Any) -> int:
    from rain.config import parse_size

    size: int = parse_size(memory)
    if size >= 2**60:
        raise ValueError(f"memory must be less than 1 EiB, not {memory!r}")
    return size


def _read_resources(resources: Mapping[str, Any]) -> list[tuple[str, int]]:
    if not hasattr(resources, "items"):
        raise TypeError(
            f'resources must be a dict such as {{"gpu": 1}}, not {type(resources).__name__}'
        )
    read = []
    for name, amount in resources.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"resources: a name must be a str, not {name!r}")
        if name in ("cpus", "memory"):
            raise ValueError(f"resources: {name} is an argument of its own: {name}={amount!r}")
        read.append((name, amount_of(f"resources[{name!r}]", amount)))
    return read
