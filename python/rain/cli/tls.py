"""``rain tls init DIR``: certificates for a service that other machines reach."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from rain.cli.output import json_option, print_json
from rain.common.errors import ConfigError, RainException

if TYPE_CHECKING:
    from datetime import timedelta

_CA_DAYS = 3650
_FILES = ("ca.pem", "ca-key.pem", "cert.pem", "key.pem")


@click.group(name="tls", short_help="Make certificates for services.")
def command() -> None:
    """Certificates with which server, governors and clients know each other."""


@command.command(name="init", short_help="Make a CA and a certificate.")
@click.argument("directory", type=click.Path())
@click.option(
    "--days",
    type=click.IntRange(min=1, max=_CA_DAYS),
    default=825,
    show_default=True,
    help="How long the certificate is valid.",
)
@click.option("--renew", is_flag=True, help="A new certificate of the CA that DIR has.")
@json_option
def init(directory: str, days: int, renew: bool, as_json: bool) -> None:
    """Make a CA and a certificate of it in DIRECTORY, for --tls of server, governors and clients.

    Who has cert.pem, key.pem and ca.pem is let in: copy these three to the machines of the
    cluster, and to nobody else. ca-key.pem makes more certificates: it stays where it is.
    """
    from datetime import timedelta

    folder = os.path.abspath(directory)
    make(folder, timedelta(days=days), renew=renew)
    if as_json:
        print_json({"directory": folder, "files": list(_FILES), "days": days})
        return
    click.echo(f"{folder} has ca.pem, cert.pem and key.pem, valid for {days} days. Go on with:")
    click.echo(f"  rain start --simple --listen 0.0.0.0 --tls {directory}")
    click.echo(f'  Client("host", tls="{directory}")')
    click.echo("ca-key.pem makes more certificates: copy it nowhere.")


def make(folder: str, valid: timedelta, *, renew: bool = False) -> None:
    """Make the files in `folder`, which is made private.

    Raises
    ------
    ConfigError
        There are certificates already; or, to renew, none.
    """
    from rain.cli.registry import make_private

    present = [name for name in _FILES if os.path.lexists(os.path.join(folder, name))]
    if renew and not {"ca.pem", "ca-key.pem"} <= set(present):
        raise ConfigError(f"{folder} has no ca.pem and ca-key.pem to renew a certificate with")
    if present and not renew:
        raise ConfigError(
            f"{folder} has {present[0]} already, which services may use: --renew makes a new "
            "certificate of the same CA; for a new CA choose another directory"
        )
    make_private(folder)
    _write_certificates(folder, valid, renew)


def _write_certificates(folder: str, valid: timedelta, renew: bool) -> None:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise RainException(
            "certificates need the package cryptography: pip install 'rain-tasklib[cluster]'"
        ) from error
    import datetime
    import socket

    now = datetime.datetime.now(datetime.timezone.utc)
    before = now - datetime.timedelta(minutes=10)  # clocks of other machines may be behind

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        encoded: bytes = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return encoded

    def usage(*, signs_certificates: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
            crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
        )  # fmt: skip

    if renew:
        ca_key, ca = _read_ca(folder)
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = name(f"rain CA of {socket.gethostname()}")
        ca = (
            x509.CertificateBuilder()
            .subject_name(ca_name)
            .issuer_name(ca_name)
            .public_key(ca_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(before)
            .not_valid_after(now + datetime.timedelta(days=_CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        _write(folder, "ca-key.pem", pem(ca_key))
        _write(folder, "ca.pem", ca.public_bytes(serialization.Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name("rain"))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(before)
        .not_valid_after(min(now + valid, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("rain")]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write(folder, "key.pem", pem(key))
    _write(folder, "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _read_ca(folder: str) -> tuple[Any, Any]:
    """Return key and certificate of the CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        with open(os.path.join(folder, "ca-key.pem"), "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
        with open(os.path.join(folder, "ca.pem"), "rb") as file:
            return key, x509.load_pem_x509_certificate(file.read())
    except ValueError as error:
        raise ConfigError(f"{folder}: ca.pem or ca-key.pem is damaged: {error}") from error


def _write(folder: str, name: str, content: bytes) -> None:
    """Replace a file of the folder at once, readable by this user alone."""
    path = os.path.join(folder, name)
    draft = f"{path}.new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.rename(draft, path)
