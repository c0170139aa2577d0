"""A request that is answered with a sentence instead of what it asked for."""

from __future__ import annotations

from typing import Any

from KLIPCore.errors import KlipError


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
