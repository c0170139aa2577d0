"""What the Extensions Index asks of an extension: its checker's rules, and those of its review, as far as a
checkout can tell.

The rules are those of the index's own scripts and pull-request template; written anew, nothing is copied. What
needs the network there (cloning, downloading the icon) is asked of the files here.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import standins

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "KLIPSlicer"
ENTRY: dict[str, Any] = json.loads((REPOSITORY / f"{NAME}.json").read_text(encoding="utf-8"))
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
SOURCES = sorted([REPOSITORY / NAME / f"{NAME}.py", *(REPOSITORY / NAME / f"{NAME}Lib").glob("*.py")])

KINDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
"""Fields of schema 1.0.2; it allows no others."""

ACCEPTED_CATEGORIES = {"Analysis", "Quantification", "Segmentation", "Tomographic Reconstruction"}
"""Those of the index's categories that this extension could be in."""

LICENSE_NAMES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")
LARGEST_REPOSITORY = 100e6

UPLOADERS = {
    "requests",
    "urllib.request",
    "http",
    "http.client",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "socket",
    "paramiko",
    "sentry_sdk",
}
"""What a module would need to send something away by itself."""


def field(name: str) -> str:
    """A variable of the top CMake file, as the checker finds it: in quotes, on one line."""
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', CMAKE)
    assert len(found) == 1, f"{name} is not set exactly once"
    return str(found[0])


# ---- the entry


def test_the_entry_keeps_to_the_schema() -> None:
    assert ENTRY["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert {"$schema", "category", "scm_url"} <= set(ENTRY) <= set(KINDS)
    assert [name for name, value in ENTRY.items() if type(value) is not KINDS[name]] == []
    assert ENTRY["scm_type"] == "git"
    assert 1 <= ENTRY["tier"] <= 5
    assert all(isinstance(name, str) for name in ENTRY["build_dependencies"])
    assert ENTRY["category"] in ACCEPTED_CATEGORIES


def test_slicers_own_schema_accepts_the_entry() -> None:
    """And refuses what our rules refuse."""
    name = f"Schemas/{ENTRY['$schema'].rsplit('/', 1)[-1].rstrip('#')}"
    if not standins.source():
        pytest.skip("needs a checkout of Slicer's source (SLICER_SOURCE)")
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (pip install jsonschema)")
    schema = json.loads((standins.slicers_own(name) / name).read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(KINDS)
    jsonschema.validate(ENTRY, schema)
    for wrong in ({"tier": 6}, {"scm_type": "svn"}, {"build_dependencies": "PyTorch"}, {"homepage": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(ENTRY | wrong, schema)


def test_the_repository_is_called_after_slicer() -> None:
    address = urlsplit(ENTRY["scm_url"])
    assert address.scheme in ("https", "git")
    assert address.path.rsplit("/", 1)[-1] == "SlicerKLIP.git"
    home = ENTRY["scm_url"].removesuffix(".git")
    assert field("EXTENSION_HOMEPAGE") == home
    for path in git("ls-files").split("\n"):
        if (
            path.endswith((".md", ".txt", ".toml", ".json", ".s4ext", ".py", ".html"))
            and (REPOSITORY / path).is_file()
        ):
            text = (REPOSITORY / path).read_text(encoding="utf-8")
            others = re.findall(r"github(?:usercontent)?\.com/KLIPSlicer/(?!SlicerKLIP\b)[\w.-]+", text)
            assert others == [], f"{path} names another repository"


def test_the_extension_keeps_its_name() -> None:
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE)[0] == NAME
    assert (REPOSITORY / NAME / f"{NAME}.py").is_file()


# ---- pictures, license, size


def test_icon_and_screenshots_are_pictures_of_this_repository() -> None:
    raw = (
        ENTRY["scm_url"].removesuffix(".git").replace("github.com", "raw.githubusercontent.com")
        + f"/{ENTRY['scm_revision']}/"
    )
    icon, screenshots = field("EXTENSION_ICONURL"), field("EXTENSION_SCREENSHOTURLS").split()
    assert screenshots
    for url in (icon, *screenshots):
        assert url.startswith(raw), url
        assert (REPOSITORY / url.removeprefix(raw)).read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), url
    assert png_size(REPOSITORY / icon.removeprefix(raw)) == (128, 128)
    assert min(png_size(REPOSITORY / screenshots[0].removeprefix(raw))) >= 400


def png_size(path: Path) -> tuple[int, int]:
    """Width and height by the header."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_the_license_is_where_the_index_looks_and_a_free_one() -> None:
    [path] = [REPOSITORY / name for name in LICENSE_NAMES if (REPOSITORY / name).is_file()]
    assert "Apache License" in path.read_text(encoding="utf-8")


def git(*arguments: str) -> str:
    """What git says of this checkout; skips where there is none."""
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("no git checkout")
    return done.stdout


def test_a_clone_is_small_enough_with_its_history() -> None:
    """All objects that the present commit reaches, compressed as they are: what a clone downloads."""
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("the history is not here")
    listed = git("rev-list", "--objects", "--no-object-names", "HEAD")
    sizes = subprocess.run(
        ["git", "cat-file", "--batch-check=%(objectsize:disk)"],
        cwd=REPOSITORY,
        input=listed,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(sizes) > 100
    assert sum(map(int, sizes)) < LARGEST_REPOSITORY


# ---- what reviewers look for in the code


def at_file_scope(source: str) -> list[str]:
    """Statements that do something when the file is imported."""
    done = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"):
            continue
        done.append(ast.unparse(node))
    return done


def test_nothing_runs_when_a_file_is_imported() -> None:
    done = {path.stem: at_file_scope(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {stem: found for stem, found in done.items() if found} == {
        NAME: ["makeKlipCoreImportable()"]
    }  # a folder for sys.path, nothing imported
    assert at_file_scope("import os\nos.system('x')\nfor i in x: pass")


def test_only_slicers_own_packages_are_imported_at_file_scope() -> None:
    """Qt, VTK, numpy, Slicer and the standard library; no more than any scripted module has."""
    import sys

    allowed = {*sys.stdlib_module_names, "qt", "ctk", "vtk", "slicer", "numpy", "KLIPCore", f"{NAME}Lib"}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            assert {str(name).split(".")[0] for name in names} <= allowed, path.name


def calls(source: str) -> list[tuple[str, str]]:
    """Function called, and the function it is called in, of every call."""
    tree = ast.parse(source)
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            found += [
                (ast.unparse(node.func), function.name) for node in ast.walk(function) if isinstance(node, ast.Call)
            ]
    return found


def test_packages_are_installed_in_one_place_only() -> None:
    """And there a question comes first (test_panel_dependencies.py); PyTorch comes through its extension."""
    places = {
        (path.stem, function)
        for path in SOURCES
        for name, function in calls(path.read_text(encoding="utf-8"))
        if name.rsplit(".", 1)[-1] in ("pip_install", "pip_ensure", "installTorch") and name != "installTorch"
    }
    assert places == {
        ("dependencies", "installFromFolder"),
        ("dependencies", "installTorch"),
        ("dependencies", "installOthers"),
    }
    assert "PyTorch" in ENTRY["build_dependencies"]
    for path in SOURCES:
        assert not re.search(r"pip['\", ]+install['\", ]+torch", path.read_text(encoding="utf-8")), path.name


def test_nothing_can_be_uploaded() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not UPLOADERS & set(names), f"{path.name} imports {names}"
            assert not (
                isinstance(node, ast.Attribute) and node.attr.startswith(("QNetwork", "QTcp", "QWebSocket"))
            ), path.name


def test_the_readme_has_what_the_index_asks_for() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for wanted in (r"^# ", r"!\[", r"docs/slicer\.md", r"arxiv|CVPR", r"license", r"not a medical device"):
        assert re.search(wanted, text, re.IGNORECASE | re.MULTILINE), wanted
