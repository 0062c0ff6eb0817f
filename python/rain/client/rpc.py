"""Rain's place for the states: ``rpc.common.TaskState.finished``."""

from rain.client import states as common

__all__ = ["common"]
