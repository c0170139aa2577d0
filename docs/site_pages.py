"""Pages of the site that are made, and links that must work in two places.

A document links to others as the repository's host wants it: by the path of the file. Some of those files lie outside
docs/ (the README, the model cards). :func:`write` copies them to docs/generated/, and :func:`lead_links` turns every
link to such a file into one to its page, so that the same text serves both.
"""

from __future__ import annotations

import ast
import os
import re
import types
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
GENERATED = REPOSITORY / "docs" / "generated"

DOCUMENTS = {
    REPOSITORY / "README.md": GENERATED / "readme.md",
    REPOSITORY / "CONTRIBUTING.md": GENERATED / "contributing.md",
    REPOSITORY / "CHANGELOG.md": GENERATED / "changelog.md",
    **{card: GENERATED / "cards" / card.name for card in sorted((REPOSITORY / "KLIPCore/priors/zoo").glob("*.md"))},
}
"""File in the repository → page of the site that holds its text."""

GALLERY = REPOSITORY / "examples" / "gallery"

PLACES = {
    GALLERY: REPOSITORY / "docs" / "gallery" / "index.rst",
    REPOSITORY / "KLIPCore" / "__init__.py": GENERATED / "api" / "index.md",
    **{script: REPOSITORY / "docs" / "gallery" / f"{script.stem}.rst" for script in GALLERY.glob("plot_*.py")},
    **DOCUMENTS,
}
"""File or folder in the repository → page that a link to it leads to."""

TOCTREE = "```{toctree}\n:hidden:\n"

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")

NAME = re.compile(r"(?<![`}])`(KLIPCore(?:\.\w+)+)`(?!`)")

PACKAGES = {
    "volume": "Studies and their geometry",
    "io": "Reading and writing studies",
    "maps": "From a trace to a map and regions",
    "export": "Reports and files for other programs",
    "runs": "Folders of results",
    "physics": "Operators, noise, solvers",
    "priors": "Priors and their networks",
    "sampling": "Guidance and samplers",
    "kl": "KL divergence in nats",
    "organs": "Which organ is where",
    "detection": "The run: from a study to a trace",
    "audit": "What of a reconstruction was measured",
    "archive": "Thousands of studies, each once",
    "pacs": "Studies from a PACS, and results back to it",
    "server": "A computer that examines what others send",
    "client": "What a computer without torch needs of a server",
    "lab": "Training, evaluation, benchmarks, phantoms",
}


def relinked(text: str, source: Path, page: Path) -> str:
    """Return a document's text with its links as they must be on a page.

    Parameters
    ----------
    text : Markdown.
    source : the file that the links are relative to.
    page : where the text will stand.
    """

    def target(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if re.match(r"\w+:", link):
            return match[0]
        file = (source.parent / link).resolve()
        return before + os.path.relpath(PLACES.get(file, file), page.parent).replace(os.sep, "/") + after

    return LINK.sub(target, text)


def lead_links(app: Any, name: str, content: list[str]) -> None:
    """Relink a page as Sphinx reads it (its event ``source-read``), and lead names in code to the reference."""
    page = Path(app.srcdir) / f"{name}.md"
    if page.is_file():
        text = content[0] if GENERATED in page.parents else relinked(content[0], page, page)
        content[0] = NAME.sub(r"{py:obj}`\1`", text)


def left_out(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave aliases of types, and what other packages define, out of a module's page."""
    foreign = isinstance(thing, type) and not thing.__module__.startswith("KLIPCore")
    return True if isinstance(thing, types.GenericAlias) or foreign else None


def plain_text(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape what docstrings mean literally and reStructuredText would take for markup: ``*``, ``|``, ``_``.

    In a module's docstring, indented blocks (equations) and blocks in columns keep their lines.
    """
    if what != "module":
        lines[:] = [literal(line) for line in lines]
        return
    made: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        own = block.splitlines()
        columns = sum(bool(re.search(r"\S {3,}\S", line)) or line.startswith(" " * 8) for line in own)
        if own and (columns >= 2 or all(line.startswith("    ") for line in own)):
            made += ["::", "", *("    " + re.sub(r":\w+:`~?([^`]+)`|``", r"\1", line) for line in own), ""]
        else:
            made += [*(literal(line) for line in own), ""]
    lines[:] = made


MARKUP = re.compile(r"(``.*?``|`[^`]*`_?|\*\*[^*\s][^*]*\*\*|\*[A-Za-z][^*\n]*\*(?!\w)|\.\. \w+::)")


def literal(line: str) -> str:
    """Return a line in which only code, roles and emphasis are markup."""
    if set(line.strip()) <= set("-=~^"):
        return line
    parts = MARKUP.split(line)
    return "".join(p if k % 2 else re.sub(r"([*|])|(?<=\w)(_)(?!\w)", r"\\\g<0>", p) for k, p in enumerate(parts))


def public_names() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the groups of public names: (title, [(name, module)]), as the comments in KLIPCore/__init__.py say."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    source = (REPOSITORY / "KLIPCore" / "__init__.py").read_text(encoding="utf-8")
    for line in source.split("_HOMES = {")[1].split("}")[0].splitlines():
        if match := re.match(r"    # (.+)", line):
            groups.append((match[1][0].upper() + match[1][1:], []))
        elif match := re.match(r'    "(\w+)": "([\w.]+)"', line):
            groups[-1][1].append((match[1], match[2]))
    return groups


def summary(path: Path, name: str | None = None) -> str:
    """Return the first sentence of a module's docstring, or of a function, class or documented value in it."""
    tree: Any = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) if name is None else None
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if name and getattr(node, "name", "") == name:
            text = ast.get_docstring(node)
        assigned = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if name and any(getattr(t, "id", "") == name for t in assigned) and isinstance(after, ast.Expr):
            text = str(getattr(after.value, "value", ""))
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", paragraph).replace("|", r"\|").replace("``", "`")


def module_path(name: str) -> Path:
    """Return the file of a module below KLIPCore."""
    return REPOSITORY / "KLIPCore" / Path(*name.split(".")).with_suffix(".py")


def front_door() -> str:
    """Return the page of the public names."""
    rows = [
        "# API reference",
        "",
        "`import KLIPCore as klip` offers the names below, each loaded when it is first used. Everything else is in"
        " the packages they come from; underscored names are private.",
        "",
    ]
    for title, names in public_names():
        rows += [f"## {title}", "", "| `klip.` | |", "| --- | --- |"]
        rows += [f"| {{py:obj}}`{n} <KLIPCore.{m}.{n}>` | {summary(module_path(m), n)} |" for n, m in names]
        rows.append("")
    rows += ["## Packages", "", TOCTREE.replace("hidden:", "maxdepth: 1"), *PACKAGES, "top", "```", ""]
    return "\n".join(rows)


def reference() -> dict[str, str]:
    """Return the pages of the API reference: path below generated/api without suffix → text."""
    pages = {"index.md": front_door()}
    root = REPOSITORY / "KLIPCore"
    modules: dict[str, list[str]] = {package: [] for package in (*PACKAGES, "top")}
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        if path.name.startswith("__") or not path.read_text(encoding="utf-8"):
            continue
        if name.startswith("cli."):
            continue  # its options are on the page of settings
        modules[name.split(".")[0] if "." in name else "top"].append(name)
        pages[f"{name}.rst"] = f"{name}\n{'=' * len(name)}\n\n.. automodule:: KLIPCore.{name}\n"
    for package, title in {**PACKAGES, "top": "Settings, scores, errors"}.items():
        names = modules[package]
        heading = f"KLIPCore.{package}: {title}" if package != "top" else title
        table = [f"| [{n}]({n}.rst) | {summary(module_path(n))} |" for n in names]
        entries = [f"{n} <{n}>" for n in names]
        pages[f"{package}.md"] = "\n".join(
            (f"# {heading}", "", "| module | |", "| --- | --- |", *table, "", TOCTREE, *entries, "```", "")
        )
    return pages


def write(docs: Path) -> None:
    """Write docs/generated/ anew, touching no file whose text is what it was."""
    texts = {page: relinked(file.read_text(encoding="utf-8"), file, page) for file, page in DOCUMENTS.items()}
    texts |= {GENERATED / "api" / name: text for name, text in reference().items()}
    for old in GENERATED.rglob("*.*"):
        if old not in texts:
            old.unlink()
    for page, text in texts.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
