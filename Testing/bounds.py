"""Requirements for pip with the oldest or the newest versions that pyproject.toml allows.

``python Testing/bounds.py oldest`` prints ``'torch==2.6' 'monai==1.5' …``: each lower bound of what runs need, as an
exact version, which pip takes for 2.6.0 also. ``newest`` prints the names with their bounds, for
``pip install --upgrade``.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^([A-Za-z0-9_.-]+)\s*>=\s*([0-9][0-9.]*)([^;]*)")


def dependencies(root: Path = ROOT) -> list[str]:
    """Return what pyproject.toml needs at run time."""
    return list(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])


def oldest(lines: list[str]) -> list[str]:
    """Return each requirement at its lower bound.

    Raises
    ------
    ValueError : one has none.
    """
    found = []
    for line in lines:
        match = LINE.match(line)
        if match is None:
            raise ValueError(f"{line!r} has no lower bound: which version was it tested with?")
        found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    lines = dependencies()
    asked = {"oldest": oldest(lines), "newest": lines}[sys.argv[1]]
    print(" ".join(f"'{line}'" for line in asked))
