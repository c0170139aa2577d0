"""The model card for people: what the JSON beside the weights says, as a page of Markdown with the run's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from KLIPCore.volume.model_card import ModelCard

BACKBONE_WORDS = {
    "patch": "EDM denoiser trained on patches of three sizes, told where each lies",
    "whole": "EDM denoiser trained on whole slices",
    "ddpm": "DDPM trained on whole slices, without position channels",
}


RUN_FIELDS = (
    "command",
    "version",
    "backbone",
    "config",
    "data",
    "validation_data",
    "steps",
    "seconds",
    "device",
    "processes",
    "validation_rmse",
    "history",
)
"""What a run writes of itself."""

CURVE_ROWS = 12

DRAWN = (
    "Drawn from pure noise: what the prior makes of a whole body when nothing tells it one; in use, the "
    "measurement does"
)


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def model_card(card: ModelCard, folder: Path) -> str:
    """Return the page for a trained prior; pictures are linked where ``folder`` has them."""
    training = card.training
    parts = [
        f"# {card.name}",
        card.intended_use,
        _prior_table(card),
        "## Data",
        data_table(training.get("data", [])),
        "Held out, for the figures below:",
        data_table(training.get("validation_data", [])),
        how_made(training.get("data", [])),
        "## Training",
        _training_table(training),
        "## Validation",
        "Root-mean-square error of denoising held-out slices, in intensity and in HU.",
        table(
            ("σ", "error", "error (HU)", "error / σ"),
            [
                (s, f"{e:.4f}", f"{e * card.window.width_hu:.1f}", f"{e / float(s):.3f}")
                for s, e in training.get("validation_rmse", {}).items()
            ],
        ),
    ]
    for name, words in (
        ("curve", "Loss and validation error"),
        ("denoised", "Held-out slices, noisy and denoised"),
        ("drawn", DRAWN),
    ):
        if (folder / f"{name}.png").is_file():
            parts += [f"![{words}]({name}.png)", f"*{words}.*"]
        elif name == "curve":
            parts += [f"{words}:", curve_table(training.get("history", []))]
    return "\n\n".join(parts) + "\n"


def _prior_table(card: ModelCard) -> str:
    """What the prior is of, and the images it takes."""
    return table(
        ("", ""),
        [
            ("anatomy", card.anatomy),
            ("kind", kind(card)),
            ("intensity 0..1", f"{card.window.lo_hu:g} to {card.window.hi_hu:g} HU"),
            ("image", f"{card.size} × {card.size} pixels, median body width {card.body_fraction:g} of that"),
            (
                "pixel size in training",
                f"{card.pixel_mm_range[0]:g} to {card.pixel_mm_range[1]:g} mm{nominal(card.training)}",
            ),
            ("noise levels", f"σ {card.sigma_min:g} to {card.sigma_max:g}"),
            ("licence of the weights", card.licence or "not stated"),
            ("SHA-256 of the weights", f"`{card.sha256}`" if card.sha256 else "see the JSON beside the weights"),
        ],
    )


def _training_table(training: dict[str, Any]) -> str:
    """How it was trained."""
    config = training.get("config", {})
    return table(
        ("", ""),
        [
            ("steps", training.get("steps", "")),
            (
                "time",
                f"{training.get('seconds', 0) / 60:.0f} min on {training.get('device', 'a CPU')}, "
                f"{training.get('processes', 1)} process(es)",
            ),
            ("started from", training.get("initialised_from") or "nothing"),
            ("seed", config.get("seed", "")),
            ("learning rate, running average", f"{config.get('learning_rate', '')}, {config.get('ema', '')}"),
            ("patches (side, number)", ", ".join(f"{side}: {n}" for side, n in config.get("patches", ()))),
            ("version", training.get("version", "")),
        ],
    )


def nominal(training: dict[str, Any]) -> str:
    """Return a remark where the range of pixel sizes was not measured, because files do not say theirs."""
    return (
        "" if all(entry["pixel_mm"] for entry in training.get("data", [])) else " (nominal: not all files say theirs)"
    )


def curve_table(history: list[dict[str, Any]]) -> str:
    """Return a dozen of the checkpoints, the last among them."""
    every = max(1, -(-len(history) // CURVE_ROWS))
    shown = history[::-1][::every][::-1]
    return table(
        ("step", "loss", "validation error / σ"),
        [(e["step"], f"{e['loss']:.4f}", f"{e['validation']:.4f}") for e in shown],
    )


def missing(card: ModelCard) -> list[str]:
    """Return what a complete card says and this one does not.

    Data, licences, window, voxel sizes, how it was trained, loss curve, validation figures.

    A voxel size that the file does not state counts as said when the entry says that it is unknown (``None``).
    """
    training, gaps = card.training, []
    gaps += [name for name in ("anatomy", "licence", "sha256", "intended_use", "network") if not getattr(card, name)]
    gaps += [f"training.{name}" for name in RUN_FIELDS if training.get(name) in (None, "", [], {})]
    gaps += [
        f"training.{name}" for name in ("initialised_from",) if name not in training
    ]  # empty for a run from nothing
    for part in ("data", "validation_data"):
        for entry in training.get(part, []):
            gaps += [
                f"training.{part}: {name} of {entry.get('file', '?')}"
                for name in ("source", "file", "n_slices", "licence")
                if not entry.get(name)
            ]
            gaps += [
                f"training.{part}: {name} of {entry.get('file', '?')}"
                for name in ("spacing_mm", "pixel_mm")
                if name not in entry
            ]
    gaps += [
        f"training.history: {name}"
        for name in ("step", "loss", "validation")
        if not all(name in entry for entry in training.get("history", []))
    ]
    return gaps


def kind(card: ModelCard) -> str:
    """Return what was trained, and on what it looks at once."""
    backbone = card.training.get("backbone", "patch")
    words = BACKBONE_WORDS.get(backbone, backbone)
    return (
        words
        if backbone != "whole"
        else f"{words}, {'told where each pixel lies' if card.position_channels else 'without position channels'}"
    )


def how_made(entries: list[dict[str, Any]]) -> str:
    """Return what happened to the data before the network saw them."""
    if entries and all(str(e["file"]).startswith("SIMULATED") for e in entries):
        return "All slices are simulated from the seeds above; no scan of anybody or anything was learned from."
    return (
        "Every volume: window, body mask, couch removed, each patient scaled to the same width, slices without a "
        "body left out. "
        "Which cases are healthy was decided by whoever chose them; the run cannot know."
    )


def data_table(entries: list[dict[str, Any]]) -> str:
    """Return one row a volume."""
    rows = [
        (e["source"], e["file"], e["n_slices"], spacing(e.get("spacing_mm")), pixel(e["pixel_mm"]), e["licence"])
        for e in entries
    ]
    return table(("source", "file", "slices", "voxels (mm)", "pixel in the frame (mm)", "licence"), rows)


def spacing(mm: list[float] | None) -> str:
    """Return voxel edges, or that the file does not say."""
    return " × ".join(f"{v:g}" for v in mm) if mm else "unknown"


def pixel(mm: float) -> str:
    """Return a pixel's edge, or that the file does not say."""
    return f"{mm:g}" if mm else "unknown"
