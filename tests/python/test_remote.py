"""@remote: declarations, arguments, results, exceptions, logs."""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rain.client import (
    Client,
    Input,
    Output,
    RainException,
    RainWarning,
    Remote,
    Session,
    TaskException,
    UsageError,
    blob,
    pickled,
    remote,
)


def fetched(task: Any) -> bytes:
    data: bytes = task.output.fetch().get_bytes()
    return data


# ---- declaration and call ---------------------------------------------------------------------


def test_without_parentheses_it_decorates_as_well(graph: Session) -> None:
    @remote
    def hello(ctx: Any, a: Any) -> None: ...

    assert isinstance(hello, Remote)
    assert hello.name == "hello"
    assert len(hello(1).outputs) == 1
    with pytest.raises(RainException, match="remote\\(\\) arg 5 is not a function"):
        remote(5)  # type: ignore[call-overload]


def test_call_makes_a_task_with_the_function_as_first_input(graph: Session) -> None:
    @remote()
    def hello(ctx: Any, a: Any, *rest: Any, **named: Any) -> None: ...

    first, second, third = (blob(str(i)) for i in range(3))
    task = hello(first, second, third, [second, {"x": first}], k=third)
    assert task.task_type == "py/"
    assert task.name == "hello"
    assert [label for label, _ in task.inputs.items()] == [
        None,
        "a{0}",
        "rest[0]{0}",
        "rest[1]{0}",
        "rest[2]{0}",
        "rest[2]{1}",
        "k{0}",
    ]
    assert list(task.inputs)[1:] == [first, second, third, second, first, third]
    assert task.inputs[0].content_type == "cloudpickle"
    assert task.inputs[0].is_kept()
    assert task.outputs[0].label == "out0"
    assert set(task.spec.config) == {"args", "kwargs", "encode_outputs"}


def test_function_is_sent_once_per_session(graph: Session) -> None:
    @remote()
    def hello(ctx: Any) -> None: ...

    other = Session(None, 8)
    assert hello().inputs[0] is hello().inputs[0]
    elsewhere = hello(session=other)
    assert elsewhere.session is other
    assert elsewhere.inputs[0].session is other


def test_wrong_arguments_raise_what_python_raises(graph: Session) -> None:
    @remote()
    def test(ctx: Any, a: Any, c: Any = 0, *args: Any, d: Any) -> None: ...

    with pytest.raises(TypeError, match="required argument: 'a'"):
        test()
    with pytest.raises(TypeError, match="required argument: 'd'"):
        test(0, e=0)
    with pytest.raises(TypeError, match="required argument: 'a'"):
        test(d=0)
    test(0, d=True)


@pytest.mark.parametrize(
    ("declared", "labels"),
    [
        (2, ["out0", "out1"]),
        (0, []),
        ("abc", ["abc"]),
        (("a", Output("b")), ["a", "b"]),
        (Output(content_type="json"), ["out0"]),
    ],
    ids=str,
)
def test_outputs_are_declared_by_argument_or_annotation(
    graph: Session, declared: Any, labels: list[str]
) -> None:
    def function(ctx: Any) -> None: ...

    assert [o.label for o in Remote(function, outputs=declared)().outputs] == labels
    function.__annotations__["return"] = declared
    function.__code__ = (lambda ctx: None).__code__.replace(co_flags=0x43)
    assert [o.label for o in Remote(function)().outputs] == labels


def test_call_overrides_labels(graph: Session) -> None:
    @remote(outputs=(Output("a", content_type="json"), "b"))
    def function(ctx: Any) -> None: ...

    task = function(outputs=("x", None))
    assert [o.label for o in task.outputs] == ["x", "b"]
    assert task.outputs[0].content_type == "json"
    with pytest.raises(ValueError, match="Got 1 outputs, 2 expected"):
        function(output="x")
    with pytest.raises(KeyError):
        function(outputs=("x", "x"))


def test_only_functions_are_remote() -> None:
    with pytest.raises(RainException, match="is not a function"):
        remote()(5)  # type: ignore[arg-type]


def test_call_needs_a_session() -> None:
    @remote()
    def hello(ctx: Any) -> None: ...

    with pytest.raises(RainException, match="No active session"):
        hello()


def test_what_cannot_be_pickled_is_named(graph: Session) -> None:
    @remote()
    def hello(ctx: Any, a: Any = None) -> None: ...

    class Endless:
        def __reduce__(self) -> Any:
            return Endless, (), {"next": Endless()}

    obj = blob("x")

    @remote()
    def refers(ctx: Any) -> Any:
        return obj

    with pytest.raises(RainException, match="argument 'a' of remote function 'hello'"):
        hello(threading.Lock())
    with pytest.raises(RainException, match="argument 'a' of remote function 'hello'"):
        hello(Endless())
    with pytest.raises(RainException, match="'refers' cannot be pickled: it refers to <DataObject"):
        refers()


def test_large_argument_warns_and_travels(session: Session) -> None:
    @remote()
    def size(ctx: Any, a: Any, b: Any, c: Any) -> Any:
        assert isinstance(a, str)
        assert isinstance(b, bytes)
        assert not c.flags.owndata
        return f"{len(a)} {len(b)} {c.shape} {c.sum():.0f} {c.flags.f_contiguous}"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = size("x" * 400_000, b"y" * 300_000, np.ones((300, 200)).T)
    assert [str(warning.message)[:23] for warning in caught] == [
        f"Pickled object {name} length" for name in "abc"
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert fetched(task) == b"400000 300000 (200, 300) 60000 True"


# ---- running ----------------------------------------------------------------------------------


def test_data_objects_anywhere_become_instances(session: Session) -> None:
    @remote()
    def test(ctx: Any, a: Any, b: Any, c: Any, d: Any = 0, **kwargs: Any) -> bytes:
        found = (a, b.get_bytes(), c["a"].get_str(), c["b"][3].get_bytes(), d, kwargs["e"](4))
        return pickle.dumps((*found[:5], found[5].get_bytes()))

    bs = [blob(str(i)) for i in range(5)]
    task = test([True], bs[0], {"a": bs[1], "b": bs}, d=42, e=lambda x: bs[x])
    assert pickle.loads(fetched(task)) == ([True], b"0", "1", b"3", 42, b"4")


def test_keyword_arguments_use_their_own_input(session: Session) -> None:
    @remote(inputs={"a": Input(load=True), "rest": Input(content_type="json", load=True)})
    def test(ctx: Any, a: Any, b: Any = None, **rest: Any) -> bytes:
        local = (a, type(b).__name__, rest["x"])
        return repr(local).encode()

    assert fetched(test(a=blob("text"), b=blob("b"), x=blob(b"[1]"))) == (
        b"('text', 'DataInstance', [1])"
    )


def test_auto_load_and_auto_encode(session: Session) -> None:
    @remote(auto_load=True, auto_encode="pickle", outputs=2)
    def both(ctx: Any, a: Any) -> Any:
        return a, {a: 1}

    task = both(pickled((1, 2)))
    task.keep_outputs()
    session.submit()
    assert [item.load() for item in task.fetch_outputs()] == [(1, 2), {(1, 2): 1}]
    assert task.outputs[0].content_type == "pickle"


def test_incompatible_content_type_fails_the_task(session: Session) -> None:
    @remote(inputs={"a": Input(content_type="json")})
    def test(ctx: Any, a: Any) -> bytes:
        return b""

    with pytest.raises(TaskException, match="Incompatible content types"):
        fetched(test(blob("text")))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.arange(24, dtype=">i2").reshape(4, 6).T,
        np.zeros((0, 3)),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1, (2.0, 3.0))], [("a", "i4"), ("b", "f8", (2,))]),
        np.ones(200_000),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_array_comes_back_as_array(session: Session, array: Any) -> None:
    @remote()
    def same(ctx: Any, a: Any) -> Any:
        return a

    @remote(auto_load=True)
    def twice(ctx: Any, a: Any) -> Any:
        return a

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        result = twice(same(array)).output.fetch().load()
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(
    ("outputs", "result", "text"),
    [
        (0, 5, "No returned value allowed"),
        (1, object, "Invalid result object"),
        pytest.param(1, (i for i in "ab"), "Invalid result object", id="1-generator"),
        pytest.param(2, (i for i in "ab"), "not a sequence type", id="2-generator"),
        (2, "ab", "not a sequence type"),
        (2, (b"",), "Python task should return 2 outputs, got 1."),
        (("a", "b"), {"a": b""}, "KeyError: 'b'"),
    ],
    ids=str,
)
def test_wrong_result_fails_the_task(
    session: Session, outputs: Any, result: Any, text: str
) -> None:
    def function(ctx: Any, generator: bool) -> Any:
        return (i for i in "ab") if generator else result

    generator = hasattr(result, "send")
    if generator:
        result = None
    task = Remote(function, outputs=outputs)(generator)
    session.submit()
    with pytest.raises(TaskException, match=text):
        task.wait()


def test_results_by_label_and_by_position(session: Session) -> None:
    @remote(outputs=("x1", "x2"))
    def by_label(ctx: Any) -> Any:
        return {"x1": b"One", "x2": "Two", "x3": b"ignored"}

    @remote(outputs=2)
    def by_position(ctx: Any) -> Any:
        return [memoryview(b"abc"), bytearray(b"def")]

    tasks = by_label(), by_position()
    session.keep_all()
    session.submit()
    assert [o.get_bytes() for o in tasks[0].fetch_outputs()] == [b"One", b"Two"]
    assert [o.get_bytes() for o in tasks[1].fetch_outputs()] == [b"abc", b"def"]


def test_working_directory_is_empty_for_each_call(make_client: Callable[..., Client]) -> None:
    @remote()
    def leave(ctx: Any) -> Any:
        assert os.listdir(".") == []
        os.mkdir("sub")
        os.symlink("/", "link")
        with open("sub/file", "w") as file:
            file.write("x")
        os.chmod("sub", 0o500)
        return str(os.getpid())

    @remote()
    def stage(ctx: Any) -> Any:
        assert os.listdir(".") == []
        with open("file", "w") as file:
            file.write("Hello")
        staged = ctx.stage_file("file", content_type="text")
        assert os.listdir(".") == []
        return staged

    client = make_client(cpus=1)
    with client.new_session():
        assert len({fetched(leave()) for _ in range(3)}) == 1
        assert stage().output.fetch().load() == "Hello"


def test_failed_task_leaves_no_staged_files(make_client: Callable[..., Client]) -> None:
    @remote()
    def fail(ctx: Any) -> Any:
        os.mkdir("folder")
        open("file", "w").close()
        ctx.stage_directory("folder")
        ctx.stage_file("file")
        raise ValueError("on purpose")

    @remote()
    def staged(ctx: Any) -> Any:
        return str(os.listdir("../stage"))

    client = make_client(cpus=1)
    with client.new_session(on_error="continue") as session:
        task = fail()
        session.submit()
        with pytest.raises(ValueError, match="on purpose"):
            task.wait()
        assert fetched(staged()) == b"[]"


def test_context_has_the_classic_names(session: Session) -> None:
    @remote()
    def test(ctx: Any, a: Any) -> Any:
        assert ctx.function.__name__ == "test"
        assert ctx.spec.task_type == "py/"
        assert len(ctx.spec.inputs) == 2
        assert len(ctx.spec.outputs) == 1
        assert a.spec.id == ctx.spec.inputs[1].id
        ctx.info.user["found"] = [1, a.info.size]
        ctx.debug("line {}", 1)
        a.info.user["new"] = {"x": 1}
        assert ctx.blob("text").content_type == "text"
        assert ctx.pickled([1]).load() == [1]
        return a

    task = test(blob("abc"))
    assert fetched(task) == b"abc"
    assert task.info.user == {"found": [1, 3]}
    assert task.info.debug == "line 1"
    assert task.output.info.user == {"new": {"x": 1}}
    assert task.output.fetch().content_type == "text"


def test_remote_can_be_an_argument_and_a_global(session: Session) -> None:
    @remote()
    def inner(ctx: Any) -> bytes:
        return b"inner"

    @remote()
    def outer(ctx: Any, other: Any) -> Any:
        assert inner.name == "inner"
        with pytest.raises(RainException, match="No active session"):
            inner()
        return other.fn(ctx)

    assert fetched(outer(inner)) == b"inner"


# ---- exceptions and logs ----------------------------------------------------------------------


class OwnError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.first = first


class Lying(Exception):  # noqa: N818
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class Nested(Exception):  # noqa: N818
    def __reduce__(self) -> Any:
        return Nested, (Nested(),)


def raised(session: Session, make: Callable[[], BaseException]) -> TaskException:
    @remote()
    def fail(ctx: Any) -> None:
        raise make()

    with session.client.new_session(on_error="continue") as inner:  # type: ignore[union-attr]
        task = fail()
        inner.submit()
        with pytest.raises(TaskException) as caught:
            task.wait()
        return caught.value


def test_exception_arrives_as_what_it_was(session: Session) -> None:
    error = raised(session, lambda: FileNotFoundError(2, "missing", "/some/path"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (2, "/some/path")
    assert "Message: Traceback" in str(error)
    assert "missing" in str(error.__cause__)
    assert type(error.original) is FileNotFoundError
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, FileNotFoundError)
    assert str(again) == str(error)


def test_exception_of_a_local_class_is_recognised(session: Session) -> None:
    class LocalError(KeyError):
        pass

    error = raised(session, lambda: LocalError("k"))
    assert isinstance(error, LocalError)
    assert error.args == ("k",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OwnError(1, 2),
        lambda: Lying(),
        lambda: Nested(),
        lambda: ValueError(threading.Lock()),
        lambda: ValueError("x" * (2 << 20)),
        lambda: SystemExit(3),
        lambda: StopIteration(3),
    ],
)
def test_exception_that_cannot_travel_is_a_task_exception(
    session: Session, make: Callable[[], BaseException]
) -> None:
    error = raised(session, make)
    assert type(error) is TaskException
    assert "Traceback" in error.message


def test_logs_are_what_this_task_printed(session: Session) -> None:
    @remote()
    def say(ctx: Any, what: str) -> bytes:
        import sys

        print(f"out {what}", end="", flush=bool(what))  # before the child
        print(f"err {what}", file=sys.stderr)
        if what:
            os.system("echo from a child")
        return b""

    tasks = [say(str(i)) for i in range(20)] + [say("")]
    session.submit()
    session.wait_all()
    for i, task in enumerate(tasks[:-1]):
        assert task.logs() == f"out {i}from a child\nerr {i}\n"
    assert tasks[-1].logs() == "out err \n"
    session.close()
    with pytest.raises(UsageError, match="logs"):
        tasks[0].logs()


def test_large_logs_are_cut(session: Session) -> None:
    @remote()
    def say(ctx: Any) -> bytes:
        print("x" * (3 << 20))
        return b""

    task = say()
    session.submit()
    task.wait()
    assert task.logs().startswith("... (2097153 bytes before this)\nx")
