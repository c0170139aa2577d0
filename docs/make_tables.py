"""The tables of docs/method.md that an example prints, made again: `make docs-images`.

examples/02_published_recipe.py prints two tables as Markdown. Each takes the place of the table with the same
heading row; the sentences around them are left alone, so read them again where `git diff docs/method.md` shows
a changed figure.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "method.md"
EXAMPLE = REPOSITORY / "examples" / "02_published_recipe.py"


def tables(text: str) -> list[list[str]]:
    """The Markdown tables of a text, each as its lines."""
    found: list[list[str]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append(line)
        before = line
    return found


def typeset(text: str) -> str:
    """Numbers as documents write them: a minus for a hyphen, and none before a nought."""
    return re.sub(r"(?<=[ |])-(?=[0-9.])", "−", re.sub(r"(?<=[ |])-(?=0 %)", "", text))


def with_table(document: str, table: list[str]) -> str:
    """A document with a table in the place of the one that has the same heading row.

    Raises
    ------
    SystemExit : the document has none such, or several.
    """
    old = [kept for kept in tables(document) if kept[0] == table[0]]
    if len(old) != 1:
        raise SystemExit(f"{len(old)} tables have the heading {table[0]}")
    return document.replace("\n".join(old[0]) + "\n", "\n".join(table) + "\n")


def main() -> None:
    """Run the example and renew its tables."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=REPOSITORY, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    print(done.stdout)
    text = DOCUMENT.read_text(encoding="utf-8")
    for table in tables(typeset(done.stdout)):
        text = with_table(text, table)
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
