"""The image's recipe, as far as it can be held without Docker: its context, its entry point, its user.

No image is built here.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from KLIPCore.cli import app

REPOSITORY = Path(__file__).resolve().parents[3]
RECIPE = re.sub(r"\\\n\s*", " ", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [
    tuple(line.split(None, 1)) for line in RECIPE.splitlines() if line.strip() and not line.lstrip().startswith("#")
]
IGNORED = [
    line for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]


def steps(name: str) -> list[str]:
    return [rest for word, rest in STEPS if word == name]


def in_context(path: str) -> bool:
    """Whether Docker sends a file: the last line that matches it, or a folder it lies in, decides."""
    sent = True
    parts = path.split("/")
    for line in IGNORED:
        pattern = line.removeprefix("!")
        places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if pattern.startswith("**/"):
            hit = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            hit = any(
                fnmatch.fnmatchcase(place, pattern) for place in places if place.count("/") == pattern.count("/")
            )
        if hit:
            sent = line.startswith("!")
    return sent


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the COPY steps find: a copy of the files that are sent."""
    out = tmp_path_factory.mktemp("context")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        if in_context(name) and (REPOSITORY / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, out / name)
    return out


def test_the_context_holds_what_the_image_is_made_of_and_nothing_else(context: Path) -> None:
    copied = [source for step in steps("COPY") for source in step.split()[:-1]]
    assert copied
    for source in copied:
        assert (context / source).exists(), source
    assert {path.name for path in context.iterdir()} == {source.rstrip("/") for source in copied}
    assert (context / "KLIPCore" / "priors" / "zoo" / "abdomen-ct-256.safetensors").stat().st_size > 1e6
    size = sum(path.stat().st_size for path in context.rglob("*") if path.is_file())
    assert size < 60e6
    project = tomllib.loads((context / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for needed in [project["readme"], *project["license-files"]]:
        assert (context / needed).is_file(), needed


@pytest.mark.parametrize(
    ("path", "sent"),
    [("KLIPCore/cli/serve.py", True), ("KLIPCore/cli/__pycache__/serve.pyc", False), ("demo/report.html", False),
     (".git/config", False), ("README.md", True), ("docs/README.md", False), ("KLIPCore/x.part", False)],
)  # fmt: skip
def test_the_reading_of_dockerignore_itself(path: str, sent: bool) -> None:
    assert in_context(path) is sent


def test_the_server_loads_from_the_context_alone(context: Path) -> None:
    code = "import KLIPCore.server.serve as s, KLIPCore.cli.application; print(s.__file__, *s.offered_priors())"
    done = subprocess.run([sys.executable, "-c", code], cwd=context, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(context) in done.stdout
    assert "abdomen-ct-256" in done.stdout


def test_the_entry_point_is_a_command_that_parses() -> None:
    (entry,) = steps("ENTRYPOINT")
    words = json.loads(entry)
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert words[0] in scripts
    command = typer.main.get_command(app)
    with command.make_context("klip", words[1:]) as parent:
        _, sub, rest = command.resolve_command(parent, words[1:])  # type: ignore[attr-defined]
        given = sub.make_context("serve", rest, parent=parent).params
    assert (given["host"], given["port"], given["folder"]) == ("0.0.0.0", 8443, "/data")
    assert not given["plain_http"]
    assert steps("EXPOSE") == [str(given["port"])]
    assert given["folder"] in steps("VOLUME")
    assert json.loads(steps("HEALTHCHECK")[0].split("CMD ")[1])[0] == "python"


def test_nothing_runs_as_root_and_no_secret_or_host_is_in_it() -> None:
    names = [word for word, _ in STEPS]
    assert steps("USER") == ["klip"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"https?://|--index-url|--extra-index-url|--trusted-host|proxy", text, re.IGNORECASE)
    assert not re.search(r"KLIP_TOKEN\s*=", text)
