"""Addresses and numbers of CPUs as the command line takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rain.cli import forms
from rain.common.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("7000", ("127.0.0.1", 7000)),
        ("0", ("127.0.0.1", 0)),
        ("10.0.0.1", ("10.0.0.1", 7210)),
        ("10.0.0.1:7000", ("10.0.0.1", 7000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("::1", ("::1", 7210)),
        ("[::1]", ("::1", 7210)),
        ("[::1]:7000", ("::1", 7000)),
    ],
)
def test_listen_fills_in_what_is_left_out(text: str, address: tuple[str, int]) -> None:
    assert forms.parse_listen(text, 7210) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", ":7000", "localhost", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "70000",
     "-1", "1.2.3.4:-1", "::1:7000x", "[::1", "1.2.3.4:1:2", "²", "1.2.3.4:٣"],
)  # fmt: skip
def test_what_is_no_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (address to listen on|port)"):
        forms.parse_listen(text, 7210)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", ("localhost", 7210)),
        ("n1.example.org:70", ("n1.example.org", 70)),
        ("10.0.0.1", ("10.0.0.1", 7210)),
        ("[fe80::1%eth0]:70", ("fe80::1%eth0", 70)),
    ],
)
def test_servers_are_named_or_numbered(text: str, address: tuple[str, int]) -> None:
    assert forms.parse_server(text, 7210) == address


@pytest.mark.parametrize("text", ["", "host:", "host:0", "host:x", "http://host", "a b", ":7210"])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address of a server"):
        forms.parse_server(text, 7210)


@pytest.mark.parametrize(("text", "cpus"), [("detect", 4), ("1", 1), ("64", 64), ("-3", 1)])
def test_cpus_are_detected_given_or_left_over(text: str, cpus: int) -> None:
    assert forms.parse_cpus(text, detected=4) == cpus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-4", "leaves no CPU"),
        ("-99", "leaves no CPU"),
        ("0", "runs nothing"),
        ("many", "no number of CPUs"),
        ("1.5", "no number of CPUs"),
        ("", "no number of CPUs"),
        ("--1", "no number of CPUs"),
    ],
)
def test_unusable_cpus_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forms.parse_cpus(text, detected=4)


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1)])
def test_loopback_needs_no_tls(address: tuple[str, int]) -> None:
    assert forms.demand_tls({"--listen": address}, None, False) is None


@pytest.mark.parametrize("address", [("0.0.0.0", 1), ("10.0.0.1", 1), ("::", 1)])
def test_what_others_reach_needs_tls_or_a_word(address: tuple[str, int]) -> None:
    addresses = {"--listen": ("127.0.0.1", 2), "--http-listen": address}
    with pytest.raises(ConfigError, match=r"--http-listen .* give --tls DIR"):
        forms.demand_tls(addresses, None, False)
    assert forms.demand_tls(addresses, "/tls", False) is None
    warning = forms.demand_tls(addresses, None, True)
    assert warning is not None
    assert "without TLS" in warning
    with pytest.raises(ConfigError, match="exclude each other"):
        forms.demand_tls(addresses, "/tls", True)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        forms.check_tls(str(tmp_path))
    (tmp_path / "key.pem").chmod(0o600)
    assert forms.check_tls(str(tmp_path)) == str(tmp_path)
    (tmp_path / "cert.pem").unlink()
    with pytest.raises(ConfigError, match=r"cert\.pem: No such file.*rain tls init"):
        forms.check_tls(str(tmp_path))
