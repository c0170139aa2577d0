"""What the package needs: a bill of materials that is true, and bounds that have reasons."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from KLIPCore.runs.bill import BILL, bill_of_materials

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "KLIPCore" / BILL
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

sys.path.insert(0, str(REPOSITORY / "Testing"))
from bounds import dependencies, oldest  # noqa: E402


def names(lines: list[str]) -> set[str]:
    """What requirements are of, as package indexes spell it."""
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("_", "-") for line in lines}


def test_the_bill_fits_the_schema_of_cyclonedx() -> None:
    validation = pytest.importorskip("cyclonedx.validation.json", reason="needs cyclonedx-python-lib")
    from cyclonedx.exception import MissingOptionalDependencyException
    from cyclonedx.schema import SchemaVersion

    text = FILE.read_text(encoding="utf-8")
    validator = validation.JsonStrictValidator(SchemaVersion.from_version(json.loads(text)["specVersion"]))
    try:
        assert validator.validate_str(text) is None
        assert validator.validate_str(text.replace('"components"', '"compartments"')) is not None
    except MissingOptionalDependencyException:
        pytest.skip("needs cyclonedx-python-lib[json-validation]")


def test_the_bill_names_what_the_package_asks_for() -> None:
    bill = json.loads(FILE.read_text(encoding="utf-8"))
    itself = bill["metadata"]["component"]
    assert (itself["name"], itself["version"]) == (PROJECT["name"], PROJECT["version"])
    known = {part["bom-ref"]: part for part in bill["components"]}
    needed = next(line["dependsOn"] for line in bill["dependencies"] if line["ref"] == itself["bom-ref"])
    direct = {known[ref]["name"]: known[ref] for ref in needed}
    assert names(PROJECT["dependencies"]) == {
        name for name in direct if direct[name].get("purl", "").startswith("pkg:pypi")
    }
    for line in PROJECT["dependencies"]:
        name = names([line]).pop()
        allowed = next(p["value"] for p in direct[name]["properties"] if p["name"] == "klip:allowed")
        assert sorted(allowed.split(",")) == sorted(line[len(name) :].strip().split(","))
    assert all(ref in known for line in bill["dependencies"] for ref in line.get("dependsOn", ()))
    assert "timestamp" not in bill["metadata"]


def test_the_bill_has_the_hashes_of_what_is_shipped() -> None:
    hashes = {
        part["name"]: part["hashes"][0]["content"]
        for part in json.loads(FILE.read_text("utf-8"))["components"]
        if "hashes" in part
    }
    core = REPOSITORY / "KLIPCore"
    files = {f.stem: f for f in (core / "priors/zoo").glob("*.safetensors")}
    files["@niivue/niivue"] = core / "export/viewer/niivue.umd.js"
    assert hashes == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def test_a_report_names_the_bill_and_its_hash() -> None:
    said = bill_of_materials()
    assert said == {
        "bill_of_materials": BILL,
        "bill_of_materials_sha256": hashlib.sha256(FILE.read_bytes()).hexdigest(),
    }


def test_upper_bounds_have_reasons() -> None:
    """A line of pyproject.toml that holds a version back says why, behind a hash."""
    lines = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    held = [line for line in lines if re.match(r'\s*"[A-Za-z0-9_.-]+(\[[a-z,-]+\])?\s*(==|~=|<|>=[^"]*[,]\s*<)', line)]
    assert held, "the test looks for lines that are there"
    assert [line for line in held if "#" not in line] == []
    assert not any(re.search(r"[<~]|==", line) for line in PROJECT["dependencies"])


def test_every_dependency_has_a_lower_bound_that_is_tested() -> None:
    lines = dependencies(REPOSITORY)
    assert lines == PROJECT["dependencies"]
    assert names(oldest(lines)) == names(lines)
    assert oldest(["torch>=2.6", "scipy >= 1.15,<2"]) == ["torch==2.6", "scipy==1.15"]
    with pytest.raises(ValueError, match="no lower bound"):
        oldest(["torch"])
