"""Session.make_graph(): the tasks and data objects of a session as a picture."""

from __future__ import annotations

from contextlib import suppress

from rain.client.states import TASK_STATES
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from rain import _core

_DRAWN_UNASKED = 500  # nodes; more take Graphviz long
_COLOURS = {
    "assigned": "#fff3b0",
    "running": "#fff3b0",
    "finished": "#d3f2d3",
    "failed": "#f7c6c6",
    "cancelled": "#dddddd",
    "aborted": "#f3dcc8",
}


class Graph:
    """A picture of a session's graph at the moment when it was made.

    Boxes are tasks, round ones data objects; arrows go the way of the data. In a notebook it shows
    itself when the ``graphviz`` package and its program ``dot`` are installed.
    """

    def __init__(
        self,
        tasks: Iterable[_core.GraphTaskTuple],
        objects: Iterable[_core.GraphObjectTuple],
        show_ids: bool = True,
    ) -> None:
        # Nodes: name, lines of the label, is it a task, colour. Edges: from, to, label.
        self._nodes: list[tuple[str, list[str], bool, str]] = []
        self._edges: list[tuple[str, str, str]] = []
        for number, label, _, is_directory in objects:
            lines = [label] if label else []
            if is_directory:
                lines.append("(directory)")
            if show_ids:
                lines.append(f"id={number}")
            self._nodes.append((f"o{number}", lines, False, ""))
        for number, task_type, name, state, inputs, labels, outputs in tasks:
            lines = [name, task_type] if name else [task_type]
            if show_ids:
                lines.append(f"id={number}")
            known = TASK_STATES[state]
            colour = _COLOURS.get(known.name, "") if known is not None else ""
            self._nodes.append((f"t{number}", lines, True, colour))
            for source, label in zip(inputs, labels, strict=True):
                self._edges.append((f"o{source}", f"t{number}", label))
            for target in outputs:
                self._edges.append((f"t{number}", f"o{target}", ""))

    def make_dot(self, name: str = "Graph") -> str:
        """Return the graph in the language of Graphviz."""
        lines = [f"digraph {_dot_text(name)} {{"]
        for node, texts, is_task, colour in self._nodes:
            shape = "box" if is_task else "oval"
            style = f", style=filled, fillcolor={_dot_text(colour)}" if colour else ""
            lines.append(f"  {node} [label={_dot_text(*texts)}, shape={shape}{style}];")
        for source, target, label in self._edges:
            text = f" [label={_dot_text(label)}]" if label else ""
            lines.append(f"  {source} -> {target}{text};")
        return "\n".join([*lines, "}", ""])

    def make_mermaid(self) -> str:
        """Return the graph as Mermaid text, which GitHub and notebooks draw from Markdown."""
        lines = ["flowchart TD"]
        for node, texts, is_task, _ in self._nodes:
            begin, end = ("[", "]") if is_task else ("([", "])")
            lines.append(f"  {node}{begin}{_mermaid_text(*texts)}{end}")
        for source, target, label in self._edges:
            text = f"|{_mermaid_text(label)}|" if label else ""
            lines.append(f"  {source} -->{text} {target}")
        for colour in dict.fromkeys(node[3] for node in self._nodes if node[3]):
            nodes = ",".join(node[0] for node in self._nodes if node[3] == colour)
            lines.append(f"  classDef c{colour[1:]} fill:{colour}")
            lines.append(f"  class {nodes} c{colour[1:]}")
        return "\n".join([*lines, ""])

    def make_svg(self) -> str:
        """Return the graph drawn by Graphviz.

        Raises
        ------
        RainException
            The package ``graphviz`` or its program ``dot`` is not installed.
        """
        return self._draw("svg").decode()

    def write(self, filename: str | PathLike[str]) -> None:
        """Write the graph to a file, which is replaced.

        Its name says how: ``.svg``, ``.png`` and ``.pdf`` are drawn (see make_svg), ``.mmd`` and
        ``.mermaid`` are Mermaid; all else is Graphviz's language.
        """
        import os

        kind = os.path.splitext(os.fspath(filename))[1].lower()
        if kind in (".svg", ".png", ".pdf"):
            content = self._draw(kind[1:])
        elif kind in (".mmd", ".mermaid"):
            content = self.make_mermaid().encode()
        else:
            content = self.make_dot().encode()
        with open(filename, "wb") as file:
            file.write(content)

    def show(self) -> None:
        """Open a picture of the graph in the program for such; it is there while this object is.

        Raises as make_svg().
        """
        import tempfile
        import webbrowser
        from pathlib import Path

        svg = self.make_svg()
        self._folder = tempfile.TemporaryDirectory(prefix="rain-graph-")
        path = Path(self._folder.name) / "graph.svg"
        path.write_text(svg, encoding="utf-8")
        if not webbrowser.open(path.as_uri()):
            raise RainException(
                'no program that shows pictures was found: use write("graph.svg"), or '
                "print make_mermaid()"
            )

    def _draw(self, kind: str) -> bytes:
        hint = (
            'use make_dot() or make_mermaid(), or install it: pip install "graphviz", and the '
            "system's package graphviz for the program dot"
        )
        try:
            import graphviz
        except ImportError:
            raise RainException(
                f"the Python package graphviz, which draws graphs, is not installed: {hint}"
            ) from None
        try:
            drawn: bytes = graphviz.Source(self.make_dot()).pipe(format=kind)
        except graphviz.ExecutableNotFound:
            raise RainException(
                f"the program dot of Graphviz, which draws graphs, is not installed: {hint}"
            ) from None
        return drawn

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        bundle = {"text/plain": repr(self), "text/vnd.mermaid": self.make_mermaid()}
        if len(self._nodes) <= _DRAWN_UNASKED:
            with suppress(RainException):
                bundle["image/svg+xml"] = self.make_svg()
        return bundle

    def __repr__(self) -> str:
        tasks = sum(node[2] for node in self._nodes)
        return f"<Graph of {tasks} tasks and {len(self._nodes) - tasks} data objects>"


def _dot_text(*lines: str) -> str:
    """Return a quoted string of Graphviz's language that stands for these lines."""
    escaped = (
        line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\0", "\ufffd")
        for line in lines
    )
    return '"' + "\\n".join(escaped) + '"'


def _mermaid_text(*lines: str) -> str:
    """Return a quoted string of Mermaid that stands for these lines."""
    text = "\n".join(lines) or " "
    parts = []
    for c, following in zip(text, text[1:] + " ", strict=True):
        # "- x" and "1. x" would be lists.
        plain = c.isalnum() or c in " _/=:()\n" or (c in "-." and following.isalnum())
        parts.append(c if plain else f"#{ord(c)};")
    return '"' + "".join(parts).replace("\n", "<br/>") + '"'
