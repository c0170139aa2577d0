"""What the documents say is true of the code: names resolve, command lines parse, links lead somewhere.

Prose rots silently; these tests read it. Also held here: what must stand nowhere in the repository.
"""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from KLIPCore import __version__
from KLIPCore.cli import app
from KLIPCore.config import Config
from KLIPCore.scores import SCORES

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])  # not the site's pages below docs/
SOURCES = sorted(REPOSITORY.glob("KLIPCore/**/*.py"))

NAME = re.compile(r"\bKLIPCore(?:\.\w+)+")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(klip(?: [^`]*)?)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROLE = re.compile(r":(?:func|class|mod|data|meth|attr):`~?(KLIPCore(?:\.\w+)+)`")
DOCUMENT = re.compile(r"\bdocs/[\w/]+\.md\b")


def ids(path: Path) -> str:
    """A path as a test's name."""
    return str(path.relative_to(REPOSITORY))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something (of something) in one; a dataclass field counts too."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("KLIPCore"):
                raise
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def klip_lines(text: str) -> tuple[list[str], list[str]]:
    """Whole command lines (in fenced blocks) and mentions (in running text), each beginning with ``klip``."""
    whole = []
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if re.match(r"klip( |$)", line):
                whole.append(line)
    return whole, INLINE.findall(FENCE.sub("", text))


@cache
def klip() -> Any:
    """The command as typer makes it of the functions' signatures, which takes longer than a line does."""
    return typer.main.get_command(app)


@cache
def parse(line: str, *, whole: bool) -> str:
    """Why ``klip`` would not understand a line, empty when it would; a mention may leave out what is required."""
    group = klip()
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "…"]  # more of the same
    try:
        if not words or words[0].startswith("-"):
            group.make_context("klip", words)
            return "" if words or not whole else "it does nothing"
        parent = group.make_context("klip", list(words))
        name, command, rest = group.resolve_command(parent, words)
        while hasattr(command, "resolve_command") and rest and not rest[0].startswith("-"):  # klip priors list
            parent = command.make_context(name, list(rest), parent=parent)
            name, command, rest = command.resolve_command(parent, rest)
        if whole:
            command.make_context(name, rest, parent=parent)
        else:
            known = {
                option for parameter in command.params for option in parameter.opts + parameter.secondary_opts
            } | {"--help"}
            unknown = [word for word in rest if word.startswith("-") and word.split("=")[0] not in known]
            return f"unknown: {unknown}" if unknown else ""
    except typer.Exit:  # --help, --version
        return ""
    except Exception as error:
        if hasattr(error, "format_message"):
            return str(error.format_message())
        raise
    return ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_names_resolve(path: Path) -> None:
    names = set(NAME.findall(path.read_text(encoding="utf-8")))
    assert sorted(name for name in names if not resolves(name)) == []


def test_cross_references_in_docstrings_resolve() -> None:
    dead = {}
    for path in SOURCES:
        names = set(ROLE.findall(path.read_text(encoding="utf-8")))
        if missing := sorted(name for name in names if not resolves(name)):
            dead[ids(path)] = missing
    assert dead == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_command_lines_parse(path: Path) -> None:
    whole, mentions = klip_lines(path.read_text(encoding="utf-8"))
    assert {line: why for line in whole if (why := parse(line, whole=True))} == {}
    assert {line: why for line in mentions if (why := parse(line, whole=False))} == {}


@pytest.mark.parametrize(
    ("line", "whole", "good"),
    [
        ("klip detect STUDY -o OUT --slices 12:17  # a few", True, True),
        ("klip detect STUDY", True, False),  # where to?
        ("klip detect STUDY -o OUT --views many", True, False),
        ("klip detect", False, True),
        ("klip regions OUT --no-report", True, True),
        ("klip detect --no-such-option", False, False),
        ("klip divine", False, False),
        ("klip --version", True, True),
    ],
)
def test_the_check_of_command_lines_itself(line: str, whole: bool, good: bool) -> None:
    assert (parse(line, whole=whole) == "") is good


@pytest.mark.parametrize(
    "name", ["KLIPCore.maps.trace.Layer.energy", "KLIPCore.errors", "KLIPCore.volume.grid.Grid.to_world"]
)
def test_the_check_of_names_itself(name: str) -> None:
    assert resolves(name)
    assert not resolves(name + "_no")


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    local = [
        link.split("#")[0] for link in LINK.findall(path.read_text(encoding="utf-8")) if not re.match(r"\w+:|#", link)
    ]
    assert [link for link in local if not (path.parent / link).exists()] == []
    made = [link for link in local if re.match(r"(docs/)?(generated|gallery)/", link)]
    assert made == [], "the site's own pages are not in the repository: link to what they are made of"


def test_documents_that_the_code_mentions_exist() -> None:
    mentioned = {
        name for path in [*SOURCES, *DOCUMENTS] for name in DOCUMENT.findall(path.read_text(encoding="utf-8"))
    }
    assert "docs/method.md" in mentioned
    assert sorted(name for name in mentioned if not (REPOSITORY / name).is_file()) == []


def test_the_two_commands_are_on_the_first_screen() -> None:
    screen = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:40]
    assert "make demo" in "\n".join(screen)
    assert "make test" in "\n".join(screen)
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"help", "setup", "demo", "test", "check", "clean"} <= set(targets)
    assert (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "make test"


def test_make_targets_that_documents_mention_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        mentioned = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert mentioned <= targets, path.name


def test_the_example_configuration_is_read_and_complete(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "conventions.md").read_text(encoding="utf-8")
    (example,) = [block for language, block in FENCE.findall(text) if language == "yaml"]
    file = tmp_path / "example.yaml"
    file.write_text(example, encoding="utf-8")
    assert Config.load(file).to_dict() == Config().to_dict()  # it shows every default
    shown = yaml.safe_load(example)
    assert {name: set(part) if isinstance(part, dict) else None for name, part in shown.items()} == {
        name: set(part) if isinstance(part, dict) else None for name, part in Config().to_dict().items()
    }


def test_one_version_everywhere() -> None:
    found = {
        "pyproject.toml": tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "version"
        ],
        "KLIPCore": __version__,
        "CITATION.cff": str(yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))["version"]),
        "CHANGELOG.md": re.findall(
            r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
        )[0],
    }
    assert len(set(found.values())) == 1, found


def test_every_score_is_explained_in_the_method() -> None:
    text = (REPOSITORY / "docs" / "method.md").read_text(encoding="utf-8")
    assert [name for name in SCORES if f"`{name}`" not in text] == []


VENDORED = "KLIPCore/export/viewer/niivue.umd.js"
"""Other people's published file, unchanged: its base64 may spell anything."""


def tracked_texts() -> dict[str, str]:
    """Text files that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    contents = {
        name: (REPOSITORY / name).read_bytes()
        for name in listed.stdout.split("\0")
        if name and name != VENDORED and (REPOSITORY / name).is_file()
    }
    return {name: content.decode("utf-8") for name, content in contents.items() if b"\0" not in content}


FORBIDDEN = {
    "a package registry's host (the installer's own settings name it)": (
        "py" + r"pi\.org",
        "python" + "hosted",
        "npm" + r"js\.(com|org)",
        r"deb\.deb" + "ian",
    ),
    "a path of somebody's machine": (
        r"/ro" + r"ot/\w",
        r"/wo" + r"rk/\w",
        r"/ho" + r"me/\w",
        "/Us" + r"ers/\w",
        r"/fa" + r"rm/\w",
    ),
    "unfinished work": (r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"raise NotImplemented" + "Error"),
    "a private key or token": ("BEGIN [A-Z ]*PRIVATE" + " KEY", r"\bghp" + r"_\w{20,}"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_forbidden_is_written_anywhere(what: str) -> None:
    pattern = re.compile("|".join(FORBIDDEN[what]), re.IGNORECASE if "host" in what else 0)
    texts = tracked_texts()
    assert len(texts) > 50
    hits = {
        name: [line for line in text.splitlines() if pattern.search(line)][:3]
        for name, text in texts.items()
        if pattern.search(text)
    }
    assert hits == {}, f"{what} has no place here"


def test_text_files_end_with_one_newline_and_have_no_carriage_returns() -> None:
    assert [name for name, text in tracked_texts().items() if text and (not text.endswith("\n") or "\r" in text)] == []
