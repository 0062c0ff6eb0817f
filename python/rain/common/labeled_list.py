"""A list whose items may have labels."""

from __future__ import annotations

from _collections_abc import MutableSequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TypeVar, overload

    T = TypeVar("T")


class LabeledList(MutableSequence["T"]):
    """Mutable sequence of values; some of them have a label, which no other has.

    Parameters
    ----------
    items : iterable, optional
        Values; another LabeledList gives its labels, too.
    labels : iterable of str or None, optional
        Parallel to `items`.
    pairs : iterable of (label, value), optional
        Instead of both.

    ``values["label"]`` finds by label, and ``"label" in values`` asks for labels.
    """

    __slots__ = ("_items", "_labels")

    def __init__(
        self,
        items: Iterable[T] | None = None,
        labels: Iterable[str | None] | None = None,
        pairs: Iterable[tuple[str | None, T]] | None = None,
    ) -> None:
        self._items: list[T] = []
        self._labels: list[str | None] = []
        if pairs is not None:
            if items is not None or labels is not None:
                raise ValueError("LabeledList takes either pairs, or items and labels")
        elif items is None:
            if labels is not None:
                raise ValueError("LabeledList takes labels only together with items")
            pairs = ()
        elif labels is not None:
            pairs = zip(labels, items, strict=False)
        elif isinstance(items, LabeledList):
            pairs = items.items()
        else:
            pairs = ((None, item) for item in items)
        for label, item in pairs:
            self.append(item, label)

    def _index(self, index: int | str) -> int:
        if isinstance(index, str):
            try:
                return self._labels.index(index)
            except ValueError:
                raise KeyError(index) from None
        return index

    def _check_label(self, label: str | None, index: int | None = None) -> None:
        """Raise unless `label` may be the one of the item at `index` (of a new one: None)."""
        if label is None:
            return
        if not isinstance(label, str):
            raise TypeError(f"a label must be a str or None, not {type(label).__name__}")
        if label in self._labels and (index is None or self._labels.index(label) != index):
            raise KeyError(f"Label {label!r} already present.")

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int | str) -> T: ...
        @overload
        def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | str | slice) -> T | list[T]:
        if isinstance(index, slice):
            return self._items[index]
        return self._items[self._index(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            values = list(value)
            self._items[index] = values
            self._labels[index] = [None] * len(values)
        else:
            self.set(self._index(index), value)

    def __delitem__(self, index: int | str | slice) -> None:
        if not isinstance(index, slice):
            index = self._index(index)
        del self._items[index]
        del self._labels[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __contains__(self, label: object) -> bool:
        return label is not None and label in self._labels

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._items == other._items and self._labels == other._labels

    def __repr__(self) -> str:
        return f"{type(self).__name__}(pairs={list(self.items())!r})"

    def append(self, value: T, label: str | None = None) -> None:
        """Add at the end. Raises KeyError if the label is taken, TypeError if it is no str."""
        self._check_label(label)
        self._items.append(value)
        self._labels.append(label)

    def insert(self, index: int, value: T, label: str | None = None) -> None:
        """Add before `index`. Raises as append."""
        self._check_label(label)
        self._items.insert(index, value)
        self._labels.insert(index, label)

    def set(self, index: int, value: T, label: str | None = None) -> None:
        """Replace value and label. Raises as append."""
        index = range(len(self._items))[index]
        self._check_label(label, index)
        self._items[index] = value
        self._labels[index] = label

    def get_label(self, index: int) -> str | None:
        """Return the label of an item."""
        return self._labels[index]

    def set_label(self, index: int, label: str | None) -> None:
        """Replace the label of an item. Raises as append."""
        index = range(len(self._items))[index]
        self._check_label(label, index)
        self._labels[index] = label

    def items(self) -> Iterator[tuple[str | None, T]]:
        """Yield (label, value) pairs."""
        return zip(self._labels, self._items, strict=True)
