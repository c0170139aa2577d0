"""The bill of materials: `python docs/make_sbom.py` writes KLIPCore/sbom.cdx.json in CycloneDX's format.

It names what the package holds of others (the viewer's script, the weights) and what it needs at run time, down to the
last package: each with the version that is installed where this command runs, its licence as its own metadata say, and
the versions that `pyproject.toml` allows. No time and no random number enters it, so the same environment gives the
same file. A test holds that it fits CycloneDX's schema and that it names what `pyproject.toml` asks for.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BILL = ROOT / "KLIPCore" / "sbom.cdx.json"
LONGEST_LICENCE = 80


def requirements(root: Path = ROOT) -> dict[str, Requirement]:
    """Return what `pyproject.toml` needs at run time, by name."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [Requirement(line) for line in project["dependencies"]]
    return {canonicalize_name(one.name): one for one in asked}


def make_bill() -> Bom:
    """Return the bill of materials of this environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    itself = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=f"pkg:pypi/{project['name']}@{project['version']}",
        licenses=[LicenseExpression(project["license"])],
        description=project["description"],
    )
    bill = Bom(serial_number=uuid5(NAMESPACE_URL, str(itself.bom_ref)))
    bill.metadata.component = itself
    direct = requirements()
    known: dict[str, Component] = {}
    for name, asked in direct.items():
        known |= with_needs(name, known, asked)
    inside = [viewer_script(), *(weights(card) for card in sorted((ROOT / "KLIPCore/priors/zoo").glob("*.json")))]
    for component in (*known.values(), *inside):
        bill.components.add(component)
    bill.register_dependency(itself, [*(known[name] for name in direct), *inside])
    for name, component in known.items():
        bill.register_dependency(component, [known[need] for need in needs(name) if need in known])
    return bill


def with_needs(name: str, known: dict[str, Component], asked: Requirement | None = None) -> dict[str, Component]:
    """Return a package and all that it needs, less what is known already, by name."""
    found: dict[str, Component] = {}
    left = [name]
    while left:
        here = left.pop()
        if here not in known and here not in found:
            found[here] = package(here, asked if here == name else None)
            left += needs(here)
    if name in known and asked is not None:
        found[name] = package(name, asked)
    return found


def needs(name: str) -> list[str]:
    """Return the names of what an installed package needs here, without extras."""
    lines = [Requirement(line) for line in distribution(name).requires or ()]
    asked = [line for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
    return sorted({canonicalize_name(line.name) for line in asked if installed(line.name)})


def installed(name: str) -> bool:
    """Return whether a package is there: an optional one that is not is no part of this environment."""
    try:
        return bool(distribution(name).version)
    except PackageNotFoundError:
        return False


def package(name: str, asked: Requirement | None) -> Component:
    """Return an installed package as a component; ``asked`` is what `pyproject.toml` says of it."""
    metadata = distribution(name).metadata
    version = distribution(name).version.partition("+")[0]  # of which build it is, is this computer's matter
    written = metadata["License-Expression"] or metadata["License"] or ""
    classes = [c.rpartition(":: ")[2] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    licence = written if 0 < len(written) <= LONGEST_LICENCE else ", ".join(classes)
    licences = []
    if metadata["License-Expression"]:
        licences = [LicenseExpression(written)]
    elif licence:
        licences = [DisjunctiveLicense(name=licence)]
    said = [] if asked is None else [Property(name="klip:allowed", value=str(asked.specifier) or "any")]
    address = PackageURL("pypi", None, name, version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=address,
        bom_ref=str(address),
        licenses=licences,
        properties=said,
    )


def viewer_script() -> Component:
    """Return the report's viewer, as the notice beside it describes it."""
    folder = ROOT / "KLIPCore/export/viewer"
    said = re.search(r"npm package (\S+) (\S+), unchanged", (folder / "LICENSES.txt").read_text(encoding="utf-8"))
    if said is None:
        raise SystemExit("KLIPCore/export/viewer/LICENSES.txt no longer says which package the script is of.")
    space, _, name = said[1].partition("/")
    address = PackageURL("npm", space, name, said[2])
    return Component(
        name=said[1],
        version=said[2],
        type=ComponentType.LIBRARY,
        purl=address,
        bom_ref=str(address),
        licenses=[LicenseExpression("BSD-2-Clause")],
        hashes=[hashed(folder / "niivue.umd.js")],
    )


def weights(card: Path) -> Component:
    """Return shipped weights."""
    file = card.with_suffix(".safetensors")
    said = json.loads(card.read_text(encoding="utf-8"))
    return Component(
        name=card.stem,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"weights:{card.stem}",
        description=str(said.get("anatomy", "")),
        supplier=OrganizationalEntity(name="KLIPCore"),
        hashes=[hashed(file)],
    )


def hashed(file: Path) -> HashType:
    """Return a file's SHA-256."""
    return HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(file.read_bytes()).hexdigest())


def written() -> str:
    """Return the file's text, without the time of day."""
    content = json.loads(JsonV1Dot6(make_bill()).output_as_string())
    content["metadata"].pop("timestamp", None)
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    BILL.write_text(written(), encoding="utf-8")
    print(f"{BILL.relative_to(ROOT)}: {len(make_bill().components)} components")
