"""Mutations that keep a file's structure: of values, of JSON trees, of text lines, and of bytes as the last resort.

Every function takes a random generator and is decided by it alone, so that an input can be made again from its seed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Rng = np.random.Generator

NUMBERS: tuple[float, ...] = (
    0,
    1,
    -1,
    2,
    7,
    255,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    1e-300,
    1e38,
    1e308,
    float("nan"),
    float("inf"),
    -2e9,
)
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "2147483648",
    "1\\2\\3\\4",
    "1,5",
    "../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "C:\\x",
    "..",
    "<script>alert(1)</script>",
    "x" * 3000,
    "é",
    "\u202e",
    "\0",
    "\n",
    "%s%n",
    "True",
    "CT",
    "MR",
    "LOCAL",
    "raw",
    "gzip",
    "0 0 0",
    "5 5",
    "a\\b",
)
DEPTHS = (3, 100, 3000, 100_000)


def pick(rng: Rng, choices: Sequence[Item]) -> Item:
    """Return one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def mangled_bytes(rng: Rng, data: bytes) -> bytes:
    """Return bytes with one thing wrong: flipped, cut, doubled, overwritten, inserted or gone."""
    if not data:
        return bytes(rng.integers(0, 256, 16, dtype=np.uint8))
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 65))
    noise = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
    number = struct.pack(pick(rng, ("<I", ">I")), pick(rng, (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF)))
    kind = int(rng.integers(7))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[at : at + n] + data[at:]
    if kind == 3:
        return data[:at] + noise + data[at + n :]
    if kind == 4:
        return data[:at] + number + data[at + 4 :]
    if kind == 5:
        return data[:at] + noise + data[at:]
    return data[:at] + data[at + n :]


def mangled_tree(rng: Rng, value: Any) -> Any:
    """Return a JSON value with one node replaced, removed, doubled or wrapped."""
    paths = list(_paths(value))
    path = pick(rng, paths)
    kind = int(rng.integers(5))
    if not path or kind == 0:
        return _changed(value, path, lambda old: weird(rng))
    if kind == 1:
        return _changed(value, path, None)
    if kind == 2:
        return _changed(value, path, lambda old: [old])
    if kind == 3:
        other = pick(rng, paths)
        return _changed(value, path, lambda old: _at(value, other))
    return _changed(
        value, path, lambda old: old * pick(rng, (0, 2, 100)) if isinstance(old, str | list) else weird(rng)
    )


def weird(rng: Rng) -> Any:
    """Return a value that nobody expects."""
    return pick(
        rng,
        (
            None,
            True,
            False,
            [],
            {},
            [[]],
            {"a": 1},
            [1] * 500,
            "word",
            10**30,
            pick(rng, NUMBERS),
            pick(rng, NUMBERS),
            pick(rng, TEXTS),
        ),
    )


def mangled_json(rng: Rng, text: str) -> str:
    """Return a JSON text whose tree is mangled, or which is none any more."""
    kind = int(rng.integers(10))
    if kind == 0:
        return mangled_bytes(rng, text.encode()).decode("utf-8", "replace")
    if kind == 1:
        depth = pick(rng, DEPTHS)
        return pick(rng, ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
    if kind == 2:
        return pick(rng, ("", "null", "[]", "{}", "1", '"x"', "\ufeff" + text, text + text, "9" * 5000))
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):  # mangled before
        return mangled_bytes(rng, text.encode()).decode("utf-8", "replace")
    for _ in range(int(rng.integers(1, 4))):
        tree = mangled_tree(rng, tree)
    return json.dumps(tree)


def mangled_lines(rng: Rng, lines: Sequence[str], separators: str, extra: Sequence[str]) -> list[str]:
    """Return a header's lines with values replaced, lines removed, doubled, moved or added.

    Parameters
    ----------
    rng : what decides.
    lines : ``name<separator>value`` each.
    separators : of name and value, e.g. ``":"``.
    extra : lines that the format knows and that may be dangerous.
    """
    out = list(lines)
    for _ in range(int(rng.integers(1, 4))):
        kind, at = int(rng.integers(6)), int(rng.integers(len(out))) if out else 0
        if kind <= 2 and out:
            name, found, value = out[at].partition(separators)
            words = value.split(" ")
            place = int(rng.integers(len(words)))
            words[place] = pick(rng, (*TEXTS, *(f"{n:g}" for n in NUMBERS)))
            out[at] = name + found + (" ".join(words) if rng.random() < 0.7 else words[place])
        elif kind == 3 and out:
            del out[at]
        elif kind == 4 and out:
            out.insert(int(rng.integers(len(out) + 1)), out[at])
        else:
            out.insert(at, pick(rng, extra))
    return out


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items)[:40]:
        found += _paths(item, (*path, key))
    return found


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any] | None) -> Any:
    """The tree with the node at ``path`` changed; removed where there is no change."""
    if not path:
        return value if change is None else change(value)
    key, rest = path[0], path[1:]
    if change is None and not rest:
        return (
            {k: v for k, v in value.items() if k != key}
            if isinstance(value, dict)
            else [v for i, v in enumerate(value) if i != key]
        )
    if isinstance(value, dict):
        return {k: _changed(v, rest, change) if k == key else v for k, v in value.items()}
    return [_changed(v, rest, change) if i == key else v for i, v in enumerate(value)]
