"""Find and load the bytes of an ftrace capture, and refuse early what is none."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Final

from asyncirq.errors import UsageError

CANDIDATES: Final = ("trace.txt.gz", "trace.txt", "trace.gz", "trace")
"""What is looked for in a directory, in this order."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK: Final = 1 << 20
_FOREIGN: Final = (
    (b"\x17\x08\x44tracing", "this is a binary trace.dat: run 'trace-cmd report -t -N -l -i trace.dat > trace.txt' and give trace.txt"),
    (b"PERFILE2", "this is a perf.data file, not ftrace text: record with trace-cmd or tracefs"),
    (b"{", "this looks like JSON records, not ftrace text: read them with asyncirq.trace.reader"),
    (b"PK\x03\x04", "this is a zip archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "this is zstd compressed: unpack it first, or use gzip"),
    (b"\xfd7zXZ", "this is xz compressed: unpack it first, or use gzip"),
)


def find_trace(path: Path) -> Path:
    """Return the file that holds a capture: the path itself, or the trace inside a directory.

    Errors: ``UsageError`` if the path does not exist or the directory holds no trace.
    """
    if path.is_dir():
        for name in CANDIDATES:
            if (path / name).is_file():
                return path / name
        raise UsageError(f"{path}: no trace in this directory (looked for {', '.join(CANDIDATES)})")
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    return path


def read_bytes(path: Path) -> bytes | bytearray:
    """Return the content of a file, unpacked if it is gzip by its magic.

    Errors: ``UsageError`` for an unreadable or empty file, for gzip data that is cut or damaged (with the line it
    reaches), and for the binary formats that a user may mistake for ftrace text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    if not raw:
        raise UsageError(f"{path}: the file is empty")
    data: bytes | bytearray = _unpack(path, raw) if raw.startswith(_GZIP_MAGIC) else raw
    for magic, advice in _FOREIGN:
        if data.startswith(magic):
            raise UsageError(f"{path}:1: {advice}")
    if data.isspace():
        raise UsageError(f"{path}:1: the file is empty")
    return data


def _unpack(path: Path, raw: bytes) -> bytearray:
    out = bytearray()
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        try:
            while chunk := stream.read(_CHUNK):
                out += chunk
        except EOFError:
            raise UsageError(f"{path}:{_last_line(raw)}: the gzip data ends here: the file was cut") from None
        except (OSError, zlib.error) as error:
            raise UsageError(f"{path}:{_last_line(raw)}: the gzip data is damaged: {error}") from None
    return out


def _last_line(raw: bytes) -> int:
    """Return the number of the last line that still comes out of damaged gzip data."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    lines = 1
    for at in range(0, len(raw), 512):
        try:
            lines += unpacker.decompress(raw[at : at + 512]).count(b"\n")
        except zlib.error:
            break
    return lines
