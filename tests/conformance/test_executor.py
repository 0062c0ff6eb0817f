"""What every executor does, in both protocols, driven through its socket."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

import pytest
from calls import SESSION, In, Out, Result, Tester
from fake_governor import ConnectionLostError
from kinds import ALL, BOTH, OLD, PYTHON, Start

all_executors = pytest.mark.parametrize("kind", ALL)
both_languages = pytest.mark.parametrize("kind", BOTH)
python_only = pytest.mark.parametrize("kind", PYTHON)


def alive(tester: Tester) -> bool:
    return tester.call("hello", [b"again"]).data == b"Hello again!"


# ---- Registration -------------------------------------------------------------------------------


@all_executors
def test_registers_with_the_id_and_type_it_was_given(start: Start, kind: str) -> None:
    tester = start(kind, begin=False, executor_id=1234)
    registered = tester.executor.expect_register()
    assert registered["protocol"] == tester.executor.protocol
    assert registered["executor_id"] == 1234
    assert registered["executor_type"] == tester.type


@pytest.mark.parametrize("kind", OLD)
def test_register_of_cbor_1_has_no_other_keys(start: Start, kind: str) -> None:
    tester = start(kind, begin=False)
    assert set(tester.executor.expect_register()) == {"protocol", "executor_id", "executor_type"}


@pytest.mark.parametrize("kind", OLD)
@pytest.mark.parametrize("value", ["cbor-2@/elsewhere/socket", "cbor-2", "cbor-9@{socket}", ""])
def test_another_sockets_protocols_mean_an_older_governor(
    start: Start, kind: str, value: str, tmp_path: Path
) -> None:
    directory = tmp_path / "inner"
    protocols = value.format(socket=directory / "socket")
    tester = start(
        kind,
        begin=False,
        directory=directory,
        environment={"RAIN_EXECUTOR_PROTOCOLS": protocols},
    )
    assert tester.executor.expect_register()["protocol"] == "cbor-1"
    assert alive(tester)


@both_languages
def test_connects_to_a_path_longer_than_a_socket_address(
    start: Start, kind: str, tmp_path: Path
) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    assert alive(start(kind, directory=directory))


# ---- Calls --------------------------------------------------------------------------------------


@all_executors
def test_runs_a_task(shared: Start, kind: str) -> None:
    tester = shared(kind)
    result = tester.call("hello", [b"world"])
    assert result.data == b"Hello world!"
    assert result.task == (SESSION, tester.next_number - 2)


@all_executors
def test_keeps_its_process_from_call_to_call(start: Start, kind: str) -> None:
    tester = start(kind)
    assert [tester.call("count_calls").data for _ in range(3)] == [b"1", b"2", b"3"]
    assert int(tester.call("pid").data) == tester.executor.process.pid


@all_executors
@pytest.mark.parametrize(
    "text", [b"", b"x", b"\x00\xff" * 500, "žluťoučký".encode(), b"m" * 60_000]
)
def test_data_in_the_message_arrive_as_they_are(shared: Start, kind: str, text: bytes) -> None:
    tester = shared(kind)
    assert tester.call("hello", [text]).outputs[0].data == b"Hello " + text + b"!"


@all_executors
@pytest.mark.parametrize("size", [0, 1, 5, 300_000])
def test_reads_an_input_from_a_path(shared: Start, kind: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"p" * size)
    path.chmod(0o400)
    result = shared(kind).call("concat", [In(path), b"-", In(path)])
    assert result.outputs[0].data == b"p" * size + b"-" + b"p" * size


@both_languages
@pytest.mark.parametrize("files", [{}, {"a": "1", "d/b": ""}])
def test_reads_makes_and_passes_on_directories(
    shared: Start, kind: str, files: dict[str, str], tmp_path: Path
) -> None:
    tester = shared(kind)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    listing = "\n".join(f"{name}={content}" for name, content in sorted(files.items()))
    given = In(tmp_path, number=900, directory=True)
    assert tester.call("list_directory", [given]).data.decode() == listing
    passed = tester.call("echo", [given], [Out(directory=True)])
    assert passed.outputs[0].at == (
        ["other_object", [SESSION, 900]] if not tester.cbor2 else [SESSION, 900]
    )
    made = tester.call("make_directory", [], [Out(directory=True)], config=files)
    assert made.success, made.error
    at = made.outputs[0].at
    path = Path(at if tester.cbor2 else at[1])
    assert path.is_relative_to(tester.executor.directory)
    assert tester.call("list_directory", [In(path, directory=True)]).data.decode() == listing


@all_executors
def test_takes_several_inputs_in_order_and_one_of_them_twice(shared: Start, kind: str) -> None:
    inputs = [In(b"a", number=500), In(b"b", number=501), In(b"a", number=500)]
    assert shared(kind).call("concat", inputs).data == b"aba"


@all_executors
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_makes_as_many_outputs_as_declared(shared: Start, kind: str, n: int) -> None:
    result = shared(kind).call("split" if n else "echo", [b"0123456789"] if n else [], n)
    assert result.success, result.error
    assert [output.data for output in result.outputs] == [
        b"0123456789"[10 * i // n : 10 * (i + 1) // n] for i in range(n)
    ]


@all_executors
def test_reads_doubles_where_they_lie(shared: Start, kind: str) -> None:
    numbers = [0.5, -1.25, 1e300, 3.0]
    data = struct.pack("4d", *numbers)
    assert struct.unpack("d", shared(kind).call("sum_doubles", [data, data]).data) == (
        2 * math.fsum(numbers),
    )


@all_executors
def test_passes_an_input_on_without_its_data(shared: Start, kind: str) -> None:
    tester = shared(kind)
    inputs = [In(b"one", number=700), In(b"two", number=701)]
    result = tester.call("echo", inputs, 2)
    assert [output.at for output in result.outputs] == (
        [[SESSION, 700], [SESSION, 701]]
        if tester.cbor2
        else [["other_object", [SESSION, 700]], ["other_object", [SESSION, 701]]]
    )


@both_languages
def test_passes_one_input_on_as_several_outputs(shared: Start, kind: str) -> None:
    result = shared(kind).call("repeat", [In(b"one", number=700)], 3)
    assert [output.at for output in result.outputs] == [result.outputs[0].at] * 3
    assert result.outputs[0].at[-1] in (700, [SESSION, 700])


@all_executors
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_writes_an_output_in_place(shared: Start, kind: str, size: int) -> None:
    result = shared(kind).call("fill", config={"size": size, "byte": 7})
    assert result.data == b"\x07" * size


@all_executors
def test_keeps_only_the_beginning_of_an_output(shared: Start, kind: str) -> None:
    result = shared(kind).call("fill", config={"size": 900, "byte": 7, "shrink_to": 13})
    assert result.data == b"\x07" * 13


@pytest.mark.parametrize("kind", [*OLD, "raw-cbor-1"])
def test_result_of_cbor_1_has_only_the_keys_that_there_are(shared: Start, kind: str) -> None:
    tester = shared(kind)
    for result in (tester.call("hello", [b"x"]), tester.call("fail", [b"x"])):
        assert {"task", "success", "info"} <= set(result.raw)
        assert set(result.raw) <= {"task", "success", "info", "outputs", "cached_objects"}
        assert set(result.info) <= {"error", "debug", "user"}
        for output in result.raw.get("outputs", []):
            assert {"info", "location"} <= set(output) <= {"info", "location", "cache_hint"}


# ---- Metadata -----------------------------------------------------------------------------------


@both_languages
def test_knows_what_the_client_and_producers_said(shared: Start, kind: str) -> None:
    user = {"n": 1, "list": [1, 2.5, None, "x", {"k": True}], "big": 2**63, "small": -(2**63)}
    tester = shared(kind)
    result = tester.call(
        "attributes",
        [
            In(
                b"12345",
                label="object",
                task_label="task",
                content_type="text",
                user=user,
                info={"size": 5, "content_type": "text-latin1", "user": {"made": "by a task"}},
            ),
            In(b"", label="object", content_type="json"),
        ],
        [Out("first", "json", user={"want": "this"})],
        config={"a": [1, "two", 3.5], "b": None},
        name="a/name",
        cpus=3,
        user={"task": {"deep": [True]}},
    )
    seen = json.loads(result.data)
    assert seen == {
        "task_type": f"{tester.type}/attributes",
        "name": "a/name",
        "cpus": 3,
        "config": {"a": [1, "two", 3.5], "b": None},
        "user": {"task": {"deep": [True]}},
        "inputs": [
            {
                "label": "task",
                "content_type": "text-latin1",
                "size": 5,
                "is_directory": False,
                "spec_user": user,
                "info_user": {"made": "by a task"},
            },
            {
                "label": "object",
                "content_type": "json",
                "size": 0,
                "is_directory": False,
                "spec_user": {},
                "info_user": {},
            },
        ],
        "outputs": [
            {
                "label": "first",
                "content_type": "json",
                "is_directory": False,
                "spec_user": {"want": "this"},
            }
        ],
    }
    assert result.outputs[0].info["content_type"] == "json"
    assert result.outputs[0].info["user"] == {
        "numbers": [1, -2, 0.5, 2**64 - 1],
        "nested": {"b": True, "a": None},
    }
    assert result.info["user"] == {"seen_inputs": 2}


@both_languages
def test_a_task_without_config_and_names_sees_none(shared: Start, kind: str) -> None:
    seen = json.loads(shared(kind).call("attributes").data)
    assert seen["config"] is None
    assert (seen["name"], seen["cpus"], seen["user"], seen["inputs"]) == ("", 1, {}, [])


@both_languages
def test_debug_lines_are_joined(shared: Start, kind: str) -> None:
    tester = shared(kind)
    result = tester.call("debug", [b"one {x}", b"two\nthree"])
    assert result.info["debug"] == "one {x}\ntwo\nthree"
    assert "debug" not in tester.call("debug").info


# ---- Failures -----------------------------------------------------------------------------------


@all_executors
@pytest.mark.parametrize("message", [b'say "no"\\ \n\tand more', "ž".encode(), b"x" * 5000])
def test_a_failing_task_has_its_text_as_error(shared: Start, kind: str, message: bytes) -> None:
    tester = shared(kind)
    result = tester.call("fail", [message])
    assert not result.success
    assert message.decode() in result.error
    if not kind.startswith("python"):
        assert result.error == message.decode()  # not in quotes
    assert alive(tester)


@both_languages
def test_an_exception_is_the_tasks_error(shared: Start, kind: str) -> None:
    tester = shared(kind)
    result = tester.call("throw_std")
    assert not result.success
    assert "thrown on purpose" in result.error
    assert ("runtime_error" if kind.startswith("cpp") else "RuntimeError") in result.error
    if kind.startswith("cpp"):
        assert "cpptester/throw_std" in result.error
    assert alive(tester)


@both_languages
def test_anything_thrown_is_the_tasks_error(shared: Start, kind: str) -> None:
    """An int in C++, sys.exit(42) in Python."""
    tester = shared(kind)
    result = tester.call("throw_int")
    assert not result.success
    assert result.error
    assert alive(tester)


@python_only
def test_a_traceback_shows_the_tasks_frames_and_no_others(shared: Start, kind: str) -> None:
    error = shared(kind).call("throw_std").error
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("RuntimeError: thrown on purpose")
    assert error.count('  File "') == 1
    assert "pytester.py" in error
    assert 'raise RuntimeError("thrown on purpose")' in error


@python_only
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("throw_int", "SystemExit: 42"),
        ("throw_nasty", "Nasty"),
        ("throw_unmade", 'KeyError: "the exception\'s own constructor"'),
        ("throw_interrupt", "KeyboardInterrupt"),
        ("recurse", "RecursionError"),
    ],
)
def test_misbehaving_exceptions_are_errors_like_others(
    shared: Start, kind: str, method: str, words: str
) -> None:
    tester = shared(kind)
    result = tester.call(method)
    assert not result.success
    assert words in result.error
    assert alive(tester)


@both_languages
def test_an_unknown_method_names_the_known_ones(shared: Start, kind: str) -> None:
    tester = shared(kind)
    result = tester.call("helo", [b"x"])
    assert not result.success
    assert f"Method '{tester.type}/helo' not found in executor" in result.error
    assert "hello" in result.error
    assert alive(tester)


@both_languages
@pytest.mark.parametrize("task_type", ["elsewhere/hello", "hello", "", "/hello"])
def test_a_task_of_another_type_is_refused(shared: Start, kind: str, task_type: str) -> None:
    tester = shared(kind)
    result = tester.call("", [b"x"], task_type=task_type)
    assert not result.success
    assert tester.type in result.error
    assert alive(tester)


@pytest.mark.parametrize("kind", ["cpp-cbor-1", "cpp-cbor-2", "raw-cbor-1"])
def test_a_wrong_number_of_arguments_is_counted(shared: Start, kind: str) -> None:
    tester = shared(kind)
    for n in (0, 2):
        result = tester.call("hello", [b"x"] * n)
        assert not result.success
        assert result.error == f"Invalid number of arguments, expected = 1, but got = {n}"
    assert alive(tester)


@python_only
def test_a_wrong_number_of_arguments_is_a_type_error(shared: Start, kind: str) -> None:
    tester = shared(kind)
    assert "missing 1 required positional argument: 'name'" in tester.call("hello").error
    assert "but 3 were given" in tester.call("hello", [b"x", b"y"]).error
    assert alive(tester)


@both_languages
@pytest.mark.parametrize(("declared", "produced"), [(2, 0), (2, 1), (2, 3), (3, 40)])
def test_a_wrong_number_of_outputs_is_an_error(
    shared: Start, kind: str, declared: int, produced: int
) -> None:
    tester = shared(kind)
    result = tester.call("wrong_outputs", [], declared, config={"produce": produced})
    assert not result.success
    assert result.error.endswith(
        f"Task produced {produced} outputs, but expected {declared}"
        if kind.startswith("cpp")
        else f"Python task should return {declared} outputs, got {produced}."
    )
    assert not result.outputs
    assert alive(tester)


@both_languages
def test_an_error_larger_than_a_frame_is_cut(start: Start, kind: str) -> None:
    tester = start(kind)
    result = tester.call("big_error", config={"size": 150 << 20})
    assert not result.success
    assert "eeee" in result.error
    assert len(result.error) < 2 << 20
    assert alive(tester)


@both_languages
def test_a_failed_task_keeps_its_debug_lines(shared: Start, kind: str) -> None:
    result = shared(kind).call("debug", [b"before", In(Path("/nowhere/at/all"))])
    assert not result.success
    assert result.info["debug"] == "before"
    assert "/nowhere/at/all" in result.error
    assert not result.outputs


# ---- Results of Python tasks --------------------------------------------------------------------


def returned(tester: Tester, expression: str, outputs: int | list[Out] = 1) -> Result:
    return tester.call("return_of", [], outputs, config={"expression": expression})


@python_only
@pytest.mark.parametrize(
    ("expression", "data", "content_type"),
    [
        ("b'bytes'", b"bytes", ""),
        ("bytearray(b'array')", b"array", ""),
        ("memoryview(b'0123456')[2:5]", b"234", ""),
        ("memoryview(b'0123456')[::2]", b"0246", ""),
        ("'tex\\u0165'", "texť".encode(), "text"),
        ("__import__('array').array('d', [1.5])", struct.pack("d", 1.5), ""),
        ("ctx.blob('t')", b"t", "text"),
        ("ctx.blob(b't', content_type='user/x')", b"t", "user/x"),
        ("ctx.alloc(0)", b"", ""),
        ("b'x' * 100_000", b"x" * 100_000, ""),
    ],
)
def test_what_a_python_task_may_return(
    shared: Start, kind: str, expression: str, data: bytes, content_type: str
) -> None:
    tester = shared(kind)
    result = returned(tester, expression)
    assert result.data == data
    assert result.outputs[0].content_type == content_type


@python_only
@pytest.mark.parametrize("expression", ["None", "()"])
def test_a_task_without_outputs_returns_nothing(shared: Start, kind: str, expression: str) -> None:
    assert returned(shared(kind), expression, 0).success


@python_only
@pytest.mark.parametrize(
    ("expression", "outputs", "words"),
    [
        ("b'x'", 0, "No returned value allowed (0 outputs declared)"),
        ("None", 1, "Invalid result object: None"),
        ("[b'x']", 1, "Invalid result object: [b'x']"),
        ("3.5", 2, "Invalid result of task (not a sequence type): 3.5"),
        ("b'xy'", 2, "Invalid result of task (not a sequence type): b'xy'"),
        ("'xy'", 2, "Invalid result of task (not a sequence type): 'xy'"),
        ("(b'x', 1)", 2, "Invalid result object: 1"),
        ("{'out': b'x'}", 2, "KeyError: 'b'"),
        ("object()", 1, "Invalid result object: <object object at"),
        ("'\\ud800'", 1, "UnicodeEncodeError"),
        ("ctx.alloc(-1)", 1, "must not be negative"),
        ("ctx.alloc('x')", 1, "TypeError"),
        ("ctx.debug(1)", 0, "ctx.debug() takes a str, not int"),
        ("ctx.blob(1)", 1, 'encode="pickle"'),
        ("ctx.attributes.__setitem__('k', object())", 0, "attributes['k'] is of type object"),
        ("ctx.attributes.__setitem__('k', {1: 2})", 0, "only str keys are allowed"),
    ],
)
def test_what_a_python_task_may_not_return(
    shared: Start, kind: str, expression: str, outputs: int, words: str
) -> None:
    tester = shared(kind)
    declared = [Out("out"), Out("b")] if outputs == 2 else [Out("out")] * outputs
    result = returned(tester, expression, declared)
    assert not result.success
    assert words in result.error
    assert alive(tester)


@python_only
def test_several_outputs_by_label(shared: Start, kind: str) -> None:
    result = shared(kind).call("split_by_label", [b"x-"], [Out("b"), Out("a")])
    assert [output.data for output in result.outputs] == [b"x-b", b"x-a"]


@python_only
def test_a_context_kept_beyond_its_call_says_so(start: Start, kind: str) -> None:
    tester = start(kind)
    assert returned(tester, "setattr(sys, 'kept', ctx)", 0).success
    result = returned(tester, "sys.kept.task_type")
    assert "this context belongs to a call that is over" in result.error
    assert alive(tester)


@python_only
def test_what_a_task_prints_is_in_the_log_at_once(shared: Start, kind: str) -> None:
    tester = shared(kind)
    assert returned(tester, "print('printed by a task')", 0).success
    assert "printed by a task" in tester.executor.logs()


@python_only
def test_a_buffer_outlives_its_call_and_its_connection(start: Start, kind: str) -> None:
    tester = start(kind)
    if tester.cbor2:
        tester.executor.lease(tester.executor.add_region(1, 1 << 20), [(0, 1 << 20)])
    result = returned(tester, "setattr(sys, 'kept', ctx.alloc(100_000))", 0)
    assert result.success, result.error
    tester.executor.socket.close()
    assert tester.executor.wait_exit() == 0, tester.executor.logs()


# ---- Threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OLD)
def test_several_threads_answer_an_older_governors_calls_one_by_one(
    start: Start, kind: str
) -> None:
    tester = start(kind, threads=4)
    assert [tester.call("count_calls").data for _ in range(50)] == [
        str(i).encode() for i in range(1, 51)
    ]


# ---- The end ------------------------------------------------------------------------------------


@all_executors
def test_ends_when_the_socket_is_closed(start: Start, kind: str) -> None:
    tester = start(kind)
    assert alive(tester)
    tester.executor.socket.close()
    assert tester.executor.wait_exit() == 0, tester.executor.logs()


@both_languages
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x00\x00\x00\x00", id="frame of zero bytes"),
        pytest.param(b"\x01\x00\x00\x08" + b"x" * 100, id="frame over the limit"),
        pytest.param(b"\x08\x00\x00\x00" + b"\xff" * 8, id="no cbor"),
        pytest.param(b"\x01\x00\x00\x00\x00", id="an integer"),
        pytest.param(b"\x06\x00\x00\x00\x82\x64what", id="cut short"),
        pytest.param(b"\x07\x00\x00\x00\x82\x64what\xa0", id="unknown message"),
        pytest.param(b"\x07\x00\x00\x00\x82\x64call\xa0", id="call without keys"),
        pytest.param(b"\x08\x00\x00\x00\x82\x64call\xa0\x00", id="trailing byte"),
        pytest.param(b"\x08\x00\x00\x00\x82\x64call\x9b\xff", id="array without end"),
    ],
)
def test_nonsense_from_the_governor_ends_it_with_a_reason(
    start: Start, kind: str, data: bytes
) -> None:
    tester = start(kind)
    assert alive(tester)
    tester.executor.send_raw(data)
    assert tester.executor.at_end()
    assert tester.executor.wait_exit() != 0
    assert f"executor '{tester.type}' (id 7): " in tester.executor.logs()


@both_languages
def test_half_a_frame_and_the_end_is_an_error(start: Start, kind: str) -> None:
    tester = start(kind)
    tester.executor.send_raw(b"\x10\x00\x00\x00\x82")
    tester.executor.socket.close()
    assert tester.executor.wait_exit() != 0
    assert "in the middle of a frame" in tester.executor.logs()


@both_languages
@pytest.mark.parametrize("missing", ["RAIN_EXECUTOR_SOCKET", "RAIN_EXECUTOR_ID"])
def test_says_that_a_governor_must_start_it(
    start: Start, kind: str, missing: str, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionLostError, match=missing):
        start(kind, environment={missing: ""}, directory=tmp_path / "x")


@both_languages
@pytest.mark.parametrize(("method", "code"), [("abort", -6), ("segfault", -11), ("exit", 17)])
def test_a_task_can_end_the_process(start: Start, kind: str, method: str, code: int) -> None:
    tester = start(kind)
    tester.send_call(method, config={"code": 17})
    assert tester.executor.at_end()
    assert tester.executor.wait_exit() == code


@both_languages
def test_dies_with_its_files_closed(start: Start, kind: str) -> None:
    """The executor holds nothing but its socket, its logs and what the system gave it."""
    tester = start(kind)
    assert alive(tester)
    links = Path(f"/proc/{tester.executor.process.pid}/fd")
    kinds = sorted(os.readlink(link).split(":")[0] for link in links.iterdir())
    allowed = {"socket", "/dev/null", "anon_inode", "/memfd"}
    logs = {str(tester.executor.directory / name) for name in ("out", "err")}
    assert set(kinds) <= allowed | logs, kinds
