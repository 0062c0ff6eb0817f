"""Reference 2.8: content types."""

from __future__ import annotations

from typing import Any

import pytest
from rain.client import RainException
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


def test_arrow_takes_a_table() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1, 2]})
    assert decode_value(encode_value(table, "arrow"), "arrow").equals(table)


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
