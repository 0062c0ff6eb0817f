"""Directories on their way to another process: as a tar stream, made and read piece by piece."""

from __future__ import annotations

import os
import tarfile

from rain.common.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    class Source(Protocol):
        def read(self, size: int, /) -> bytes: ...


_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = tarfile.BLOCKSIZE


def pack(path: str) -> Iterator[bytes]:
    """Yield the tar stream of a directory that is data (and so does not change).

    Names are the file system's bytes. Of the modes only the x bits of files go along; no owners,
    no times: the same tree gives the same stream.
    """
    yield from _pack_below(path, "")
    yield bytes(2 * _BLOCK_BYTES)


def _pack_below(path: str, prefix: str) -> Iterator[bytes]:
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        info = tarfile.TarInfo(prefix + entry.name)
        if entry.is_symlink():
            info.type = tarfile.SYMTYPE
            info.linkname = os.readlink(entry.path)
            yield _header(info)
        elif entry.is_dir():
            info.type = tarfile.DIRTYPE
            info.mode = 0o755
            yield _header(info)
            yield from _pack_below(entry.path, f"{info.name}/")
        else:
            with open(entry.path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                info.size = status.st_size
                info.mode = 0o755 if status.st_mode & 0o111 else 0o644
                yield _header(info)
                left = info.size
                while left:
                    piece = file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise OSError(f"{entry.path} became shorter while it was read")
                    left -= len(piece)
                    yield piece
                yield bytes(-info.size % _BLOCK_BYTES)


def joined(pieces: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least `size` each, but for the last; none is empty."""
    gathered: list[bytes | memoryview] = []
    total = 0
    for piece in pieces:
        gathered.append(piece)
        total += len(piece)
        if total >= size:
            yield b"".join(gathered)
            gathered.clear()
            total = 0
    if total:
        yield b"".join(gathered)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def unpack(stream: Source, target: str) -> None:
    """Make the directory `target`, which must not exist, of a tar stream.

    What makes a tree fit for data (builtin/tree.h) is checked by who takes it over. Here nothing is
    written outside of `target`, whatever the stream says: names lead downward, and links are made
    last, so that none is ever followed.

    Raises
    ------
    ProtocolError
        It is no such stream. `target` may be there then.
    OSError
    """
    os.mkdir(target, 0o700)
    links = list[tuple[str, str]]()
    source: Any = stream
    try:
        with tarfile.open(
            fileobj=source, mode="r|", bufsize=_PIECE_BYTES, encoding="utf-8",
            errors="surrogateescape",
        ) as tar:  # fmt: skip
            for info in tar:
                path = os.path.join(target, _checked(info.name))
                if info.issym():
                    links.append((info.linkname, path))
                elif info.isdir():
                    os.mkdir(path, 0o755)
                elif info.isreg():
                    _write_file(tar, info, path)
                else:
                    raise ProtocolError(
                        f"{info.name!r} is neither a file nor a directory nor a symbolic link"
                    )
                tar.members = []  # type: ignore[attr-defined] # it would keep them
        for leads_to, path in links:
            os.symlink(leads_to, path)
    except (tarfile.TarError, EOFError) as error:
        raise ProtocolError(f"a directory's tar stream is damaged: {error}") from error
    except (FileExistsError, FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ProtocolError(f"a directory's tar stream contradicts itself: {error}") from error


def _checked(name: str) -> str:
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts):
        raise ProtocolError(f"the path {name!r} in a directory's tar stream leads elsewhere")
    return name


def _write_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> None:
    source = tar.extractfile(info)
    if source is None:
        raise ProtocolError(f"{info.name!r} has no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with source, open(os.open(path, flags, 0o755 if info.mode & 0o111 else 0o644), "wb") as file:
        left = info.size
        while left:
            piece = source.read(min(left, _PIECE_BYTES))
            if not piece:
                raise ProtocolError(f"{info.name!r} ends too early")
            file.write(piece)
            left -= len(piece)
