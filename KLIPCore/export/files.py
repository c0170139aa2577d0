"""Files that are whole or not there.

Every writer of this folder writes beside its target, to ``<name>.part``, and renames at the end. A full disk or a
stopped run leaves the old file, or none: never half of one that a viewer would open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from KLIPCore.errors import OutputError

REMEDY = "Choose a folder you may write to, with space left."


@contextmanager
def written(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Yield the path to write to instead of ``path``, which appears only when the block ends without an exception.

    Parameters
    ----------
    path : the file to be; its folder is made when missing.
    part : the temporary file beside it, for writers that look at the extension; None: ``<name>.part``.

    Raises
    ------
    OutputError : the folder or the file cannot be written (any OSError inside the block).
    """
    part = part or path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path.name} cannot be written ({_reason(error)}).", REMEDY) from error
    finally:
        if part.is_file():
            part.unlink()


def _reason(error: OSError) -> str:
    """What went wrong, in a line; pydicom hides it behind a message that holds a whole traceback."""
    told = error.strerror or getattr(error.__cause__, "strerror", None)
    return str(told or str(error).partition("\n")[0])


def write_bytes(path: Path, content: bytes) -> Path:
    """Write ``content`` whole or not at all, see :func:`written`."""
    with written(path) as part:
        part.write_bytes(content)
    return path
