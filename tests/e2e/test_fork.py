"""os.fork() after Client(): the child is told, and nothing that it does disturbs the parent."""

from __future__ import annotations

from typing import Any

import pytest
from tasks import contains
from world import outcome, program

FORK = """
    client = Client(executors=executors, cpus=2)
    session = client.new_session(on_error="continue")
    with session.bind_only():
        kept = call("cpptester/fill", size=1 << 20, byte=5).output
        data = kept.fetch()
        running = call("pytester/sleep", seconds=1e6)
        slow = call("cpptester/hello", call("pytester/sleep", seconds=0.2))
        slow.keep_outputs()
        session.submit()
        draft = call("cpptester/hello", b"x")
    directory = client.info()["run_directory"]

    def in_the_child():
        says = []
        for attempt in (
            client.new_session, session.submit, session.wait_all, running.wait, kept.fetch,
            lambda: session.wait([running], timeout=1), session.cancel, running.cancel,
            draft.output.fetch, lambda: session.__enter__() and blob(bytes(1 << 20)),
        ):
            try:
                attempt()
                says.append("nothing was raised")
            except RainException as error:
                says.append(str(error))
        assert data.get_bytes() == bytes([5]) * (1 << 20)
        return "; ".join(says)

    def in_the_parent():
        assert os.path.isdir(directory)
        assert slow.output.fetch().get_bytes() == b"Hello slept!"
        assert running.state.name in ("ready", "assigned")
        works("cpptester", session)
        works("pytester", session)
        client.close()
        assert not os.path.exists(directory)
"""

ADVICE = (
    "this Client was made in another process, of which this one is a fork",
    "create a new Client",
)


def check_texts(said: str) -> None:
    for text in said.split("; "):
        contains(text, *ADVICE)


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "client.close(); sys.exit(0)"])
def test_forked_child_gets_a_clear_error_and_disturbs_nothing(
    commands: dict[str, Any], end: str
) -> None:
    text = (
        FORK
        + f"""
    pid = os.fork()
    if pid == 0:
        say(in_the_child())
        {end}
    assert os.waitpid(pid, 0)[1] == 0
    in_the_parent()
    """
    )
    with program(text, commands) as process:
        check_texts(outcome(process))


def test_forked_child_may_have_a_client_of_its_own(commands: dict[str, Any]) -> None:
    text = (
        FORK
        + """
    pid = os.fork()
    if pid == 0:
        say(in_the_child())
        with Client(executors=executors) as own:
            works("cpptester", own.new_session())
            works("pytester", own.new_session())
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    in_the_parent()
    """
    )
    with program(text, commands) as process:
        check_texts(outcome(process))


def test_child_forked_while_others_wait_is_told_too(commands: dict[str, Any]) -> None:
    text = (
        FORK
        + """
    got = []
    def wait():
        own = client.new_session()
        with own.bind_only():
            while len(got) < 200 or not forked.is_set():
                got.append(call("cpptester/hello", b"x").output.fetch().get_bytes())
    forked = threading.Event()
    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            says = in_the_child()
            os._exit(0 if says.count("create a new Client") == 10 else 1)
        assert os.waitpid(pid, 0)[1] == 0
    forked.set()
    for waiter in waiters:
        waiter.join()
    assert set(got) == {b"Hello x!"}
    in_the_parent()
    """
    )
    with program(text, commands) as process:
        assert outcome(process) == ""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_beside_a_client_works(commands: dict[str, Any], method: str) -> None:
    text = (
        FORK
        + f"""
    import multiprocessing
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(abs, range(-5, 5)) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        if {method!r} == "fork":
            say(pool.apply(in_the_child))
    in_the_parent()
    """
    )
    with program(text, commands) as process:
        said = outcome(process)
    if method == "fork":
        check_texts(said)


def test_subprocess_beside_a_client_works(commands: dict[str, Any]) -> None:
    text = (
        FORK
        + """
    import subprocess
    for options in ({}, {"preexec_fn": lambda: None}, {"close_fds": False}):
        ran = subprocess.run(["echo", "fine"], capture_output=True, text=True, **options)
        assert ran.stdout == "fine\\n"
    in_the_parent()
    """
    )
    with program(text, commands) as process:
        assert outcome(process) == ""
