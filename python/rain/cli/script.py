"""Being a client script: its ``__main__``, its arguments, its exit code."""

from __future__ import annotations

import os
import sys
import types
from typing import NoReturn

_INTERRUPTED = 130  # as shells name the end by SIGINT


class Script(SystemExit):
    """Ends the command line, and has main() run a script outside of it.

    There the frames of the command line are not on the stack, which tracebacks of the script and
    of its tasks would show.
    """

    def __init__(self, path: str, arguments: tuple[str, ...]) -> None:
        super().__init__(0)
        self.path = path
        self.arguments = arguments

    def run(self) -> NoReturn:
        path = os.path.abspath(self.path)
        with open(path, "rb") as file:
            source = file.read()
        main = types.ModuleType("__main__")
        main.__dict__.update(__file__=path, __builtins__=__builtins__)
        sys.modules["__main__"] = main
        sys.argv = [self.path, *self.arguments]
        sys.path.insert(0, os.path.dirname(path))
        try:
            exec(compile(source, path, "exec"), main.__dict__)
        except KeyboardInterrupt:
            print("rain run: interrupted", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        except Exception as error:
            own = error.__traceback__  # this method's frame
            error.with_traceback(own.tb_next if own is not None else None)
            sys.excepthook(type(error), error, error.__traceback__)
            sys.exit(1)
        sys.exit(0)
