"""Read traces back: JSON lines, plain or gzipped, into the records that they were written from.

A line that is not exactly a record (unknown event, missing, unknown or ill-typed field, cut off) is an error that names
file, line and field; so what was read and is encoded again gives the same bytes.
"""

from __future__ import annotations

import functools
import gzip
import operator
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from asyncirq.errors import UsageError
from asyncirq.trace.events import RECORD_TYPES
from asyncirq.trace.record import Record

_GZIP_MAGIC: Final = b"\x1f\x8b"
SHOWN: Final = 40
_AT_FIELD: Final = re.compile(r"(?P<what>.*) - at `\$\.(?P<field>\w+)`")


def decoder() -> msgspec.json.Decoder[Record]:
    """Return a decoder of one line into the record type that its ``event`` names."""
    union: Any = functools.reduce(operator.or_, RECORD_TYPES)
    return msgspec.json.Decoder(union)


def read_jsonl(source: str | Path | Iterable[bytes | str]) -> Iterator[Record]:
    """Yield the records of a JSON-lines trace: a path (gzip is recognised by content) or an iterable of lines.

    Raises ``UsageError`` naming file, line and field.
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    return _decode_lines("<lines>", source)


def _read_file(path: Path) -> Iterator[Record]:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            if zipped:
                with gzip.open(raw) as lines:
                    yield from _decode_lines(str(path), lines)
            else:
                yield from _decode_lines(str(path), raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot read the trace: {error.strerror}", error.errno or 0) from None


def _decode_lines(name: str, lines: Iterable[bytes | str]) -> Iterator[Record]:
    decode = decoder().decode
    for number, line in enumerate(lines, 1):
        if number == 1 and line.lstrip()[:1] not in (b"{", "{"):
            raise UsageError(f"{name}:1: these are no JSON lines: {line[:SHOWN]!r}")
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}:{number}: {_explain(str(error))}") from None
        yield record


def _explain(message: str) -> str:
    """Put the field's name first, where msgspec puts its path last."""
    found = _AT_FIELD.fullmatch(message)
    return f"field `{found['field']}`: {found['what']}" if found else message


def encode_lines(records: Iterable[Record]) -> bytes:
    """Return records as JSON lines, byte for byte what a ``Recorder`` writes and hashes."""
    return msgspec.json.Encoder().encode_lines(list(records))
