"""Read files that anybody may have written: NumPy archives, JSON and YAML that can neither run code nor fill
the memory.

``numpy.load`` believes an array's header before it has seen the data, a few kilobytes of deflated zeros become
gigabytes, and a thousand brackets end Python's recursion. Here sizes are compared with what is really stored
before anything is allocated, objects are refused, and whatever goes wrong is a :class:`ValueError` whose text
is ours: callers may show it to people.
"""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import KlipError

LARGEST_ARCHIVE = 4 << 30
"""Bytes of all arrays of an archive together; a sinogram of 10 000 views and 10 000 bins is a tenth of it."""
BOMB_BYTES, BOMB_RATIO = 64 << 20, 200
"""Arrays of more than so many bytes that take less than 1/200 of them on disk are no measurement."""
LONGEST_NUMPY_HEADER = 10_000
LONGEST_TEXT = 64 << 20
"""Bytes of a JSON file."""
LONGEST_SETTINGS = 1 << 16
"""Bytes of a YAML file, thirty times what the longest of ours has; a parser in Python takes a second for so many."""
DEEPEST_SETTINGS = 20
BLOCK = 1 << 20

_KINDS = frozenset("biufU")
_YAML_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def load_npz(source: Path | IO[bytes], names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return arrays of a NumPy ``.npz`` archive without trusting it.

    Parameters
    ----------
    source : the file, or an open binary stream that can seek.
    names : arrays to read, those of them that are there; None reads all.

    Returns
    -------
    Writable arrays of numbers or text by name.

    Raises
    ------
    ValueError : no such archive, damaged, with Python objects in it, or far larger than what is stored. The
        text is one clause.
    """
    try:
        with zipfile.ZipFile(source) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy on headers of Python 2
            wanted = {}
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names is None or name in names:
                    wanted[name] = info
            _check_sizes(list(wanted.values()))
            return {name: _member(archive, info, name) for name, info in wanted.items()}
    except _Refused as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # numpy, zipfile, zlib and the tokenizer raise what the bytes lead them to
        raise ValueError("it is not a NumPy archive, or is damaged or cut short") from error


class _Refused(Exception):  # noqa: N818  (not an error of ours)
    """A reason that may be shown."""


def _check_sizes(members: list[zipfile.ZipInfo]) -> None:
    whole, packed = sum(info.file_size for info in members), sum(info.compress_size for info in members)
    if whole > LARGEST_ARCHIVE or (whole > BOMB_BYTES and whole > BOMB_RATIO * packed):
        raise _Refused(f"{packed} bytes would unpack to {whole}, which no measurement does")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
        raise _Refused("it is packed in a way that NumPy does not write")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    with archive.open(info) as stream:
        return _array(stream, info.file_size, name)


def load_npy(path: Path) -> NDArray[Any]:
    """Return the array of a NumPy ``.npy`` file without trusting it.

    Raises
    ------
    ValueError : no such file, damaged, with Python objects in it, or far larger than what is stored. The text
        is one clause.
    """
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _array(stream, path.stat().st_size, path.name)
    except _Refused as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # numpy and the tokenizer raise what the bytes lead them to
        raise ValueError("it is not a NumPy array, or is damaged or cut short") from error


def _array(stream: IO[bytes], held: int, name: str) -> NDArray[Any]:
    """An array of at most ``held`` bytes, its size compared with its own header before memory is taken."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream, max_header_size=LONGEST_NUMPY_HEADER)
    if dtype.hasobject:
        raise _Refused(f"the array '{name}' holds Python objects, which are never read")
    if dtype.kind not in _KINDS or min(shape, default=0) < 0:
        raise _Refused(f"the array '{name}' holds neither numbers nor text")
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size > held:
        raise _Refused(f"the array '{name}' claims to be larger than what is stored")
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size and (block := stream.read(min(BLOCK, size - filled))):
        view[filled : filled + len(block)] = block
        filled += len(block)
    if filled < size or stream.read(1):  # the checksum is compared at the end of the member
        raise _Refused(f"the array '{name}' is of another size than it says")
    if size == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")


def check_name(path: Path, error: type[KlipError]) -> None:
    """Refuse a path that is no UTF-8: ITK ends the whole process when it is given one.

    Parameters
    ----------
    path : any path.
    error : the class that is raised.

    Raises
    ------
    KlipError : of that class.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as cause:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise error(
            f"The name {shown} is not written in UTF-8.", "Rename it, or link to it under a name of plain letters."
        ) from cause


def json_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises
    ------
    ValueError : it holds something else, is damaged, or is nested too deeply.
    """
    try:
        if len(text) > LONGEST_TEXT:
            raise ValueError("too long")
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON, or is damaged") from error
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds, see :func:`json_object`.

    Raises
    ------
    OSError : it cannot be opened.
    ValueError : it holds something else, is damaged, too long, or nested too deeply.
    """
    with path.open("rb") as stream:
        text = stream.read(LONGEST_TEXT + 1)
    return json_object(text)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file of settings holds: plain values only, no tags of Python and no references.

    Raises
    ------
    ValueError : it cannot be read, is no YAML, too long, nested too deeply, or uses tags or references. The
        text is one clause.
    """
    import yaml  # not where nothing is read

    try:
        with path.open("rb") as stream:
            text = stream.read(LONGEST_SETTINGS + 1)
        if len(text) > LONGEST_SETTINGS:
            raise _Refused("it is too long for settings")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # nine references to nine references … fill any memory
                raise _Refused("it refers to itself with '*'; write such settings out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_SETTINGS:
                raise _Refused("it is nested too deeply for settings")
        return yaml.safe_load(text)
    except _Refused as error:
        raise ValueError(str(error)) from error
    except FileNotFoundError as error:
        raise ValueError("there is no such file") from error
    except (*_YAML_FAULTS, yaml.YAMLError) as error:
        raise ValueError(f"it is not YAML of plain values, {type(error).__name__}") from error
