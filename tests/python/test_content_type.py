from __future__ import annotations

import collections
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


@pytest.mark.parametrize("name", [None, "", "pickle", "text-latin2", "user/x", "mime/image/png"])
def test_known_names_are_accepted(name: str | None) -> None:
    check_content_type(name)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Content type 'pikcle' is not recognized"):
        check_content_type("pikcle")


@pytest.mark.parametrize(
    ("a", "b", "merged"),
    [
        (None, None, None),
        (None, "text", "text"),
        ("text", None, "text"),
        ("text", "text-latin2", "text-latin2"),
        ("text-latin2", "text", "text-latin2"),
        ("pickle", "cloudpickle", "cloudpickle"),
        ("", "json", "json"),
    ],
)
def test_merges_to_the_more_special(a: str | None, b: str | None, merged: str | None) -> None:
    assert merge_content_types(a, b) == merged


def test_incompatible_types_do_not_merge() -> None:
    with pytest.raises(RainException, match="Incompatible content types: 'json' and 'text'"):
        merge_content_types("json", "text")


def test_knows_instances() -> None:
    assert is_type_instance("anything", None)
    assert is_type_instance("text-utf-8", "text")
    assert is_type_instance("pickle", "cloudpickle")
    assert not is_type_instance("cloudpickle", "pickle")
    assert not is_type_instance(None, "text")


VALUE: dict[str, Any] = {"a": [1, -2, 0.5, None, True, "ü"], "b": {}, "big": 2**64 - 1}


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "json", "cbor"])
def test_value_survives_encoding(name: str) -> None:
    assert decode_value(encode_value(VALUE, name), name) == VALUE


def test_cbor_takes_bytes_and_any_key() -> None:
    value = {1: b"bytes", "t": [bytearray(b"x")], -5: 1.1}
    assert decode_value(encode_value(value, "cbor"), "cbor") == {1: b"bytes", "t": [b"x"], -5: 1.1}


def test_cbor_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match=r"value\['a'\]\[0\] is of type collections.deque"):
        encode_value({"a": [collections.deque()]}, "cbor")
    with pytest.raises(RainException, match="at byte"):
        decode_value(b"\x82\x01", "cbor")


def test_text_is_encoded_by_its_codec() -> None:
    assert encode_value("ü", "text") == "ü".encode()
    assert encode_value("ü", "text-latin1") == b"\xfc"
    assert decode_value(b"\xfc", "text-latin1") == "ü"
    with pytest.raises(RainException, match="can only encode `str`"):
        encode_value(b"x", "text")


def test_none_and_unknown_are_refused() -> None:
    with pytest.raises(RainException, match="can't encode None content_type"):
        encode_value(1, None)
    with pytest.raises(RainException, match="can't decode None content_type"):
        decode_value(b"", None)
    with pytest.raises(RainException, match="Encoding into 'user/x' unsupported"):
        encode_value(1, "user/x")
    with pytest.raises(RainException, match="Decoding from '' unsupported"):
        decode_value(b"", "")
    with pytest.raises(RainException, match="can only decode `bytes`"):
        decode_value("str", "pickle")
