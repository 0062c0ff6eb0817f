"""Reference 4.8: what the built-in tasks and Program say to the governor, without running any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    Session,
    Task,
    blob,
    directory,
)
from rain.client.tasks import (
    Concat,
    Execute,
    Load,
    LoadDir,
    MakeDirectory,
    Sleep,
    SliceDirectory,
    Store,
)
from rain.common import DataType


@pytest.fixture(autouse=True)
def _active(graph: Session) -> None:
    """All tests here describe."""


def tree(path: Path) -> Any:
    path.mkdir(exist_ok=True)
    return directory(path)


def outputs_of(task: Task) -> list[tuple[str | None, str, str | None]]:
    return [(o.label, o.spec.data_type.value, o.content_type) for o in task.outputs]


def in_paths(task: Task) -> list[str]:
    return [item["path"] for item in task.spec.config["in_paths"]]


# ---- what each says ----------------------------------------------------------------------------


def test_concat() -> None:
    a, b = blob("a"), blob("b")
    task = Concat(x for x in (a, b))
    assert (task.task_type, task.spec.config) == ("buildin/concat", None)
    assert list(task.inputs) == [a, b]
    assert outputs_of(task) == [(None, "blob", None)]


def test_sleep_output_is_like_its_input(tmp_path: Path) -> None:
    task = Sleep(blob("a"), 1, cpus=2)
    assert (task.task_type, task.cpus) == ("buildin/sleep", 2)
    assert task.spec.config == 1.0
    assert type(task.spec.config) is float
    assert outputs_of(task) == [(None, "blob", "text")]
    assert outputs_of(Sleep(tree(tmp_path), 0.5)) == [(None, "dir", None)]


def test_q8_sleep_of_no_time_has_a_config() -> None:
    task = Sleep(blob("a"), 0)
    assert task.spec.config == 0.0
    assert task.spec._to_json()["config"] == 0.0


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_sleep_refuses_what_is_no_time(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds from 0 on"):
        Sleep(blob("a"), timeout)


def test_load() -> None:
    task = Load("/a/b")
    assert (task.task_type, task.spec.config) == ("buildin/open", {"path": "/a/b"})
    assert outputs_of(task) == [(None, "blob", None)]
    named = Load(Path("/a/b"), output=Output("x", content_type="json"))
    assert outputs_of(named) == [("x", "blob", "json")]
    assert named.spec.config == {"path": "/a/b"}
    with pytest.raises(TypeError, match="Blob expected"):
        Load("/a", output=OutputDir("x"))


def test_q25_load_dir() -> None:
    task = LoadDir("/a/b", OutputDir("x"))
    assert (task.task_type, task.spec.config) == ("buildin/open_dir", {"path": "/a/b"})
    assert outputs_of(task) == [("x", "dir", None)]
    assert outputs_of(LoadDir("/a")) == [(None, "dir", None)]
    with pytest.raises(TypeError, match="Directory expected"):
        LoadDir("/a", Output("x"))


def test_store() -> None:
    task = Store(blob("a"), "/x")
    assert (task.task_type, task.spec.config) == ("buildin/export", {"path": "/x"})
    assert outputs_of(task) == []


def test_make_directory() -> None:
    a, b = blob("a"), blob("b")
    for given in ({"x": a, "d/y": b}, [("x", a), ("d/y", b)], (p for p in (("x", a), ("d/y", b)))):
        task = MakeDirectory(given)
        assert task.task_type == "buildin/make_directory"
        assert task.spec.config == {"paths": ["x", "d/y"]}
        assert list(task.inputs) == [a, b]
        assert outputs_of(task) == [(None, "dir", None)]


@pytest.mark.parametrize("wrong", [[], {}, 17, ["abc"], [("x",)], None])
def test_make_directory_needs_pairs(wrong: Any) -> None:
    with pytest.raises(TypeError) as caught:
        MakeDirectory(wrong)
    assert str(caught.value) == (
        "MakeDirectory needs an iterable of pairs `(path, obj)` or a dictionary `{path: obj}`"
    )


def test_slice_directory(tmp_path: Path) -> None:
    data = tree(tmp_path)
    file, folder = SliceDirectory(data, "d/file"), SliceDirectory(data, "d/")
    assert file.task_type == "buildin/slice_directory"
    assert (file.spec.config, folder.spec.config) == ({"path": "d/file"}, {"path": "d/"})
    assert outputs_of(file) == [("d/file", "blob", None)]
    assert outputs_of(folder) == [("d/", "dir", None)]
    named = SliceDirectory(data, "d/file", output=Output("x", content_type="text"))
    assert outputs_of(named) == [("x", "blob", "text")]
    with pytest.raises(TypeError, match="Directory expected"):
        SliceDirectory(blob("x"), "file")
    with pytest.raises(TypeError, match="Directory expected"):
        SliceDirectory(data, "d/", output=Output("x"))
    with pytest.raises(TypeError, match="Blob expected"):
        SliceDirectory(data, "d", output=OutputDir("x"))


def test_all_take_name_session_and_cpus(tmp_path: Path) -> None:
    other = Session(None, 8)
    data, folder = blob("x", session=other), directory(tmp_path, session=other)
    options: dict[str, Any] = {"name": "group/n", "session": other, "cpus": 2}
    tasks = [
        Concat([data], **options),
        Sleep(data, 1, **options),
        Load("/a", **options),
        LoadDir("/a", **options),
        Store(data, "/a", **options),
        MakeDirectory({"a": data}, **options),
        SliceDirectory(folder, "a", **options),
        Execute(["a", data, Output("o")], stdout=True, **options),
        Program("a b", name="group/n", cpus=2)(session=other),
    ]
    for task in tasks:
        assert (task.name, task.session, task.cpus) == ("group/n", other, 2)
        assert all(output.session is other for output in task.outputs)  # Q27, Q43
    other.close()


# ---- Execute -----------------------------------------------------------------------------------


def test_arguments_are_split_as_by_a_shell() -> None:
    task = Execute("a 'b c' d\\ e")
    assert task.task_type == "buildin/run"
    assert task.spec.config == {"args": ["a", "b c", "d e"], "in_paths": [], "out_paths": []}
    assert outputs_of(task) == []


def test_shell_joins_arguments_with_blanks() -> None:
    task = Execute(["a", "b c", Input("x", dataobj=blob("1"))], shell=True)
    assert task.spec.config["args"] == ["/bin/sh", "-c", "a b c x"]


def test_order_of_inputs_and_outputs() -> None:
    a, b, c = blob("a"), blob("b"), blob("c")
    task = Execute(
        ["p", Input("arg", dataobj=c), Output("o2")],
        stdout=Output("o0"),
        stdin=a,
        input_paths=[Input("extra", dataobj=b)],
        output_paths=[Output("o1")],
    )
    assert list(task.inputs) == [a, b, c]
    assert task.spec.config == {
        "args": ["p", "arg", "out_o2"],
        "in_paths": [
            {"path": "+in", "write": False},
            {"path": "extra", "write": False},
            {"path": "arg", "write": False},
        ],
        "out_paths": ["+out", "o1", "out_o2"],
    }
    assert [output.label for output in task.outputs] == ["o0", "o1", "o2"]


@pytest.mark.parametrize(
    ("given", "label"),
    [(True, "stdout"), ("mine", "mine"), (Output("x"), "x"), (Output(), "stdout")],
)
def test_stdout(given: Any, label: str) -> None:
    task = Execute("a", stdout=given)
    assert outputs_of(task) == [(label, "blob", None)]
    assert task.spec.config["out_paths"] == ["+out"]


@pytest.mark.parametrize("given", [None, False])
def test_no_stdout(given: Any) -> None:
    assert outputs_of(Execute("a", stdout=given)) == []


def test_stdin() -> None:
    data = blob("x")
    producer = Concat([data])
    for given in (data, Input(dataobj=data), Input("label", path="p", dataobj=data)):
        task = Execute("a", stdin=given)
        assert in_paths(task) == ["+in"]
        assert list(task.inputs) == [data]
    assert Execute("a", stdin=producer).inputs[0] is producer.output


def test_paths_and_labels_of_arguments(tmp_path: Path) -> None:
    nameless = Input(dataobj=blob("x"))
    task = Execute(
        [
            "program",
            Input("a", dataobj=blob("x")),
            Input("b", path="d/b", dataobj=blob("x"), write=True),
            nameless,
            InputDir("tree", dataobj=tree(tmp_path)),
            Output("c"),
            Output("d", path="e/d"),
            OutputDir("f"),
            Output(),
        ]
    )
    config = task.spec.config
    assert config["args"] == [
        *("program", "a", "d/b", nameless.path, "tree", "out_c", "e/d", "out_f", "out_arg8"),
    ]
    assert [item["write"] for item in config["in_paths"]] == [False, True, False, False]
    assert [output[:2] for output in outputs_of(task)] == [
        *(("c", "blob"), ("d", "blob"), ("f", "dir"), ("arg8", "blob")),
    ]


def test_output_paths_are_labels_unless_given() -> None:
    task = Execute("a", output_paths=["x", Output("y", path="d/y"), OutputDir("z")])
    assert task.spec.config["out_paths"] == ["x", "d/y", "z"]


def test_bare_objects_have_files_named_by_their_labels() -> None:
    data = blob("x", label="data.txt")
    producer = Load("/a", Output("loaded"))
    task = Execute(["cat", data, producer])
    assert task.spec.config["args"] == ["cat", "data.txt", "loaded"]
    assert list(task.inputs) == [data, producer.output]


def test_q26_bare_objects_with_equal_labels_have_files_of_their_own() -> None:
    a, b, c = (blob(text, label="const.txt") for text in "abc")
    task = Execute(["cat", a, b, c, a])
    assert task.spec.config["args"] == [
        *("cat", "const.txt", "const_2.txt", "const_3.txt", "const.txt"),
    ]
    assert list(task.inputs) == [a, b, c]
    assert in_paths(task) == ["const.txt", "const_2.txt", "const_3.txt"]


@pytest.mark.parametrize(
    ("label", "path"),
    [
        *(
            (None, "arg1"),
            ("", "arg1"),
            ("/etc/passwd", "arg1"),
            ("../x", "arg1"),
            ("a/../b", "arg1"),
        ),
        *(("+out", "arg1"), ("x" * 300, "arg1"), ("a\0b", "arg1"), ("dir/", "dir"), ("d/x", "d/x")),
    ],
)
def test_label_that_is_no_path_is_not_used_as_one(label: str | None, path: str) -> None:
    assert Execute(["cat", blob("x", label=label)]).spec.config["args"] == ["cat", path]


def test_inputs_with_the_same_path_are_refused() -> None:
    a, b = blob("a"), blob("b")
    with pytest.raises(ValueError, match="have the same path 'x'"):
        Execute(["cat", Input("x", dataobj=a), Input("y", path="x", dataobj=b)])
    with pytest.raises(ValueError, match="have the same path 'x'"):
        Execute(["cat", Input("x", dataobj=a), Input("x", dataobj=a, write=True)])
    same = Input("x", dataobj=a)
    assert Execute(["cmp", same, same]).spec.config["args"] == ["cmp", "x", "x"]


def test_outputs_with_the_same_path_are_refused() -> None:
    with pytest.raises(ValueError, match="outputs 'x' and 'y' have the same path 'x'"):
        Execute("a", output_paths=["x", Output("y", path="x")])


def test_inputs_and_outputs_are_not_changed() -> None:
    given, wanted = Input("a", dataobj=blob("x")), Output()
    before = (vars(given).copy(), vars(wanted).copy())
    Execute(["a", given, wanted], stdin=Input(dataobj=blob("x")))
    assert (vars(given), vars(wanted)) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"input_paths": [Input()]}, "Program/execute Inputs need `label`"),
        ({"stdin": Input("a")}, "`execute` Inputs need `dataobj`"),
        ({"input_paths": [Input("a", load=True)]}, "Program/execute Inputs do not accept `load`."),
        ({"output_paths": [Output()]}, "Program/execute Outputs need `label`"),
        (
            {"stdout": Output("a", encode="json")},
            "Program/execute Outputs do not accept `encode`.",
        ),
    ],
)
def test_texts_of_value_errors(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Execute(["a"], **arguments)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"stdin": 17}, "Object 17 cannot be used as input"),
        ({"input_paths": [17]}, "Object 17 cannot be used as input"),
        ({"stdout": 17}, "Object 17 cannot be used as output"),
        ({"output_paths": [17]}, "Object 17 cannot be used as output"),
        ({"stdout": OutputDir("d")}, "Blob expected."),
    ],
)
def test_texts_of_type_errors(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError) as caught:
        Execute(["a"], **arguments)
    assert str(caught.value) == text


def test_text_of_a_wrong_argument() -> None:
    with pytest.raises(Exception, match="argument is invalid") as caught:
        Execute(["a", 17])  # type: ignore[list-item]
    assert str(caught.value).startswith(
        "1. argument is invalid, it has to be string, Input, or Output, not <class 'int'>"
    )


# ---- Program -----------------------------------------------------------------------------------


def test_program_makes_an_execute_of_its_template(tmp_path: Path) -> None:
    program = Program(
        ["p", "-x", Input("a"), Output("o2")],
        stdin="text",
        stdout="out",
        input_paths=["extra", InputDir("tree")],
        output_paths=["o1"],
        name="template",
    )
    a, text, extra, folder = blob("a"), blob("text"), blob("extra"), tree(tmp_path)
    task = program(a=a, text=text, extra=extra, tree=folder)
    assert isinstance(task, Execute)
    assert list(task.inputs) == [text, extra, folder, a]
    assert in_paths(task) == ["+in", "extra", "tree", "a"]
    assert task.spec.config["args"] == ["p", "-x", "a", "out_o2"]
    assert task.spec.config["out_paths"] == ["+out", "o1", "out_o2"]
    assert [output.label for output in task.outputs] == ["out", "o1", "o2"]


def test_program_may_be_called_again() -> None:
    program = Program("p", stdin="text", stdout=True)
    first, second = program(text=blob("1")), program(text=Concat([blob("2")]))
    assert first.inputs[0] is not second.inputs[0]
    assert first.output.label == second.output.label == "stdout"


def test_name_of_a_program() -> None:
    assert Program("p")().name is None
    assert Program("p", name="a")().name == "a"
    assert Program("p", name="a")(name="b").name == "b"


def test_program_call_without_one_of_its_inputs() -> None:
    with pytest.raises(KeyError, match="'text'"):
        Program("p", stdin="text")()


def test_q27_program_call_with_more_than_its_inputs() -> None:
    for surplus in ("output", "texd"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{surplus}'"):
            Program("p", stdin="text")(text=blob("x"), **{surplus: blob("x")})


def test_program_input_may_be_labelled_session() -> None:
    assert Program("p", stdin="session")(session=blob("x")).inputs[0].label == "const"  # type: ignore[arg-type]


def test_program_input_of_the_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Input exects data type"):
        Program(["p", InputDir("a")])(a=blob("x"))
    with pytest.raises(Exception, match="Input exects data type"):
        Program(["p", Input("a")])(a=tree(tmp_path))


def test_default_labels_of_program_arguments() -> None:
    task = Program(["p", Input(path="x"), Output()])(arg1=blob("x"))
    assert task.spec.config["args"] == ["p", "x", "out_arg2"]
    assert task.output.label == "arg2"


def test_texts_of_program_errors() -> None:
    with pytest.raises(ValueError, match=r"^`Program` Inputs can't have `dataobj`$"):
        Program(["p", Input("a", dataobj=blob("x"))])
    for wrong in (17, blob("x"), Concat([])):
        with pytest.raises(TypeError) as caught:
            Program(["p", wrong])  # type: ignore[list-item]
        assert str(caught.value) == f"Can't use {wrong!r} in program argument list."
    with pytest.raises(ValueError, match=r"^Program/execute Inputs need `label`$"):
        Program("p", input_paths=[Input()])
    with pytest.raises(ValueError, match=r"^Program/execute Inputs do not accept `load`\.$"):
        Program("p", input_paths=[Input("a", load=True)])
    with pytest.raises(ValueError, match=r"^Program/execute Outputs need `label`$"):
        Program("p", output_paths=[Output()])
    with pytest.raises(TypeError, match=r"^Object 17 cannot be used as input$"):
        Program("p", stdin=17)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Object 17 cannot be used as output$"):
        Program("p", stdout=17)  # type: ignore[arg-type]


def test_data_type_of_what_they_make(tmp_path: Path) -> None:
    assert MakeDirectory({"a": blob("x")}).output.spec.data_type is DataType.DIRECTORY
    assert Concat([]).output.spec.data_type is DataType.BLOB


def test_they_need_no_registered_executor() -> None:
    with Client() as client, client.new_session():
        assert Concat([]).task_type == "buildin/concat"
