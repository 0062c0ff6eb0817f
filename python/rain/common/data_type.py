"""What a data object is."""

import enum


class DataType(enum.Enum):
    BLOB = "blob"
    DIRECTORY = "dir"
