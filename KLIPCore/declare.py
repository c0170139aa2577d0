"""Declare a setting once: type, range, unit, default, reason and help in one place.

A section of settings is a frozen dataclass whose fields are made by :func:`setting`. From that declaration come its
docstring (:func:`documented`), the checks of its values, the options of the command line
(:mod:`KLIPCore.cli.options`) and the table in docs/settings.md. To add a setting is to add a field.

Values are checked by pydantic, in strict mode: a word is no number, and 3.5 is no number of views. What was given is
kept as it was given, not as pydantic would write it, because a run's fingerprint is made of it. Pydantic is imported
when the first value differs from its default. Slicer's own process may lack it, before Detect is pressed for the first
time or when klip runs in another Python: there the panel's controls keep values in range, the rules between settings
hold all the same, and `klip` checks whatever it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from KLIPCore.errors import ConfigError

LIMITS = ("ge", "gt", "le", "lt", "min_length")
"""Attributes of a :class:`Setting` that bound its value, by pydantic's names."""

OUT_OF_RANGE = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "literal_error",
    "value_error",
    "finite_number",
}
"""Kinds of pydantic's errors that mean a value of the right kind that is not offered."""

KINDS = {bool: "true or false", str: "text", int: "whole number", float: "number"}
"""What documents call the types of settings without a range."""

SectionType = TypeVar("SectionType", bound=type)


def require(condition: bool, message: str, remedy: str) -> None:
    """Refuse a configuration.

    Raises
    ------
    ConfigError : the condition does not hold.
    """
    if not condition:
        raise ConfigError(message, remedy)


@dataclass(frozen=True)
class Setting:
    """What is known of a setting.

    Attributes
    ----------
    default : its value unless another is given.
    title : noun phrase for messages, without an article: "number of views".
    help : one sentence for the command line and the documents, with its full stop.
    reason : why the default is what it is, or what depends on it; one or more sentences.
    unit : of the value.
    ge, gt, le, lt : bounds: at least, more than, at most, less than.
    min_length : of a tuple.
    choices : the values that are offered, where they can be listed; of a tuple, the values of its elements.
        Those of a ``Literal`` need not be repeated.
    example : a value to show where the default is None.
    unset : what None means, as a noun phrase: "the score's own".
    option : flag of the command line; empty where only a configuration file sets it.
    simulated : whether it is about the scan that is simulated, and means nothing for one that was measured.
    slider : (lowest, highest) that the panel offers, where that is less than the range.
    name, kind : of the field; filled in by :func:`settings_of`.
    """

    default: Any
    title: str
    help: str
    reason: str = ""
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    choices: tuple[Any, ...] = ()
    example: Any = None
    unset: str = ""
    option: str = ""
    simulated: bool = False
    slider: tuple[float, float] | None = None
    name: str = ""
    kind: Any = None

    @property
    def range_text(self) -> str:
        """The values that are offered, in words with their unit; empty where everything is."""
        if self.choices:
            text = alternatives(self.choices)
        elif self.ge is not None and self.le is not None:
            text = f"{self.ge:g} to {self.le:g}"
        else:
            words = {"at least": self.ge, "more than": self.gt, "at most": self.le, "less than": self.lt}
            text = " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)
        return f"{text} {self.unit}".rstrip() if text else ""

    @property
    def listed(self) -> bool:
        """Whether the value is a tuple of choices."""
        return bool(self.choices) and get_origin(self.kind) is tuple

    @property
    def instance(self) -> Any:
        """A value to show: the default, or the example where that is None."""
        return self.example if self.default is None else self.default

    @property
    def default_text(self) -> str:
        """The default in words."""
        return self.unset if self.default is None else shown(self.default)

    def refusal(self, value: Any) -> ConfigError:
        """Return the error for a value that is not offered."""
        if self.choices and isinstance(self.choices[0], str):
            return ConfigError(f"There is no {self.title} '{shown(value)}'.", f"Choose {self.range_text}.")
        example = "" if self.choices else f", e.g. {shown(self.instance)}"
        return ConfigError(f"The {self.title} cannot be {shown(value)}.", f"Choose {self.range_text}{example}.")

    def wrong_kind(self, value: Any) -> ConfigError:
        """Return the error for a value of the wrong kind."""
        return ConfigError(
            f"The setting '{self.name}' cannot be {shown(value, quoted=True)}.",
            f"Write it like {shown(self.instance, quoted=True)}.",
        )

    def offered(self, value: Any) -> Any:
        """Return the value.

        Raises
        ------
        ValueError : it is none of the choices; pydantic reports it.
        """
        if self.choices and value not in self.choices:
            raise ValueError("not offered")
        return value


def setting(default: Any, title: str, help: str, reason: str = "", **more: Any) -> Any:
    """Return a dataclass field with its declaration; see :class:`Setting` for what may be given."""
    return field(default=default, metadata={"setting": Setting(default, title, help, reason, **more)})


def settings_of(section: type) -> dict[str, Setting]:
    """Return the declared settings of a section by name, in the order of its fields."""
    return _settings(section)


@cache
def _settings(section: type) -> dict[str, Setting]:
    kinds = get_type_hints(section)
    made = {}
    for f in fields(section):
        if (known := f.metadata.get("setting")) is not None:
            kind = kinds[f.name]
            choices = get_args(kind) if get_origin(kind) is Literal else known.choices
            made[f.name] = replace(known, name=f.name, kind=kind, choices=choices)
    return made


class Section:
    """A frozen dataclass of settings that are checked when it is made."""

    def __post_init__(self) -> None:
        declared = settings_of(type(self))
        if any(getattr(self, name) is not known.default for name, known in declared.items()):
            _check(type(self), {name: getattr(self, name) for name in declared})
        self.check()

    def check(self) -> None:
        """Check what several settings must fulfil together.

        Raises
        ------
        ConfigError : they contradict each other.
        """


def documented(section: SectionType) -> SectionType:
    """Complete a section's docstring by its settings."""
    lines = []
    for name, known in settings_of(section).items():
        kind = known.range_text or known.unit or KINDS.get(known.kind, "")
        lines.append(f"{name} : {kind}\n        {known.help} {known.reason}".rstrip())
    section.__doc__ = (
        f"{(section.__doc__ or '').rstrip()}\n\n    Attributes\n    ----------\n    " + "\n    ".join(lines) + "\n    "
    )
    return section


def alternatives(values: tuple[Any, ...]) -> str:
    """Return the values as "a, b or c"."""
    words = [str(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown(value: Any, *, quoted: bool = False) -> str:
    """Return a value as it is written in YAML; quoted, so that a word and a number can be told apart.

    What is longer than :data:`LONGEST_SHOWN` is cut: a sentence is read, a value from a file may be a megabyte.
    """
    if isinstance(value, tuple | list):
        text = f"[{', '.join(shown(v) for v in value[:LONGEST_SHOWN])}]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = repr(value) if quoted else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


LONGEST_SHOWN = 80
"""Characters of a value that a sentence repeats."""


def _check(section: type, values: dict[str, Any]) -> None:
    """Refuse the first value that its declaration does not allow."""
    validate = _validator(section)
    if validate is None:
        return
    from pydantic import ValidationError

    try:
        validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        known = settings_of(section)[str(first["loc"][0])]
        refused = known.range_text and first["type"] in OUT_OF_RANGE
        raise (known.refusal(first["input"]) if refused else known.wrong_kind(values[known.name])) from error


@cache
def _validator(section: type) -> Callable[[dict[str, Any]], object] | None:
    """Pydantic's check of a section's values; None in a Python without it."""
    try:
        from pydantic import AfterValidator, ConfigDict, Field, create_model
    except ModuleNotFoundError:
        return None
    wanted: dict[str, Any] = {}
    for name, known in settings_of(section).items():
        limits = {limit: value for limit in LIMITS if (value := getattr(known, limit)) is not None}
        kind = known.kind
        if known.choices:
            one = Annotated[get_args(kind)[0] if known.listed else kind, AfterValidator(known.offered)]  # type: ignore[valid-type]
            kind = tuple[one, ...] if known.listed else one  # type: ignore[valid-type]
        wanted[name] = (Annotated[kind, Field(**limits)], ...)
    model = create_model(section.__name__, __config__=ConfigDict(strict=True, allow_inf_nan=False), **wanted)
    return model.__pydantic_validator__.validate_python


def section_of(section: type, name: str, values: Any) -> Any:
    """Return a section made from a mapping, as a file holds it, with lists made tuples.

    Raises
    ------
    ConfigError : no mapping, an unknown setting, or a value that is not offered.
    """
    require(isinstance(values, dict), f"The section '{name}' must hold settings.", "Write it as a mapping.")
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in known_values(section, name, values).items()
    }
    try:
        return section(**values)
    except TypeError as error:  # a word where a number belongs, in a Python without pydantic
        raise ConfigError(
            f"A setting in '{name}' is of the wrong kind ({error}).", "Write it as docs/settings.md shows."
        ) from error


def known_values(section: type, name: str, values: dict[Any, Any]) -> dict[str, Any]:
    """Return a mapping with words for keys.

    Raises
    ------
    ConfigError : a key is no setting of the section.
    """
    values = {
        "null" if key is None else str(key): value for key, value in values.items()
    }  # YAML takes the bare word null for nothing
    known = {f.name for f in fields(section)}
    unknown = set(values) - known
    require(
        not unknown,
        f"Unknown settings in '{name}': {', '.join(sorted(unknown))}.",
        f"Known are {', '.join(sorted(known))}.",
    )
    return values
