"""The table of all settings, made of their declaration: `python docs/make_settings.py` writes docs/settings.md.

A test holds that the page is what this script writes.
"""

from __future__ import annotations

from pathlib import Path

from KLIPCore.config import SECTIONS, Config, preset_values
from KLIPCore.declare import KINDS, Setting, settings_of, shown

PAGE = Path(__file__).with_name("settings.md")

HEAD = """# Settings

What can be chosen of a run, and what holds where nothing is chosen. A setting stands in a configuration file under its
section ([conventions](conventions.md#configuration-file) shows one), and some are options of `klip detect`; what an
option says wins over the file, and the file over the preset. This page is written by `docs/make_settings.py` from
`KLIPCore.settings`: change them there.
"""

SCAN = "\nMarked with ◦ is what only a simulated scan has: with measured projections it is refused.\n"


def section_lines(name: str, section: type) -> list[str]:
    """Return heading, sentence and table of a section; the empty name is the configuration itself."""
    heading = f"## `{name}`" if name else "## Not in a section"
    sentence = (section.__doc__ or "").strip().splitlines()[0]
    lines = ["", heading, "", sentence if name else "Of the whole run.", ""]
    lines += ["| setting | values | default | option | what it is |", "| --- | --- | --- | --- | --- |"]
    return [*lines, *(row(name, known) for known in settings_of(section).values())]


def row(section: str, known: Setting) -> str:
    """Return a setting's row."""
    values = known.range_text or known.unit or KINDS.get(known.kind, "")
    default = known.default_text
    default += "".join(
        f"; {shown(value)} in preset {preset}" for preset, value in preset_values(section, known).items()
    )
    option = f"`{known.option}`" if known.option else ""
    mark = " ◦" if known.simulated else ""
    return f"| `{known.name}`{mark} | {values} | {default} | {option} | {known.help} {known.reason}".rstrip() + " |"


def page() -> str:
    """Return the whole page."""
    lines = [HEAD.rstrip()]
    for name, section in {"": Config, **SECTIONS}.items():
        lines += section_lines(name, section)
        lines += SCAN.rstrip().splitlines() if name == "measurement" else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
