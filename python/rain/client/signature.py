"""What a task takes and gives, as its executor announced it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect

    from rain import _core


class Signature:
    """The inputs and outputs of a task.

    Attributes
    ----------
    inputs : tuple of (str, str)
        Name, which may be empty, and type of each; the type is a text such as "ndarray float64 of
        2 dimensions".
    outputs : tuple of str
        Their types.
    """

    __slots__ = ("inputs", "outputs")

    def __init__(self, raw: _core.SignatureTuple) -> None:
        inputs, outputs = raw
        self.inputs = tuple((name, type_) for type_, name in inputs)
        self.outputs = tuple(type_ for type_, _ in outputs)

    def __str__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" if name else type_ for name, type_ in self.inputs)
        given = self.outputs[0] if len(self.outputs) == 1 else f"({', '.join(self.outputs)})"
        return f"({inputs}) -> {given}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signature):
            return NotImplemented
        return self.inputs == other.inputs and self.outputs == other.outputs

    def __hash__(self) -> int:
        return hash((self.inputs, self.outputs))

    def of_python(self) -> inspect.Signature:
        """Return it as help() and notebooks show it, with the keywords of a call."""
        import inspect

        kinds = inspect.Parameter
        parameters = [
            kinds(
                name if name.isidentifier() else f"input{i}",
                kinds.POSITIONAL_ONLY,
                annotation=type_,
            )
            for i, (name, type_) in enumerate(self.inputs)
        ]
        parameters.append(kinds("outputs", kinds.KEYWORD_ONLY, default=1))
        parameters.append(kinds("options", kinds.VAR_KEYWORD))
        return inspect.Signature(parameters, return_annotation="Task")
