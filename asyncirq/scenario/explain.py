"""Say what is wrong with a table in words that name the key and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_STEP: Final = re.compile(r"\.?(\w+)|\[(\d+|\.\.\.)\]")
_CHOICES: Final = ("invalid enum value", "invalid value")
_TAG: Final = "type"


def explain(message: str, kind: Any = None, data: object = None) -> str:
    """Put the key first in a message of the decoder: ``device[0].name: expected `str`, got `int```.

    Given the type and the data that were decoded, name the entry of a table that has free keys, and list what may stand
    where only a few values may.
    """
    what, _, where = message.partition(" - at `$")
    key = where.removesuffix("`").removeprefix(".")
    for start, words in (("Object contains unknown field `", "unknown key"), ("Object missing required field `", "missing")):
        if what.startswith(start):
            field = what.removeprefix(start).removesuffix("`")
            return f"{key}.{field}: {words}" if key else f"{field}: {words}"
    if what.startswith(("Expected", "Invalid")):
        what = what[0].lower() + what[1:]
    if kind is not None:
        kinds, key = _follow(kind, data, key)
        choices = list(_choices(kinds)) if what.startswith(_CHOICES) else []
        if choices:
            what += f"; choose from {', '.join(choices)}"
    return f"{key}: {what}" if key else what


def _follow(kind: Any, data: Any, key: str) -> tuple[list[Any], str]:
    """Return the types that may stand at a key, and the key with the name of an entry in place of ``[...]``."""
    kinds = list(_parts(kind))
    named = ""
    for name, index in _STEP.findall(key):
        if name == _TAG and any(_is_struct(one) and one.__struct_config__.tag_field == _TAG for one in kinds):
            return [Literal[one.__struct_config__.tag] for one in kinds], key
        if name:
            tagged = [one for one in kinds if _is_struct(one) and one.__struct_config__.tag == _at(data, _TAG)]
            structs = tagged or [one for one in kinds if _is_struct(one)]
            hints = [get_type_hints(one, include_extras=True) for one in structs]
            kinds = [part for hint in hints if name in hint for part in _parts(hint[name])]
            named += f".{name}" if named else name
            data = _at(data, name)
        else:
            kinds = [part for one in kinds if get_args(one) for part in _parts(get_args(one)[-1])]
            entry = _bad_entry(data, kinds) if index == "..." else int(index)
            named += f".{entry}" if isinstance(entry, str) else f"[{index}]"
            data = _at(data, entry)
    return kinds, named


def _at(data: Any, key: Any) -> Any:
    try:
        return data[key]
    except (KeyError, IndexError, TypeError):
        return None


def _bad_entry(data: object, kinds: list[Any]) -> str | None:
    """Return the first key of a table whose value is of none of these types."""
    for key, value in data.items() if isinstance(data, dict) else ():
        if type(value) not in kinds:
            return str(key)
    return None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _parts(kind: Any) -> Iterator[Any]:
    """Yield the members of a union, without their constraints; any other type is its own."""
    if get_origin(kind) is Annotated:
        yield from _parts(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _parts(one)
    else:
        yield kind


def _choices(kinds: list[Any]) -> Iterator[str]:
    for one in kinds:
        if get_origin(one) is Literal:
            yield from map(str, get_args(one))
        elif one is int:
            yield "a number"
