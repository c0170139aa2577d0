"""Localization on scans with masks: `klip evaluate CONFIG --data FOLDER -o OUT`.

Every case goes through the very steps of :func:`KLIPCore.pipeline.detect`, up to the trace. Then every score is read from
the same trace, so that they are compared on the same prior, samples and cost. Blocks that hold a labelled pixel are
positive; all others inside the region (body, or organ) are negative; one ROC curve a slice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import yaml
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.config import SCORES, Config, RegionConfig
from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError
from KLIPCore.evaluation.auroc import Interval, auroc, bootstrap_mean
from KLIPCore.framing import FramedStudy, frame_study
from KLIPCore.io.images import read_image
from KLIPCore.io.results import RunFolder
from KLIPCore.kl.map import KLMap, make_map
from KLIPCore.kl.trace import KLTrace
from KLIPCore.mapping import volume_hash
from KLIPCore.pipeline import sample_slices
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.selection import choose_device

MIN_LESION_PIXELS = 20
"""A slice counts as a lesion slice when its label has at least this many pixels in the frame."""


@dataclass(frozen=True)
class Case:
    """One scan with masks.

    Attributes
    ----------
    name : for the table.
    patient : cases of one patient share it; figures are given per patient.
    image, label : files below the data folder, with the same array shape.
    """

    name: str
    patient: str
    image: str
    label: str


@dataclass(frozen=True)
class EvaluationConfig:
    """One table; one YAML file.

    Attributes
    ----------
    title : of the table.
    cases : what is evaluated.
    lesion_values, organ_values : label values that are lesion, and that are the organ (lesion included).
    max_slices : lesion slices per case, evenly spread; 0 takes all.
    clean_slices : slices per case more than ``margin`` slices away from any lesion, for the null's calibration.
    margin : that distance in slices.
    scores : names in :data:`KLIPCore.config.SCORES`.
    block_mm : edge of blocks.
    run : settings of the runs.
    """

    title: str
    cases: tuple[Case, ...]
    lesion_values: tuple[int, ...] = (2,)
    organ_values: tuple[int, ...] = (1, 2)
    max_slices: int = 10
    clean_slices: int = 2
    margin: int = 5
    scores: tuple[str, ...] = ("surprise", "one-shot", "klip")
    block_mm: float = 12.0
    run: Config = field(default_factory=Config)

    @classmethod
    def load(cls, path: Path) -> EvaluationConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : unreadable, or with unknown fields.
        """
        try:
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
            fields["cases"] = tuple(Case(**case) for case in fields["cases"])
            for key in ("lesion_values", "organ_values", "scores"):
                if key in fields:
                    fields[key] = tuple(fields[key])
            base = Config.from_preset(fields.pop("preset", "default"))
            fields["run"] = base.updated(fields.pop("run", {}))
            return cls(**fields)
        except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"The evaluation configuration {path.name} cannot be used ({error}).", "Compare it with configs/eval_lits_dev.yaml.") from error


def evaluate(config: EvaluationConfig, data: Path, out: Path, progress: Callable[[str, float, str], None] | None = None) -> dict[str, Any]:
    """Run all cases and write ``table.json`` and ``table.md`` into ``out``; a stopped evaluation is continued.

    Returns
    -------
    what ``table.json`` holds.

    Raises
    ------
    EmptyInputError : a case's file is missing.
    GeometryError : an image and its label have different shapes.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    device = choose_device(config.run.device)
    prior = load_prior(config.run.prior, device)
    rows: list[dict[str, Any]] = []
    clean_rates: dict[str, list[float]] = {}
    started = time.monotonic()
    seconds: list[float] = []
    for n, case in enumerate(config.cases):

        def part(stage: str, fraction: float, detail: str, n: int = n, name: str = case.name) -> None:
            tell("evaluate", (n + fraction) / len(config.cases), f"{name}: {detail}")

        framed, label = _read_case(case, data, prior)
        lesion_slices, clean = _choose_slices(label, framed, config)
        folder = RunFolder(out / "cases" / case.name)
        fingerprint = config.run.fingerprint(prior.card.sha256, volume_hash(framed.study))
        indices = sorted({*lesion_slices, *clean})
        folder.open({"fingerprint": fingerprint, "case": case.name, "slices": indices, "config": config.run.to_dict()}, overwrite=True)
        sample_slices(folder, framed, config.run, prior, device, indices, fingerprint, part)
        trace = folder.trace(indices, fingerprint)
        seconds += [s.info["seconds"] for s in trace.slices]
        for name in config.scores:
            made = make_map(trace, framed, RegionConfig(score=name, block_mm=config.block_mm))
            rows += _rows(case, name, made, framed, label, lesion_slices, config)
            places = [made.indices.index(k) for k in clean]
            if places:
                clean_rates.setdefault(f"{name}/{case.patient}", []).append(float(np.mean(made.p[places][made.tested[places]] < 0.05)))
    table = _table(config, prior, rows, clean_rates, seconds, time.monotonic() - started)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("table.json", json.dumps(table, indent=2)), ("table.md", markdown(table))):
        part_file = out / f"{name}.part"
        part_file.write_text(text + "\n", encoding="utf-8")
        part_file.replace(out / name)
    tell("done", 1.0, f"{len(rows)} figures")
    return table


def _read_case(case: Case, data: Path, prior: Prior) -> tuple[FramedStudy, NDArray[np.int64]]:
    """The framed study and its labels on the LPS grid."""
    for name in (case.image, case.label):
        if not (data / name).is_file():
            raise EmptyInputError(f"{name} is missing below the data folder.", "Check --data and the evaluation configuration.")
    volume, label = read_image(data / case.image), read_image(data / case.label)
    if volume.array.shape != label.array.shape:
        raise GeometryError(f"{case.name}: image and label have different shapes.", "Use the label of that very image.")
    framed = frame_study(volume, prior.card)
    return framed, framed.orientation.apply(np.round(label.array).astype(np.int64))


def _choose_slices(label: NDArray[np.int64], framed: FramedStudy, config: EvaluationConfig) -> tuple[list[int], list[int]]:
    """Lesion slices, and clean slices away from them, evenly spread."""
    lesion = np.isin(label, config.lesion_values)
    pixels = lesion.sum((1, 2)) / np.prod(framed.frame.pixel)
    body = framed.body.any((1, 2))
    with_lesion = np.flatnonzero((pixels >= MIN_LESION_PIXELS) & body)
    near = ndi.binary_dilation(lesion.any((1, 2)), iterations=config.margin)
    without = np.flatnonzero(~near & body)
    return _spread(with_lesion, config.max_slices or len(with_lesion)), _spread(without, config.clean_slices)


def _spread(indices: NDArray[np.integer], n: int) -> list[int]:
    """At most ``n`` of the indices, evenly spread, both ends included."""
    if len(indices) <= n:
        return [int(k) for k in indices]
    return [int(k) for k in indices[np.linspace(0, len(indices) - 1, n).round().astype(int)]] if n else []


def _rows(
    case: Case, score: str, made: KLMap, framed: FramedStudy, label: NDArray[np.int64], lesion_slices: list[int], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """One row a lesion slice: AUROC over the body and inside the organ."""
    step = framed.frame.size // made.nats.shape[-1]
    reach = max(1, round(made.block_mm / framed.frame.pixel_mm))
    out = []
    for k in lesion_slices:
        n = made.indices.index(k)
        frame = framed.frame_of(k)
        lesion = frame.pull(np.isin(label[k : k + 1], config.lesion_values).astype(np.float32), order=0)[0] > 0.5
        organ = frame.pull(np.isin(label[k : k + 1], config.organ_values).astype(np.float32), order=0)[0]
        positive = ndi.maximum_filter(lesion, reach)[step // 2 :: step, step // 2 :: step]  # the block centred here holds a labelled pixel
        inside = ndi.uniform_filter(organ, step)[step // 2 :: step, step // 2 :: step] > 0.5
        values = made.nats[n]
        row = {"case": case.name, "patient": case.patient, "slice": k, "score": score, "lesion_mm2": float(lesion.sum() * framed.frame.pixel_mm**2)}
        for region, mask in (("body", made.tested[n]), ("organ", inside)):
            chosen = mask | positive
            row[region] = auroc(values[chosen], positive[chosen])
        out.append(row)
    return out


def _table(
    config: EvaluationConfig, prior: Prior, rows: list[dict[str, Any]], clean: dict[str, list[float]], seconds: list[float], wall: float
) -> dict[str, Any]:
    """Means per patient and over all slices, with bootstrap intervals."""
    patients = list(dict.fromkeys(case.patient for case in config.cases))
    summary = []
    for score in config.scores:
        for patient in [*patients, "all"]:
            own = [r for r in rows if r["score"] == score and patient in ("all", r["patient"])]
            figures: dict[str, Interval] = {region: bootstrap_mean([r[region] for r in own]) for region in ("body", "organ")}
            rates = [x for key, values in clean.items() for x in values if key.split("/")[0] == score and patient in ("all", key.split("/", 1)[1])]
            summary.append(
                {
                    "score": score,
                    "patient": patient,
                    **{region: [round(i.mean, 4), round(i.lo, 4), round(i.hi, 4)] for region, i in figures.items()},
                    "n_slices": figures["body"].n,
                    "clean_blocks_below_5_percent": round(float(np.mean(rates)), 4) if rates else None,
                }
            )
    return {
        "title": config.title,
        "software": f"KLIPCore {__version__}",
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "run": config.run.to_dict(),
        "block_mm": config.block_mm,
        "scores": {name: SCORES[name].explanation for name in config.scores},
        "n_cases": len(config.cases),
        "n_patients": len(patients),
        "seconds_per_slice_median": round(float(np.median(seconds)), 2) if seconds else None,
        "wall_seconds": round(wall, 1),
        "summary": summary,
        "rows": rows,
    }


def markdown(table: dict[str, Any]) -> str:
    """The summary as a Markdown table with its provenance."""
    lines = [f"# {table['title']}", "", "| score | patient | slices | AUROC body | AUROC organ | clean blocks with p < 0.05 |", "|---|---|---|---|---|---|"]
    for row in table["summary"]:
        body, organ = (f"{row[r][0]:.3f} [{row[r][1]:.3f}, {row[r][2]:.3f}]" for r in ("body", "organ"))
        rate = row["clean_blocks_below_5_percent"]
        lines.append(f"| {row['score']} | {row['patient']} | {row['n_slices']} | {body} | {organ} | {'–' if rate is None else f'{100 * rate:.1f} %'} |")
    run = table["run"]
    lines += [
        "",
        f"Mean of per-slice AUROC, 95 % bootstrap interval over slices. Prior {table['prior']} ({table['prior_sha256'][:12]}), preset {run['preset']}, "
        f"{run['measurement']['n_views']} views, {run['sampling']['n_samples']} samples, seed {run['sampling']['seed']}, blocks of {table['block_mm']:g} mm; "
        f"{table['seconds_per_slice_median']} s a slice (median). {table['software']}.",
    ]
    return "\n".join(lines)


def traces(out: Path, case: str) -> KLTrace:
    """The trace that an evaluation left of one case, for looking closer."""
    folder = RunFolder(out / "cases" / case)
    run = folder.run()
    return folder.trace(run["slices"], run["fingerprint"])
