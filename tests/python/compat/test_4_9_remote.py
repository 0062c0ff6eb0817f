"""Reference 4.9 and 3.3: @remote, the context and the data instances of a Python task."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    Input,
    Output,
    RainException,
    RainWarning,
    Remote,
    Session,
    Task,
    TaskException,
    blob,
    directory,
    pickled,
    remote,
)

pytest.importorskip("cloudpickle")


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Iterator[Session]:
    """A session with no registered executor: `py` is always there."""
    with make_client(executors={}, cpus=2).new_session(on_error="continue") as session:
        yield session


def value_of(task: Task) -> bytes:
    return task.output.fetch().get_bytes()


def message_of(task: Task) -> str:
    task.session.submit()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the original type, where it can be
        task.wait()
    return str(caught.value)


# ---- declaration -------------------------------------------------------------------------------


def test_remote_needs_a_function() -> None:
    with pytest.raises(RainException, match=r"^remote\(\) arg 17 is not a function$"):
        remote()(17)  # type: ignore[arg-type]


def test_first_parameter_is_the_context(session: Session) -> None:
    @remote()
    def f(ctx: Any, a: bytes, b: bytes = b"b") -> Any:
        return a + b

    assert isinstance(f, Remote)
    assert value_of(f(b"a")) == b"ab"
    assert value_of(f(b"a", b=b"c")) == b"ac"


def test_wrong_arguments_raise_as_python_does(session: Session) -> None:
    @remote()
    def f(ctx: Any, a: Any) -> Any:
        return b""

    with pytest.raises(TypeError, match="required argument: 'a'"):
        f()
    with pytest.raises(TypeError, match="too many positional arguments"):
        f(1, 2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'b'"):
        f(1, b=2)


def test_outputs_are_declared_in_several_ways(session: Session) -> None:
    @remote(outputs=["a", Output("b", encode="json")])
    def by_argument(ctx: Any) -> Any:
        return b"1", 2

    @remote()
    def by_annotation(ctx) -> ("a", "b"):  # type: ignore[no-untyped-def, valid-type] # noqa: F821
        return {"b": b"2", "a": b"1"}

    @remote(outputs=2)
    def by_number(ctx: Any) -> Any:
        return b"1", b"2"

    @remote()
    def single(ctx: Any):  # type: ignore[no-untyped-def]
        return b"1"

    @remote(outputs=0)
    def none(ctx: Any) -> Any:
        return None

    for factory, labels in (
        (by_argument, ["a", "b"]),
        (by_annotation, ["a", "b"]),
        (by_number, ["out0", "out1"]),
        (single, ["out0"]),
        (none, []),
    ):
        task = factory()
        assert [output.label for output in task.outputs] == labels
        task.keep_outputs()
        session.submit()
        task.wait()
        assert [data.get_bytes() for data in task.fetch_outputs()] == [b"1", b"2"][: len(labels)]


def test_q23_a_str_is_one_output(session: Session) -> None:
    @remote(outputs="abc")
    def f(ctx: Any) -> Any:
        return b""

    @remote()
    def g(ctx) -> Output("x", encode="json"):  # type: ignore[no-untyped-def, valid-type]
        return [1]

    assert [output.label for output in f().outputs] == ["abc"]
    assert g().output.fetch().load() == [1]


def test_inputs_are_declared_by_argument_and_by_annotation(session: Session) -> None:
    @remote(inputs={"a": Input(load=True), "rest": Input(load=True), "named": Input(load=True)})
    def f(ctx, a, b: Input(content_type="json", load=True), *rest, c=None, **named):  # type: ignore[no-untyped-def, valid-type]
        return repr((a, b, rest, c.get_bytes() if c else None, named))

    task = f(
        blob("a"), blob(b"[1]"), blob("r"), pickled({2}), c=blob("c"), n=blob("n"),
    )  # fmt: skip
    assert value_of(task).decode() == repr(("a", [1], ("r", {2}), b"c", {"n": "n"}))  # Q29


def test_name_and_cpus(session: Session) -> None:
    @remote(cpus=2)
    def function(ctx: Any) -> Any:
        return b""

    @remote(name="group/mine")
    def other(ctx: Any) -> Any:
        return b""

    assert (function().name, function().cpus) == ("function", 2)
    assert other().name == "group/mine"
    assert other(name="call").name == "call"


def test_q28_remote_class_needs_no_inputs(session: Session) -> None:
    assert value_of(Remote(lambda ctx, a: a, name="f")(b"x")) == b"x"


# ---- the call ----------------------------------------------------------------------------------


def test_task_is_of_type_py_with_the_function_as_first_input(session: Session) -> None:
    @remote()
    def f(ctx: Any, a: Any, *rest: Any) -> Any:
        return b""

    data = blob("x")
    task = f([data, {"k": data}, blob("y")], data)
    assert task.task_type == "py/"
    assert set(task.spec.config) == {"args", "kwargs", "encode_outputs"}
    assert (task.inputs[0].label, task.inputs[0].content_type) == ("f", "cloudpickle")
    assert list(task.inputs)[1:] == [data, task.inputs[2], data]
    assert [task.inputs.get_label(i) for i in range(1, 4)] == ["a{0}", "a{1}", "rest[0]{0}"]
    assert f(1).inputs[0] is task.inputs[0]  # the function is sent once per session


def test_data_objects_and_tasks_anywhere_become_instances(session: Session) -> None:
    @remote()
    def f(ctx: Any, structure: Any) -> Any:
        return structure["deep"][0][0].get_bytes() + structure["task"].get_bytes()

    assert value_of(f({"deep": [(blob("a"),)], "task": f({"deep": [[blob("b")]], "task": blob("c")})})) == b"abc"  # fmt: skip # noqa: E501


def test_task_with_several_outputs_is_no_argument(session: Session) -> None:
    @remote(outputs=2)
    def f(ctx: Any, a: Any = None) -> Any:
        return b"", b""

    with pytest.raises(RainException, match="returns multiple outputs"):
        f(f())


def test_large_argument_warns_and_arrives(session: Session) -> None:
    @remote()
    def f(ctx: Any, a: Any) -> Any:
        return str(len(a))

    with pytest.warns(RainWarning, match="PICKLE_ARG_SIZE_LIMIT=262144. Consider using a blob"):
        task = f("x" * 300_000)
    assert value_of(task) == b"300000"


def test_q43_session_argument_takes_the_function_too(
    make_client: Callable[..., Client], session: Session
) -> None:
    client = session.client
    assert client is not None
    other = client.new_session()

    @remote()
    def f(ctx: Any, a: Any) -> Any:
        return a

    task = f(b"x", session=other)
    assert task.session is other
    assert {data.session for data in task.inputs} == {other}
    assert value_of(task) == b"x"
    other.close()


# ---- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "result", "text"),
    [
        (0, b"x", "No returned value allowed"),
        (2, [b"1"], "Python task should return 2 outputs, got 1."),
        (2, 17, "Invalid result of task (not a sequence type): 17"),
        (2, {"out0": b""}, "out1"),
        (1, 17, "Invalid result"),
        (1, (b"x", b"y"), "Invalid result"),
    ],
)
def test_results_that_do_not_fit(session: Session, outputs: int, result: Any, text: str) -> None:
    @remote(outputs=outputs)
    def f(ctx: Any) -> Any:
        return result

    assert text in message_of(f())


def test_results_get_their_content_types(session: Session) -> None:
    @remote(auto_encode="pickle", outputs=[Output("a"), Output("b", encode="json")])
    def f(ctx: Any) -> Any:
        return {1}, [2]

    @remote(outputs=2)
    def plain(ctx: Any) -> Any:
        return "text", b"bytes"

    for function, types in ((f, ["pickle", "json"]), (plain, ["text", None])):
        task = function()
        task.keep_outputs()
        session.submit()
        assert [data.content_type for data in task.fetch_outputs()] == types


def test_exception_has_the_traceback(session: Session) -> None:
    @remote()
    def f(ctx: Any) -> Any:
        ctx.debug("note {}", 1)
        raise ZeroDivisionError("on purpose")

    task = f()
    session.submit()
    with pytest.raises((TaskException, ZeroDivisionError)) as caught:
        task.wait()
    assert "on purpose" in str(caught.value)
    assert task.info is not None
    assert "ZeroDivisionError: on purpose" in task.info.error
    assert task.info.debug == "note 1"


# ---- context and instances ---------------------------------------------------------------------


def test_q14_blob_of_a_str_is_text(session: Session) -> None:
    @remote()
    def f(ctx: Any) -> Any:
        return ctx.blob("text")

    data = f().output.fetch()
    assert (data.load(), data.content_type) == ("text", "text")


def test_context_pickled_and_content_type(session: Session) -> None:
    @remote(outputs=2)
    def f(ctx: Any) -> Any:
        return ctx.pickled({1}), ctx.blob(b"x", content_type="user/x")

    task = f()
    task.keep_outputs()
    session.submit()
    first, second = task.fetch_outputs()
    assert (first.load(), first.content_type, second.content_type) == ({1}, "pickle", "user/x")


def test_staged_path_is_relative(session: Session) -> None:
    @remote()
    def f(ctx: Any) -> Any:
        return ctx.stage_file("/etc/passwd")

    assert "has to be relative" in message_of(f())


def test_q13_failure_after_staging_leaves_the_executor_alive(session: Session) -> None:
    @remote()
    def pid(ctx: Any) -> Any:
        return str(os.getpid())

    @remote()
    def f(ctx: Any) -> Any:
        Path("file").write_text("x")
        ctx.stage_file("file")
        raise ValueError("after staging")

    before = value_of(pid())
    assert "after staging" in message_of(f())
    assert value_of(pid()) == before


def test_q36_linked_directory_disturbs_no_later_call(session: Session, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")

    @remote()
    def link(ctx: Any, tree: Any) -> Any:
        tree.link("linked")
        return ",".join(os.listdir("linked"))

    @remote()
    def look(ctx: Any) -> Any:
        return str(os.listdir("."))

    tree = directory(tmp_path)
    tree.keep()
    for _ in range(3):
        assert value_of(link(tree)) == b"x"
        assert value_of(look()) == b"[]"


def test_q12_dynamic_content_type_is_known_downstream(session: Session) -> None:
    @remote()
    def make(ctx: Any) -> Any:
        return ctx.blob({"a": 1}, encode="json")

    @remote(auto_load=True)
    def use(ctx: Any, data: Any) -> Any:
        return str(data["a"])

    @remote()
    def through(ctx: Any, data: Any) -> Any:
        return data

    assert value_of(use(make())) == b"1"
    assert through(make()).output.fetch().content_type == "json"


def test_user_attributes_of_tasks_and_objects(session: Session) -> None:
    @remote()
    def f(ctx: Any, data: Any) -> Any:
        ctx.info.user["seen"] = ctx.spec.user["mine"]
        data.info.user["passed"] = True
        return data

    task = f(blob("x"))
    task.spec.user["mine"] = [1, 2]
    task.output.fetch()
    assert task.info is not None
    assert task.info.user == {"seen": [1, 2]}
    assert task.output.info is not None
    assert task.output.info.user["passed"] is True
