"""The forms that options of the service commands take: addresses, numbers of CPUs.

What is wrong with a value is an error with exit code 1, as with Rain 0.4.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rain.common.errors import ConfigError

_T = TypeVar("_T")
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

SERVER_PORT = 7210
HTTP_PORT = 7222

Address = tuple[str, int]


class WrongUsage(click.UsageError):
    """A wrong command line of a service command: exit code 1, as with Rain 0.4."""

    exit_code = 1


class ServiceCommand(click.Command):
    """A command whose wrong command line ends with 1 and not with 2."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            raise WrongUsage(error.format_message(), error.ctx) from error


def read_by(parse: Callable[[str], _T]) -> Callable[..., _T | None]:
    """Return a callback for an option or argument: `parse` raises ValueError if it is wrong."""

    def read(_: click.Context, parameter: click.Parameter, value: str | None) -> _T | None:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), param=parameter) from error

    return read


def listen_option(*names: str, port: int, default: str | None, help: str) -> _Decorator:
    """Make an option that takes PORT, IP or IP:PORT; the command gets an Address."""

    def parse(text: str) -> Address:
        address = parse_listen(text, port)
        if port == HTTP_PORT and ":" in address[0]:
            raise ValueError(f"{text!r}: pages can be at IPv4 addresses only, as Dask has it")
        return address

    return click.option(
        *names,
        metavar="LISTEN",
        default=default,
        show_default=default is not None,
        callback=read_by(parse),
        help=help,
    )


def parse_listen(text: str, port: int) -> Address:
    """Return what to listen on.

    Raises
    ------
    ValueError
        `text` is none of the forms.
    """
    if text.isascii() and text.isdigit():
        return "127.0.0.1", _port(text, least=0)
    try:
        host, given = _split(text)
        return str(ipaddress.ip_address(host)), port if given is None else _port(given, least=0)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no address to listen on: write PORT, IP or IP:PORT, for instance "
            f"127.0.0.1:{port or SERVER_PORT} or [::1]:{port or SERVER_PORT}"
        ) from error


def parse_server(text: str, port: int) -> Address:
    """Return host and port. Raises ValueError if `text` is neither HOST nor HOST:PORT."""
    try:
        host, given = _split(text)
        if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
            raise ValueError(host)
        return host, port if given is None else _port(given, least=1)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no address of a server: write HOST or HOST:PORT, for instance "
            f"localhost:{port}"
        ) from error


def parse_cpus(text: str, detected: int) -> int:
    """Return a number of CPUs, at least 1. Raises ValueError."""
    if text == "detect":
        return detected
    if not re.fullmatch(r"-?[0-9]{1,6}", text):
        raise ValueError(f"{text!r} is no number of CPUs: write 'detect', a number, or -N")
    cpus = int(text)
    if cpus < 0 or text.startswith("-"):
        if detected + cpus < 1:
            raise ValueError(
                f"{text} leaves no CPU: this machine has {detected} for this process, and at "
                "least 1 must be left"
            )
        return detected + cpus
    if cpus == 0:
        raise ValueError("0 CPUs would be a governor that runs nothing: give it at least 1")
    return cpus


def address_text(address: Address) -> str:
    """Return "127.0.0.1:7210", "[::1]:7210"."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there. Of a name: whether it says so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def demand_tls(addresses: dict[str, Address], tls: str | None, insecure: bool) -> str | None:
    """Check that what other machines can reach is protected, or meant not to be.

    Parameters
    ----------
    addresses : dict
        Option -> where it listens.

    Returns
    -------
    str or None
        What to warn of.

    Raises
    ------
    ConfigError
        An address that isn't loopback has neither `tls` nor `insecure`.
    """
    if tls is not None and insecure:
        raise ConfigError("--tls and --insecure exclude each other: with --tls all is encrypted")
    if tls is not None:
        return None
    for option, address in addresses.items():
        if is_loopback(address[0]):
            continue
        where = f"{option} {address_text(address)}"
        if not insecure:
            raise ConfigError(
                f"{where} can be reached by other machines, and whoever reaches it can run "
                "programs as this user: give --tls DIR ('rain tls init DIR' makes one), or say "
                "--insecure if the network is private"
            )
        return (
            f"{where} can be reached by other machines without TLS (--insecure): whoever reaches "
            "it can run programs as this user"
        )
    return None


def check_tls(folder: str | None) -> str | None:
    """Return the absolute path of a folder for --tls. Raises ConfigError if files are missing."""
    if folder is None:
        return None
    folder = os.path.abspath(folder)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        path = os.path.join(folder, name)
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise ConfigError(
                f"--tls {folder}: {name}: {error.strerror}; 'rain tls init {folder}' makes all "
                "that is needed"
            ) from error
    if os.stat(os.path.join(folder, "key.pem")).st_mode & 0o077:
        raise ConfigError(
            f"--tls {folder}: key.pem can be read by other users: chmod 600 {folder}/key.pem"
        )
    return folder


def _split(text: str) -> tuple[str, str | None]:
    """Return host and what stands behind it as a port: IPv6 addresses with a port in brackets."""
    if match := re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text):
        return match[1], match[2]
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    if not host:
        raise ValueError(text)
    return host, port if colon else None


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= 65535:
        raise ValueError(f"{text!r} is no port: those are {least} to 65535")
    return int(text)
