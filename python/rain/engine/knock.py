"""What listens at an address, told from the first bytes: before and after a connect that failed.

Needs nothing but sockets, so that an error comes at once and names what is there instead.
"""

from __future__ import annotations

import os
import socket
import time

from rain.common.errors import ConnectionFailed

SECONDS = 4.0  # for all steps: an error comes within 5
_LISTEN_SECONDS = 1.0  # a server of ours speaks first

# A Dask peer begins with a frame: the number of its parts, their sizes, a msgpack map. The number
# and each size are little-endian 64-bit integers, the first of them the size of all.
_MOST_FRAME_BYTES = 1 << 16


def knock(host: str, port: int, *, seconds: float = SECONDS, tls: str | None = None) -> None:
    """Return if something that may be a server of ours listens there.

    Parameters
    ----------
    tls : path, optional
        Folder of ``rain tls init``: both sides let each other in by its certificates.

    Raises
    ------
    ConnectionFailed
        The message says what is wrong: no such host, nothing listens, no answer, another server, a
        certificate.
    """
    where = f"{host}:{port}"
    deadline = time.monotonic() + seconds
    try:
        connection = socket.create_connection((host, port), timeout=seconds)
    except socket.gaierror as error:
        raise ConnectionFailed(f"{where}: there is no host {host!r} ({error.strerror})") from None
    except TimeoutError as error:
        raise ConnectionFailed(
            f"{where}: no answer within {seconds:.0f} s; is the host up, and does a firewall let "
            "this port through?"
        ) from error
    except OSError as error:
        hint = "; is the server running?" if isinstance(error, ConnectionRefusedError) else ""
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConnectionFailed(f"{where}: {why}{hint}") from None
    with connection:
        if tls is not None:
            first = _receive_encrypted(connection, where, tls, deadline)
            _judge(where, first)
            return
        first = _receive(connection, min(deadline, time.monotonic() + _LISTEN_SECONDS))
        if first is None:  # it waits for us: an HTTP server would
            try:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            except OSError:
                first = b""
            else:
                first = _receive(connection, deadline)
    _judge(where, first)


def _receive_encrypted(
    connection: socket.socket, where: str, folder: str, deadline: float
) -> bytes | None:
    """As _receive(), after a handshake. Raises ConnectionFailed if that fails."""
    import ssl

    connection.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        context.check_hostname = False  # who has a certificate of the CA belongs to the cluster
        context.load_cert_chain(
            os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        )  # fmt: skip
    except OSError as error:  # also of what is no certificate
        raise ConnectionFailed(f"the certificates in {folder} can't be used: {error}") from error
    try:
        with context.wrap_socket(connection) as encrypted:
            return encrypted.recv(64)  # by now it has seen our certificate
    except ssl.SSLCertVerificationError as error:
        raise ConnectionFailed(
            f"{where}: its certificate is not one to trust with {folder}: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        reason = str(error.reason or error)
        if "ALERT" in reason:
            raise ConnectionFailed(
                f"{where} does not let in who has the certificate in {folder}: {reason}; both "
                "sides need certificates of one CA that have not expired"
            ) from error
        raise ConnectionFailed(
            f"{where} does not speak TLS ({reason}): a server without --tls, or no Rain server"
        ) from error
    except TimeoutError:
        return None
    except OSError:
        return b""


def _receive(connection: socket.socket, deadline: float) -> bytes | None:
    """Return the first bytes, empty at the end of the stream, None without any in time."""
    connection.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        return connection.recv(64)
    except TimeoutError:
        return None
    except OSError:
        return b""


def _judge(where: str, first: bytes | None) -> None:
    if first is None:
        raise ConnectionFailed(
            f"{where}: something listens there and says nothing: it is no Rain server, or one that "
            "hangs"
        )
    if not first:
        raise ConnectionFailed(
            f"{where}: the connection was closed at once: it is no Rain server, or one that wants "
            "TLS (tls=DIR, --tls DIR)"
        )
    if first.startswith((b"HTTP/", b"<")):
        raise ConnectionFailed(
            f"{where} is a web server; a Rain server's port is 7210 by default, its pages have 7222"
        )
    if first.startswith(b"\x15\x03"):
        raise ConnectionFailed(f"{where} wants TLS: give the certificates (tls=DIR, --tls DIR)")
    size = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 8 <= size <= _MOST_FRAME_BYTES:
        raise ConnectionFailed(f"{where} is no Rain server: it begins with {first[:16]!r}")
