"""Values that both sides of the Python API share. Each name is imported when first used."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.common.data_instance import DataInstance
    from rain.common.data_type import DataType
    from rain.common.errors import RainException, RainWarning, SessionException, TaskException
    from rain.common.ids import ID
    from rain.common.labeled_list import LabeledList

__all__ = [
    "ID",
    "DataInstance",
    "DataType",
    "LabeledList",
    "RainException",
    "RainWarning",
    "SessionException",
    "TaskException",
]

_MODULES = {
    "DataInstance": "data_instance",
    "DataType": "data_type",
    "ID": "ids",
    "LabeledList": "labeled_list",
    "RainException": "errors",
    "RainWarning": "errors",
    "SessionException": "errors",
    "TaskException": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
