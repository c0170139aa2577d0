"""A list of accession numbers or study UIDs → an index for ``klip archive run --pacs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from KLIPCore.errors import EmptyInputError, InputError
from KLIPCore.export.files import written
from KLIPCore.pacs.find import FoundSeries, Wanted, find_series
from KLIPCore.pacs.peers import Peer, is_web
from KLIPCore.pacs.tls import Tls
from KLIPCore.pacs.uids import UID

Line = dict[str, str]


def finder(address: str, own_title: str, tls: Tls | None = None) -> Callable[[Wanted], list[FoundSeries]]:
    """Return what asks a PACS, by C-FIND or QIDO, for the CT series of a study.

    Parameters
    ----------
    address : of the PACS.
    own_title : our AE title.
    tls : certificates for TLS.
    """
    if is_web(address):
        from KLIPCore.pacs.service import Service
        from KLIPCore.pacs.web import find_series_web

        service = Service(address, tls=tls)
        return lambda wanted: find_series_web(service, wanted)
    peer = Peer.parse(address, own_title, tls=tls)
    return lambda wanted: find_series(peer, wanted)


def resolve(accessions: Path, finders: Mapping[str, Callable[[Wanted], list[FoundSeries]]]) -> list[Line]:
    """Return an index's lines for a list of accession numbers or study UIDs, one a line.

    What no PACS knows has a line, too: with the reason as note. It fails, and is told, when it is examined.

    Parameters
    ----------
    accessions : the list.
    finders : what asks each PACS, by its address; the first that has a study is taken. Where there are several, lines
        name theirs.

    Raises
    ------
    EmptyInputError : there is no list, or nothing in it.
    ResourceError : a PACS does not answer.
    """
    try:
        names = [line.strip() for line in accessions.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise EmptyInputError(f"The list {accessions.name} cannot be read.", "Write one number per line.") from error
    lines = [_line(name, finders) for name in names if name and not name.startswith("#")]
    if not lines:
        raise EmptyInputError(f"The list {accessions.name} is empty.", "Write one number per line.")
    return lines


def _line(name: str, finders: Mapping[str, Callable[[Wanted], list[FoundSeries]]]) -> Line:
    """One study's line."""
    is_uid = bool(UID.fullmatch(name)) and name.count(".") > 2
    known = {"study_uid": name} if is_uid else {"accession": name}
    note, several = "", len(finders) > 1
    for address, find in finders.items():
        try:
            found = find(Wanted(**known))
        except InputError as error:
            unknown = isinstance(error, EmptyInputError)
            note = note if note and unknown else error.message  # one that knows it and cannot give it says why
            continue
        more = {"note": f"{len(found) - 1} other CT series of this study are left out"} if len(found) > 1 else {}
        where = {"pacs": address} if several else {}
        return {**known, "study_uid": found[0].study_uid, "series": found[0].series_uid, **more, **where}
    return {**known, "note": note, **({"pacs": next(iter(finders))} if several else {})}


def write_lines(lines: list[Line], out: Path) -> int:
    """Write an index, whole or not at all, and return how many studies the PACS knows.

    Raises
    ------
    OutputError : it cannot be written.
    """
    import json

    with written(out) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return sum("series" in line for line in lines)
