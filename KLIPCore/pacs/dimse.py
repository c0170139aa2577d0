"""Associations: pynetdicom with this library's time limits and sentences."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from KLIPCore.errors import ResourceError, optional
from KLIPCore.pacs.peers import Peer
from KLIPCore.pacs.tls import why_not

CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""CT, Enhanced CT, Legacy Converted Enhanced CT Image Storage."""

FIND, GET, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"
"""Study Root Query/Retrieve: find, get, move."""

SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
)
"""Explicit and implicit little endian, JPEG Lossless, JPEG-LS, JPEG 2000, RLE."""


def pynetdicom() -> Any:
    """Return the package, silent.

    Raises
    ------
    ResourceError : it is not installed.
    """
    package = optional("pynetdicom", "pacs")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs names and UIDs
    return package


def application(title: str, timeout_s: float) -> Any:
    """Return an application entity of ours."""
    entity = pynetdicom().AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    return entity


@contextmanager
def association(
    peer: Peer, contexts: Sequence[tuple[str, Sequence[str]]], *, receives: Sequence[str] = (), handlers: Any = ()
) -> Iterator[Any]:
    """Open an association with a peer inside the block.

    Parameters
    ----------
    peer : with whom.
    contexts : (SOP class, transfer syntaxes) that are asked for.
    receives : SOP classes of them that the peer may send to us.
    handlers : pairs of event and handler.

    Raises
    ------
    ResourceError : the peer cannot be reached, or refuses.
    ConfigError : certificates cannot be read.
    """
    secured = None if peer.tls is None else (peer.tls.calling(), peer.host)
    entity = application(peer.own_title, peer.timeout_s)
    for sop_class, syntaxes in contexts:
        entity.add_requested_context(sop_class, list(syntaxes))
    roles = [pynetdicom().build_role(sop_class, scp_role=True) for sop_class in receives]
    link = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.title,
        ext_neg=roles or None,
        evt_handlers=list(handlers) or None,
        tls_args=secured,
    )
    raw: Any = getattr(link.dul.socket, "socket", None)
    if not link.is_established:
        if raw is not None:
            raw.close()  # pynetdicom leaves it open
        insecure = secured and not link.is_rejected and why_not(peer.host, peer.port, secured[0], peer.timeout_s)
        if insecure:
            raise insecure
        why = "it refuses us" if link.is_rejected else "nobody answers, or it ended the conversation"
        raise ResourceError(
            f"No association with {peer.title} at {peer.host}:{peer.port}: {why}.",
            f"Check address and AE titles; the PACS must know '{peer.own_title}'.",
        )
    try:
        yield link
    finally:
        if link.is_established:
            link.release()
        raw.close()  # pynetdicom leaves it open where the peer has cut the line


def is_pending(status: Any) -> bool:
    """Return whether a response says that more follow."""
    return getattr(status, "Status", None) in (0xFF00, 0xFF01)


def silent(peer: Peer, status: Any) -> ResourceError | None:
    """Return the error of a final response that is none, or no success; None where all is well."""
    if "Status" not in status:
        return ResourceError(
            f"The PACS {peer.title} fell silent for {peer.timeout_s:g} s, or ended the conversation.",
            "Try again when it is less busy, or with a longer --timeout.",
        )
    if status.Status not in (0x0000, 0xB000):
        return ResourceError(
            f"The PACS {peer.title} refused (status {status.Status:#06x}).", "Ask its administrator what that means."
        )
    return None
