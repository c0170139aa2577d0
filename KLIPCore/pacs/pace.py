"""How fast, and when, a PACS may be asked: hospitals work by day, archives are read by night."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import dataclass, field

from KLIPCore.errors import ConfigError

HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class QuietHours:
    """Hours of the day in which nothing is asked of a PACS.

    Attributes
    ----------
    begin, end : minutes after midnight, local time; equal: never. The end may be on the next day.
    """

    begin: int = 0
    end: int = 0

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Return the hours of ``07:00-19:00``; none of an empty text.

        Raises
        ------
        ConfigError : it is no interval of hours.
        """
        if not text:
            return cls()
        found = HOURS.fullmatch(text.strip())
        numbers = [int(part) for part in found.groups()] if found else []
        if not found or numbers[0] > 24 or numbers[2] > 24 or numbers[1] > 59 or numbers[3] > 59:
            raise ConfigError(f"'{text}' is no interval of hours.", "Write --quiet 07:00-19:00.")
        begin, end = 60 * numbers[0] + numbers[1], 60 * numbers[2] + numbers[3]
        if (end - begin) % 1440 == 0:
            raise ConfigError(f"Quiet hours of '{text}' leave no hour to work in.", "Write --quiet 07:00-19:00.")
        return cls(begin, end)

    def wait_s(self, now: datetime.datetime | None = None) -> float:
        """Return seconds until a PACS may be asked; 0 where it may now.

        Parameters
        ----------
        now : the time of day; the clock's when None.
        """
        moment = now or datetime.datetime.now()
        minute = moment.hour * 60 + moment.minute + moment.second / 60
        begin, end = self.begin % 1440, self.end % 1440
        if self.begin == self.end or (minute - begin) % 1440 >= (end - begin) % 1440:
            return 0.0
        return ((end - minute) % 1440) * 60


@dataclass
class Pace:
    """At most so many instances a second, spread evenly.

    Attributes
    ----------
    per_s : instances a second; 0 is no limit.
    """

    per_s: float = 0.0
    _next: float = field(default=0.0, repr=False)

    def wait(self) -> None:
        """Wait until the next instance may be asked for."""
        if self.per_s <= 0:
            return
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + 1 / self.per_s
