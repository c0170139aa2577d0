"""A request that is answered with a sentence instead of what it asked for."""

from __future__ import annotations

import errno
import logging
from typing import Any

from KLIPCore.errors import KlipError

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says of a full disk."""

SILENT = (401, 404, 409, 429, 500)
"""Status codes without a line in the log: it has one already, or they are an upload's ordinary course, or too many."""

OF_OURS = {413: "message", 415: "message", 426: "remedy", 503: "message", 507: "message"}
"""What of an answer is ours alone, by status; others may hold what a client has sent."""


def is_full(error: BaseException) -> bool:
    """Return whether an error says that a disk is full."""
    return isinstance(error, OSError) and error.errno in FULL


class Refusal(Exception):  # noqa: N818  (the client's error, not the server's)
    """What is wrong with a request, and what its sender can do.

    Parameters
    ----------
    status : of HTTP.
    message, remedy : two sentences, without patient data.
    error : class of :mod:`KLIPCore.errors` that the client raises.
    more : further values of the answer.
    """

    def __init__(self, status: int, message: str, remedy: str, error: str = "ServerError", **more: Any) -> None:
        self.status, self.headers = status, {}
        if "retry_after_s" in more:
            self.headers = {"Retry-After": str(int(more.pop("retry_after_s")))}
        self.body = {"error": error, "message": message, "remedy": remedy, **more}
        super().__init__(message)

    @classmethod
    def of(cls, error: KlipError, status: int = 422) -> Refusal:
        """Return an error of the library as an answer."""
        return cls(status, error.message, error.remedy, type(error).__name__)

    @classmethod
    def of_fault(cls, error: BaseException) -> Refusal:
        """Return the answer to an error of this computer, or of this program."""
        if is_full(error):
            remedy = "Tell its administrator; the same command again continues then."
            return cls(507, "The server's disk is full.", remedy, lasting=True)
        return cls(500, "The server met an error of its own.", "Tell its administrator.")

    def note(self) -> None:
        """Write a line into the log, without what a client has sent."""
        if self.status not in SILENT:
            what = self.body[OF_OURS.get(self.status, "error")]
            log.info("a request was refused (status %d): %s", self.status, what)
