"""Session.progress(), Session.make_graph() and what notebooks show."""

from __future__ import annotations

import html.parser
import io
import json
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain import _core
from rain.client import (
    Client,
    RainException,
    Session,
    SessionClosed,
    Task,
    TaskException,
    WaitTimeout,
    blob,
    directory,
)
from rain.client import progress as progress_module
from rain.client.progress import NAMES, Counts

pytestmark = pytest.mark.engines

MakeClient = Callable[..., Client]
NASTY = 'a"b\\c <script> & #1; \n [x] (y) `z` {"k"} | end'


def call(method: str, *inputs: Any, executor: str = "cpptester", **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"{executor}/{method}", **arguments)


def endless(**arguments: Any) -> Task:
    return Task((blob("x"),), 1, task_type="buildin/sleep", config=3600, **arguments)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# ---- progress


def states_of(session: Session, names: int = NAMES) -> dict[str, Any]:
    states, count, by_name, failures = _core.session_progress(session, names)
    words = ("draft", *progress_module._STATES)
    return {
        "all": {word: n for word, n in zip(words, states, strict=True) if n},
        "names": count,
        "by_name": {
            name: {word: n for word, n in zip(words, each, strict=True) if n}
            for name, each in by_name
        },
        "failures": failures,
    }


def test_core_counts_by_state_and_name(client: Client) -> None:
    with client.new_session(on_error="continue") as session:
        early = call("echo", blob("x"))
        session.submit()
        early.wait()
        bad = call("fail", blob('no "luck"\nat all'), name="bad")
        after = call("echo", bad, name="after")
        session.submit()
        assert states_of(session, 0)["by_name"] == {}
        states_of(session)  # counts from here
        good = [call("echo", blob("x"), name="good") for _ in range(3)]
        session.submit()
        session.wait_all()
        seen = states_of(session)
        assert after.exception() is not None
        assert seen["all"] == {"finished": 4, "failed": 1, "aborted": 1}
        assert seen["by_name"]["good"] == {"finished": 3}
        assert len(good) == 3


def test_lines_are_printed_where_there_is_no_terminal(client: Client) -> None:
    file = io.StringIO()
    with client.new_session(on_error="continue") as session:
        gate = call("echo", blob("x"), name="gate")
        tasks = [call("echo", gate, name=f"kind {i % 2}") for i in range(10)]
        tasks.append(call("fail", blob("out of luck"), name="bad"))
        session.submit()
        assert session.progress(file=file) is None
        lines = file.getvalue().splitlines()
    assert re.match(r"\d+/12 tasks", lines[0])
    assert "12/12 tasks, 1 failed; " in file.getvalue()
    assert "left" not in lines[-1]
    assert "\x1b" not in file.getvalue()


def test_names_and_failures_are_shown_at_the_end(client: Client) -> None:
    file = io.StringIO()
    with client.new_session(on_error="continue") as session:
        states_of(session)
        for i in range(10):
            call("echo", blob("x"), name=f"kind {i % 2}")
        bad = call("fail", blob('out of "luck"'), name="bad")
        session.submit()
        session.progress(file=file)
        bad_id = bad.id
    assert file.getvalue().splitlines()[-5:] == [
        "  kind 0: 5/5",
        "  kind 1: 5/5",
        "  bad: 1/1, 1 failed",
        "failed:",
        f'  bad {bad_id}: out of "luck"',
    ]


def test_default_place_is_standard_error(
    session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    call("echo", blob("x"))
    session.submit()
    session.progress()
    out, err = capfd.readouterr()
    assert out == ""
    assert "1/1 tasks" in err


def test_nothing_is_printed_unless_asked(
    session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    call("echo", blob("x"))
    session.submit()
    session.wait_all()
    assert capfd.readouterr() == ("", "")


def test_bar_and_names_on_a_terminal(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    file = Terminal()
    with client.new_session(on_error="continue") as session:
        states_of(session)
        for i in range(10):
            call("echo", blob("x"), name=f"[red]kind {i % 2}")
        call("fail", blob("out of [bold]luck"), name="bad")
        session.submit()
        session.progress(file=file)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "\x1b[" in file.getvalue()
    assert "━" in text
    assert "11/11 tasks, 1 failed" in text
    assert "[red]kind 0  5/5" in text
    assert "out of [bold]luck" in text
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")  # the cursor


def test_lines_on_a_terminal_without_rich(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    file = Terminal()
    call("echo", blob("x"))
    session.submit()
    session.progress(file=file)
    assert "1/1 tasks" in file.getvalue()
    assert "\x1b" not in file.getvalue()


class ZMQInteractiveShell:
    pass


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = types.SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)


@pytest.mark.filterwarnings("ignore:IProgress not found")
@pytest.mark.usefixtures("notebook")
def test_bar_of_tqdm_in_a_notebook(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # no thread that stays
    monkeypatch.setitem(sys.modules, "tqdm.auto", tqdm)
    for _ in range(3):
        call("echo", blob("x"))
    session.submit()
    session.progress()
    assert "3/3" in capsys.readouterr().err


@pytest.mark.usefixtures("notebook")
def test_lines_in_a_notebook_without_tqdm(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    call("echo", blob("x"))
    session.submit()
    session.progress()
    assert "1/1 tasks" in capsys.readouterr().err


def test_timeout_leaves_the_tasks_running(session: Session) -> None:
    task = endless()
    session.submit()
    file = io.StringIO()
    for timeout in (0, 0.01, -1):
        with pytest.raises(WaitTimeout, match="it goes on"):
            session.progress(timeout=timeout, file=file)
    with pytest.raises(ValueError, match="NaN"):
        session.progress(timeout=float("nan"), file=file)
    assert not task.done()
    assert re.search(r"0/1 tasks, 1 (ready|running); .*, left: \?", file.getvalue())
    task.cancel()
    session.progress(file=file)
    assert "1/1 tasks, 1 cancelled" in file.getvalue()


def test_failure_of_the_session_is_raised_after_it_was_shown(client: Client) -> None:
    file = io.StringIO()
    with client.new_session() as session:
        endless()
        call("fail", blob("out of luck"))
        session.submit()
        with pytest.raises(TaskException, match="out of luck"):
            session.progress(file=file)
    assert "1 failed, 1 cancelled" in file.getvalue()


def test_session_that_cannot_run_or_is_closed_says_so(session: Session) -> None:
    with Session(None, 3) as offline, pytest.raises(RainException, match="has no client"):
        offline.progress()
    session.close()
    with pytest.raises(SessionClosed):
        session.progress()


def test_session_without_tasks_is_done(session: Session) -> None:
    file = Terminal()
    session.progress(file=file)
    assert "0/0 tasks" in file.getvalue()


def test_a_new_session_of_the_same_client_counts_from_zero(client: Client) -> None:
    for _ in range(2):
        with client.new_session() as session:
            states_of(session)
            call("echo", blob("x"), name="one")
            session.submit()
            session.wait_all()
            assert states_of(session)["all"] == {"finished": 1}
            assert states_of(session)["by_name"] == {"one": {"finished": 1}}


def test_many_names_are_cut_to_the_most_frequent(session: Session) -> None:
    states_of(session)
    for i in range(40):
        call("echo", blob("x"), name=f"n{i}")
    for _ in range(3):
        call("echo", blob("x"), name="often")
    session.submit()
    session.wait_all()
    raw = _core.session_progress(session, NAMES)
    assert raw[1] == 41
    assert raw[2][0][0] == "often"
    rows = Counts(raw, 1.0, None).rows()
    assert len(rows) == NAMES + 1
    assert rows[-1] == ("31 other names", "")


def test_time_left_follows_the_speed_since_the_begin() -> None:
    def counts(ready: int, finished: int, before: int | None) -> Counts:
        return Counts(([0, 0, ready, 0, finished, 0, 0, 0], 0, [], []), 10.0, before)

    assert counts(100, 50, None).seconds_left is None
    assert counts(100, 60, 50).seconds_left == 100.0
    assert counts(0, 60, 50).seconds_left == 0.0
    assert counts(100, 60, 50).line() == "60/160 tasks, 100 ready; 10.0 s, left: about 1:40 min"


# ---- graph


def dot_strings(dot: str) -> list[str]:
    return re.findall(r'"((?:[^"\\]|\\.)*)"', dot)


def test_graph_of_a_session_without_client(graph: Session) -> None:
    first = blob("x", "first")
    task = Task((("in", first),), ["out"], task_type="example1/do", name="my task")
    dot = graph.make_graph().make_dot("My graph")
    a, t, b = first.id.id, task.id.id, task.output.id.id
    assert dot.splitlines() == [
        'digraph "My graph" {',
        f'  o{a} [label="first\\nid={a}", shape=oval];',
        f'  o{b} [label="out\\nid={b}", shape=oval];',
        f'  t{t} [label="my task\\nexample1/do\\nid={t}", shape=box];',
        f'  o{a} -> t{t} [label="in"];',
        f"  t{t} -> o{b};",
        "}",
    ]
    assert "id=" not in graph.make_graph(show_ids=False).make_dot()
    assert graph.make_graph(False).make_mermaid().splitlines() == [
        "flowchart TD",
        f'  o{a}(["first"])',
        f'  o{b}(["out"])',
        f'  t{t}["my task<br/>example1/do"]',
        f'  o{a} -->|"in"| t{t}',
        f"  t{t} --> o{b}",
    ]
    assert repr(graph.make_graph()) == "<Graph of 1 tasks and 2 data objects>"


def test_empty_graph(graph: Session) -> None:
    assert graph.make_graph().make_dot() == 'digraph "Graph" {\n}\n'
    assert graph.make_graph().make_mermaid() == "flowchart TD\n"


def test_labels_are_escaped(graph: Session) -> None:
    data = blob("x", NASTY)
    Task(((NASTY, data),), [], task_type="a/b", name=NASTY)
    picture = graph.make_graph(show_ids=False)
    dot = picture.make_dot(NASTY)
    escaped = NASTY.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert dot_strings(dot) == [escaped, escaped, f"{escaped}\\na/b", escaped]
    assert len(dot.splitlines()) == 5
    lines = picture.make_mermaid().splitlines()
    assert len(lines) == 4
    for line in lines[1:]:
        (text,) = re.findall(r'"([^"]*)"', line)
        left = re.sub(r"#\d+;|<br/>", "", text)
        assert not set(left) & set('"\\<>&#;[]`{}|')
    (text,) = re.findall(r'"([^"]*)"', lines[1])
    back = re.sub(r"#(\d+);", lambda m: chr(int(m[1])), text.replace("<br/>", "\n"))
    assert back == NASTY


def test_mermaid_takes_no_label_for_a_list(graph: Session) -> None:
    blob("x", "- a")
    blob("x", "1. a")
    blob("x", None)
    mermaid = graph.make_graph(show_ids=False).make_mermaid()
    assert re.findall(r'"([^"]*)"', mermaid) == ["#45; a", "1#46; a", " "]


def test_graph_has_what_runs_what_ended_and_drafts(client: Client, tmp_path: Path) -> None:
    with client.new_session(on_error="continue") as session:
        done = call("echo", blob("x"))
        bad = call("fail", blob("x"))
        session.submit()
        session.wait_all()
        endless(name="kept by nobody")
        session.submit()
        draft = Task((directory(tmp_path, "folder"),), 1, task_type="cpptester/echo", name="draft")
        dot = session.make_graph().make_dot()
        assert f"t{done.id.id} [" in dot
        assert "kept by nobody" in dot
        assert 'label="draft' in dot
        assert "folder\\n(directory)" in dot
        colours = dict(re.findall(r'  t(\d+) .*fillcolor="(#\w+)"', dot))
        assert colours[str(done.id.id)] != colours[str(bad.id.id)]
        assert str(draft.id.id) not in colours
        assert "class t" in session.make_graph().make_mermaid()
    assert f"t{done.id.id} [" in session.make_graph().make_dot()


def test_graph_is_written_as_the_name_of_the_file_says(graph: Session, tmp_path: Path) -> None:
    blob("x", "ž")
    picture = graph.make_graph()
    for name, content in (
        ("a.dot", picture.make_dot()),
        ("graph", picture.make_dot()),
        ("b.MMD", picture.make_mermaid()),
        ("c.mermaid", picture.make_mermaid()),
    ):
        picture.write(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == content
    picture.write(str(tmp_path / "a.dot"))


def test_drawing_without_the_package_says_what_to_install(
    graph: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    picture = graph.make_graph()
    for act in (picture.make_svg, picture.show, lambda: picture.write(tmp_path / "a.svg")):
        with pytest.raises(RainException, match="pip install"):
            act()
    assert list(tmp_path.iterdir()) == []
    assert set(picture._repr_mimebundle_()) == {"text/plain", "text/vnd.mermaid"}


def test_drawing_without_the_program_says_what_to_install(
    graph: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("graphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RainException, match="the program dot"):
        graph.make_graph().make_svg()


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not installed")
def test_graphviz_draws_it(graph: Session, tmp_path: Path) -> None:
    pytest.importorskip("graphviz")
    Task(((NASTY, blob("x", NASTY)),), [], task_type="a/b", name=NASTY)
    picture = graph.make_graph()
    assert "&lt;script&gt;" in picture.make_svg()
    for name, begin in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        picture.write(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_show_opens_a_picture_that_goes_with_the_graph(
    graph: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rain.client.graph import Graph

    opened: list[str] = []
    monkeypatch.setattr(Graph, "make_svg", lambda self: "<svg/>")
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url) or True))
    picture = graph.make_graph()
    picture.show()
    path = Path(opened[0].removeprefix("file://"))
    assert path.read_text() == "<svg/>"
    del picture
    assert not path.parent.exists()
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    with pytest.raises(RainException, match="write"):
        graph.make_graph().show()


# ---- what notebooks show


class Texts(html.parser.HTMLParser):
    """The cells of a card, and which tags it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


def facts(thing: Any) -> dict[str, str]:
    texts = Texts(thing._repr_html_())
    assert texts.tags <= {"b", "table", "tr", "th", "td"}
    cells = texts.cells[2:]
    rows = [cells[i : i + 3] for i in range(0, len(cells), 3)]
    return {name: value for _, name, value in rows}


def test_html_of_tasks_and_objects_before_submit(graph: Session) -> None:
    data = blob("x", NASTY)
    task = Task((data,), 1, task_type="a/b", name=NASTY)
    assert facts(task) == {
        "id": str(task.id),
        "type": "a/b",
        "name": NASTY,
        "state": "not submitted",
        "inputs": str(data.id),
        "outputs": str(task.output.id),
    }
    assert facts(data) == {
        "id": str(data.id),
        "label": NASTY,
        "type": "text",
        "state": "not submitted",
        "kept": "no",
    }
    assert facts(graph)["not submitted"] == "1 tasks, 2 data objects"


def test_html_of_what_has_run(client: Client) -> None:
    with client.new_session(NASTY, on_error="continue") as session:
        task = call("echo", blob(b"x" * 2000))
        task.output.keep()
        bad = call("fail", blob(NASTY))
        session.submit()
        session.wait_all()
        instance = task.output.fetch()
        shown = facts(task)
        assert shown["state"] == "finished"
        assert facts(bad)["error"].startswith('a"b\\c <script>')
        assert facts(bad)["state"] == "failed"
        assert facts(task.output)["size"] == "2.0 kB"
        assert facts(task.output)["kept"] == "yes"
        assert facts(instance) == {"size": "2.0 kB", "content type": "none"}
        assert facts(session)["name"] == NASTY
        assert facts(session)["tasks"] == "2 submitted, 1 failed"
        assert facts(client)["executors"] == "cpptester, py, pytester"
        assert "cpus" in facts(client)
    assert facts(session)["state"] == "closed"
    assert facts(task)["state"] == "finished"
    client.close()
    assert facts(client)["state"] == "closed"
    assert facts(instance)["size"] == "2.0 kB"
    for thing in (client, session, task, bad, task.output, instance):
        assert repr(thing).startswith("<")


def test_html_of_a_directory(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    folder = directory(tmp_path)
    folder.keep()
    session.submit()
    instance = folder.fetch()
    assert facts(folder)["type"] == "directory"
    assert facts(instance) == {"size": "100 B", "path": instance.path}


def test_looking_at_a_session_does_not_make_it_count(session: Session) -> None:
    session._repr_html_()
    call("echo", blob("x"))
    session.submit()
    session.wait_all()
    assert states_of(session)["by_name"] == {}
    assert states_of(session)["all"] == {"finished": 1}


def test_html_of_what_is_not_initialised() -> None:
    from rain.client import DataObject

    for kind in (Task, DataObject):
        assert "not initialised" in kind.__new__(kind)._repr_html_()


PROGRAM = """
import io, json, sys
from rain.client import Client, Task, blob
with Client(executors={"cpptester": sys.argv[1]}) as client, client.new_session() as session:
    task = Task((blob("x"),), 1, task_type="cpptester/echo")
    session.submit()
    session.progress(file=io.StringIO())
    session.make_graph().make_mermaid(), repr(session), session._repr_html_(), task._repr_html_()
print(json.dumps([m for m in ("rich", "tqdm", "graphviz", "IPython") if m in sys.modules]))
"""


def test_optional_packages_are_imported_only_where_they_draw(cpptester: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cpptester)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
