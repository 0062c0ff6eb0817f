"""Data as a remote function sees them: rain.tasklib's, with the names of Rain 0.4."""

from __future__ import annotations

from rain.tasklib import datainstance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.common.attributes import ObjectInfo, ObjectSpec
    from rain.common.data_type import DataType


class DataInstance(datainstance.DataInstance):
    """The data of an input, or of an output on its way out."""

    __slots__ = ("_info", "_loaded", "_user_before")
    _info: ObjectInfo
    _loaded: Any
    _user_before: dict[str, Any]

    @property
    def data_type(self) -> DataType:
        from rain.common.data_type import DataType

        return DataType.DIRECTORY if self.is_directory else DataType.BLOB

    @property
    def spec(self) -> ObjectSpec:
        """What the client said of the object."""
        from rain.common.attributes import ObjectSpec
        from rain.common.ids import ID

        object_id = self.object_id
        return ObjectSpec(
            id=ID(*object_id) if object_id is not None else None,
            label=self.label,
            content_type=self.content_type,
            data_type=self.data_type,
            user=self.spec_attributes,
        )

    @property
    def info(self) -> ObjectInfo:
        """What is known of the data. What is set in ``info.user`` goes with a returned instance."""
        if not hasattr(self, "_info"):
            from rain.common.attributes import ObjectInfo

            self._user_before = self._get_attributes()
            self._info = ObjectInfo(
                size=None if self.is_directory else self.size,
                content_type=self.content_type,
                user=self._get_attributes(),
            )
        return self._info

    def load(self, cache: bool = False) -> Any:
        """Return the data decoded by their content type.

        Parameters
        ----------
        cache : bool
            Return the same object at later cached loads; it must not be modified.

        Raises
        ------
        RainException
            There is no content type, or no decoder for it.
        """
        if cache and hasattr(self, "_loaded"):
            return self._loaded
        value = super().load()
        if cache:
            self._loaded = value
        return value

    def _flush_info(self) -> None:
        """Before it is sent: take over what the function set in `info`."""
        if not hasattr(self, "_info"):
            return
        if self._info.content_type != self.content_type:
            self._set_content_type(self._info.content_type or "")
        before = self._user_before
        for key, value in self._info.user.items():
            if key not in before or before[key] != value:
                self._set_attribute(key, value)
