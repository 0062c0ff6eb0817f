"""The first argument of remote functions: rain.tasklib's, with the names of Rain 0.4."""

from __future__ import annotations

import os

from rain.common.content_type import check_content_type
from rain.common.errors import RainException
from rain.executor.datainstance import DataInstance
from rain.tasklib import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rain.common.attributes import TaskInfo, TaskSpec


class Context(context.Context):
    """What a remote function may ask about its call, and do besides returning a result.

    Attributes
    ----------
    function : callable
        The remote function itself.
    """

    __slots__ = ("_info", "_inputs", "_spec", "_staged", "function")
    function: Callable[..., Any]
    _info: TaskInfo
    _inputs: tuple[DataInstance, ...]
    _spec: TaskSpec
    _staged: list[str]

    @property
    def spec(self) -> TaskSpec:
        """What the client said of the task."""
        if not hasattr(self, "_spec"):
            from rain.common.attributes import TaskSpec, TaskSpecInput
            from rain.common.ids import ID

            self._spec = TaskSpec(
                id=ID(*self.task_id),
                task_type=self.task_type,
                config=self.config,
                inputs=[
                    TaskSpecInput(id=ID(*item.object_id), label=item.label or None)
                    for item in self._inputs
                    if item.object_id is not None
                ],
                outputs=[ID(*pair) for pair in self._output_ids()],
                resources={"cpus": self.cpus},
                name=self.name,
                user=self._get_attributes(),
            )
        return self._spec

    @property
    def info(self) -> TaskInfo:
        """What the client will know of the task: set what you like in ``info.user``."""
        if not hasattr(self, "_info"):
            from rain.common.attributes import TaskInfo

            self._info = TaskInfo()
        return self._info

    def blob(
        self, value: Any, content_type: str | None = None, encode: str | None = None
    ) -> DataInstance:
        """Return an output made of `value`.

        Parameters
        ----------
        value : bytes-like, str, numpy array, or anything that `encode` can encode
        content_type : str, optional
            What the bytes are.
        encode : str, optional
            Content type to encode `value` into, for instance "pickle" or "json".
        """
        check_content_type(content_type)
        check_content_type(encode)
        return super().blob(value, content_type, encode)  # type: ignore[return-value]

    def pickled(self, obj: Any, content_type: str = "pickle") -> DataInstance:
        """Return an output that holds `obj`, pickled."""
        return self.blob(obj, encode=content_type)

    def array(self, value: Any) -> DataInstance:
        """Return an output that holds a numpy array, of which ``load()`` gives a view."""
        return self._array(value)  # type: ignore[return-value]

    def stage_file(
        self, path: str | os.PathLike[str], content_type: str | None = None
    ) -> DataInstance:
        """Return an output made of a file in the working directory, which is taken away."""
        check_content_type(content_type)
        staged = self._stage(path)
        if not os.path.isfile(staged):
            raise RainException(f"stage_file({os.fspath(path)!r}): it is not a file")
        instance: DataInstance = self._make_file(staged)  # type: ignore[assignment]
        if content_type is not None:
            instance._set_content_type(content_type)
        return instance

    def stage_directory(self, path: str | os.PathLike[str]) -> DataInstance:
        """Return an output made of a directory in the working directory, which is taken away."""
        staged = self._stage(path)
        if not os.path.isdir(staged):
            raise RainException(f"stage_directory({os.fspath(path)!r}): it is not a directory")
        instance: DataInstance = self._make_file(staged)  # type: ignore[assignment]
        instance._set_content_type("dir")
        return instance

    def _stage(self, path: str | os.PathLike[str]) -> str:
        """Move what is there out of the working directory; return where to."""
        name = os.fspath(path)
        if os.path.isabs(name):
            raise RainException(f"Path {name!r} has to be relative")
        global _last_staged
        _last_staged += 1
        target = os.path.join(stage_path, str(_last_staged))
        os.rename(name, target)
        if not hasattr(self, "_staged"):
            self._staged = []
        self._staged.append(target)
        return target

    def _flush_info(self) -> None:
        if hasattr(self, "_info"):
            for key, value in self._info.user.items():
                self._set_attribute(key, value)

    def _drop_staged(self, returned: set[str | None]) -> None:
        """Remove what was staged and not returned."""
        if not hasattr(self, "_staged"):
            return
        from rain.executor.workdir import remove

        for path in self._staged:
            if path not in returned:
                remove(path)


# Where staged files go; set by the executor's start.
stage_path = ""
_last_staged = 0
