"""Reference 2.8: content types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rain.client import Client, RainException, blob, remote
from rain.common.content_type import (
    check_content_type,
    decode_value,
    encode_value,
    is_type_instance,
    merge_content_types,
)

KNOWN = [
    *(None, "", "pickle", "cloudpickle", "json", "cbor", "arrow", "text", "protobuf", "dir"),
    *("text-utf-8", "text-latin1", "user/", "user/mine", "mime/image/png", "protobuf/Message"),
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_name(name: str | None) -> None:
    check_content_type(name)


@pytest.mark.parametrize("name", ["Pickle", "user", "txt", "mime", "text/plain"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"Content type '{name}' is not recognized"):
        check_content_type(name)


@pytest.mark.parametrize(
    ("a", "b", "merged"),
    [
        (None, None, None),
        (None, "json", "json"),
        ("json", None, "json"),
        (None, "", ""),
        ("", None, ""),
        ("", "pickle", "pickle"),
        ("pickle", "", "pickle"),
        ("text", "text-latin1", "text-latin1"),
        ("text-latin1", "text", "text-latin1"),
        ("user/", "user/a", "user/a"),
        ("user/a", "user/a/b", "user/a/b"),
        ("protobuf", "protobuf/Message", "protobuf/Message"),
        ("pickle", "cloudpickle", "cloudpickle"),
        ("cloudpickle", "pickle", "cloudpickle"),
        ("json", "json", "json"),
    ],
)
def test_merge(a: str | None, b: str | None, merged: str | None) -> None:
    assert merge_content_types(a, b) == merged


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("json", "text"),
        ("text-latin1", "text-utf-8"),
        ("user/a", "user/ab"),  # Q9: no prefix of a name, but of a path
        ("mime/text", "mime/textual"),
        ("text", "textual"),
    ],
)
def test_q9_incompatible_types_do_not_merge(a: str, b: str) -> None:
    with pytest.raises(RainException, match=f"^Incompatible content types: '{a}' and '{b}'$"):
        merge_content_types(a, b)
    with pytest.raises(RainException, match=f"^Incompatible content types: '{b}' and '{a}'$"):
        merge_content_types(b, a)


@pytest.mark.parametrize(
    ("name", "of", "answer"),
    [
        ("json", None, True),
        (None, None, True),
        ("json", "json", True),
        ("json", "", True),
        ("text-latin1", "text", True),
        ("text", "text-latin1", False),
        ("pickle", "cloudpickle", True),
        ("cloudpickle", "pickle", False),
        ("cloudpickle", "cloud", False),
        ("user/ab", "user/a", False),
        (None, "json", False),
    ],
)
def test_instance(name: str | None, of: str | None, answer: bool) -> None:
    assert is_type_instance(name, of) is answer


VALUES: list[tuple[str, Any]] = [
    ("pickle", {"a": (1, 2)}),
    ("cloudpickle", [1, {2}]),
    ("json", {"a": [1, None, "ü"]}),
    ("cbor", {"a": [1, None, "ü", b"x"]}),
    ("text", "aü"),
    ("text-latin1", "aü"),
    ("text-utf-16", "aü"),
]


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_value_survives(name: str, value: Any) -> None:
    data = encode_value(value, name)
    assert isinstance(data, bytes)
    assert decode_value(data, name) == value


def test_cloudpickle_takes_a_lambda() -> None:
    assert decode_value(encode_value(lambda x: x + 1, "cloudpickle"), "cloudpickle")(1) == 2


def arrow_table(columns: dict[str, list[int]]) -> Any:
    try:
        import pyarrow
    except ImportError:
        pytest.skip("pyarrow is not installed")
    return pyarrow.table(columns)


@pytest.fixture(scope="session")
def table() -> Any:
    """Before any census: pyarrow keeps threads once it was used."""
    table = arrow_table({"a": [1, 2]})
    assert decode_value(encode_value(table, "arrow"), "arrow").equals(table)
    return table


def test_arrow_takes_tables_and_record_batches(table: Any) -> None:
    assert decode_value(encode_value(table, "arrow"), "arrow").equals(table)
    (batch,) = table.to_batches()
    assert decode_value(encode_value(batch, "arrow"), "arrow").equals(table)
    with pytest.raises(RainException, match="can only encode pyarrow Tables and RecordBatches"):
        encode_value([1], "arrow")


class OfThisProgram:
    """As from a script: __main__ is another module in executors."""

    def __init__(self, x: int) -> None:
        self.x = x


OfThisProgram.__module__ = "__main__"
OfThisProgram.__qualname__ = "OfThisProgram"

VALUES = [
    ("pickle", {1: (2,)}),
    ("cloudpickle", frozenset("ab")),
    ("json", {"a": [1, None]}),
    ("cbor", {"a": b"1", "b": 2}),
    ("text", "h\u00e9"),
    ("text-utf-16", "h\u00e9"),
    ("text-latin1", "h\u00e9"),
    ("arrow", None),
]


@pytest.mark.parametrize(("content_type", "value"), VALUES, ids=[name for name, _ in VALUES])
def test_task_loads_and_encodes(
    table: Any, make_client: Callable[..., Client], content_type: str, value: Any
) -> None:
    value = table if content_type == "arrow" else value

    @remote(auto_load=True, auto_encode=content_type)
    def same(ctx: Any, a: Any) -> Any:
        return a

    with make_client(executors={}, cpus=1).new_session():
        output = same(same(blob(value, encode=content_type))).output.fetch()
    assert output.content_type == content_type
    assert output.load() == value


@pytest.mark.parametrize("content_type", ["pickle", "cloudpickle"])
def test_class_of_the_program_itself_goes_there_and_back(
    make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    import __main__

    monkeypatch.setattr(__main__, "OfThisProgram", OfThisProgram, raising=False)

    @remote(auto_load=True, auto_encode=content_type)
    def twice(ctx: Any, a: Any) -> Any:
        a.x *= 2
        return a

    with make_client(executors={}, cpus=1).new_session():
        result = twice(twice(blob(OfThisProgram(5), encode=content_type))).output.fetch().load()
        assert (type(result), result.x) == (OfThisProgram, 20)
        result = twice(OfThisProgram(7)).output.fetch().load()
        assert (type(result), result.x) == (OfThisProgram, 14)


def test_pickle_takes_what_is_local_to_a_function(make_client: Callable[..., Client]) -> None:
    class Local:
        x = 3

    @remote(auto_encode="pickle")
    def make(ctx: Any) -> Any:
        return Local()

    with make_client(executors={}, cpus=1).new_session():
        assert make().output.fetch().load().x == 3
    assert decode_value(encode_value(Local(), "pickle"), "pickle").x == 3


def test_texts_of_errors() -> None:
    with pytest.raises(RainException, match=r"^can't encode None content_type"):
        encode_value("x", None)
    with pytest.raises(RainException, match=r"^can't decode None content_type"):
        decode_value(b"x", None)
    for name in ("", "user/x", "mime/x", "dir", "protobuf"):
        with pytest.raises(RainException, match=f"^Encoding into '{name}' unsupported"):
            encode_value("x", name)
        with pytest.raises(RainException, match=f"^Decoding from '{name}' unsupported"):
            decode_value(b"x", name)
    with pytest.raises(RainException, match=r"^Encoding 'text' can only encode `str` objects\."):
        encode_value(b"x", "text")
    with pytest.raises(RainException, match="can only decode `bytes` values"):
        decode_value("x", "text")
