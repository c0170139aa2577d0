"""`klip detect SCAN.npz`, or a folder of projections: the whole story for what a scanner measured.

    sinogram → rays chosen → units, hardening, noise → posterior samples → KL trace → KL map → regions → files

The same trace, map, regions and files as :func:`KLIPCore.detection.detect.detect`; what is left out is the
simulated measurement. The study that maps are drawn on is a quick reconstruction of the rays that were used,
one slice of 1 mm.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.detection.devices import choose_devices, configure_process
from KLIPCore.detection.measured_scan import MeasuredScan, Selection, material_of, trace_scan
from KLIPCore.detection.precision import EXACT
from KLIPCore.detection.run_precision import settle
from KLIPCore.errors import PriorError, TraceError
from KLIPCore.io.projections import holds_projections, read_projections
from KLIPCore.io.sinogram import PICTURES, check_attenuation, read_htc2022, read_sinogram
from KLIPCore.io.sinogram_doubts import doubts
from KLIPCore.io.study import SCANS
from KLIPCore.physics.solve import least_squares
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import SAMPLING_SHARE, SIMULATED, Detection, Progress, finish
from KLIPCore.runs.search import Search
from KLIPCore.volume.framed_study import FramedStudy, Framing
from KLIPCore.volume.geometry import Geometry
from KLIPCore.volume.units import MU_WATER_PER_MM

QUICK_ITERATIONS = 12
"""Of the least-squares reconstruction that is shown as the study."""


def is_scan(path: Path) -> bool:
    """Return whether a path names measured projections rather than a volume.

    Those that cannot be read as they are get their remedy from the reader.
    """
    return holds_projections(path) if path.is_dir() else path.suffix.lower() in (*SCANS, *PICTURES)


@dataclass(frozen=True, eq=False)
class _Sinogram:
    """One slice's line integrals and rays, and what is known of the scanner beyond them."""

    data: NDArray[np.float32]
    geometry: Geometry
    water_per_mm: float = MU_WATER_PER_MM
    hardening_corrected: bool = False
    told: tuple[str, ...] = ("HU are attenuation on a scale, not a calibrated CT's.",)


def detect_scan(
    path: Path, out: Path, config: Config, *, overwrite: bool = False, progress: Progress | None = None
) -> Detection:
    """Find where a measured scan departs from what a prior expects.

    Parameters
    ----------
    path : ``.npz`` with its geometry (:mod:`KLIPCore.io.sinogram`), a disc of the Helsinki Tomography
        Challenge 2022, or a folder of DICOM-CT-PD projections (:mod:`KLIPCore.io.projections`), of which the slice in
        the middle is taken.
    out : folder for the results; a finished trace with the same settings is used again.
    config : settings; of the measurement only the number of views and the arc may be changed.
    overwrite : replace a run with other settings in ``out``.
    progress : called as work goes on.

    Raises
    ------
    KlipError : one of its descendants, with a remedy; see :mod:`KLIPCore.errors`.
    """
    with RunFolder(out).locked():
        return _detect(path, RunFolder(out), config, overwrite, progress or (lambda stage, fraction, detail: None))


def _detect(path: Path, folder: RunFolder, config: Config, overwrite: bool, tell: Progress) -> Detection:
    """What :func:`detect_scan` does in a folder that nobody else works in."""
    config.require_layer()
    config.measurement.require_scanner()
    folder.check_free(config, overwrite, "measured")
    tell("read", 0.0, "reading the scan")
    configure_process()
    device = choose_devices(config.device)[0]
    exact = load_prior(config.prior, device, EXACT)
    sinogram = _sinogram(path, exact)
    scan, digest = _prepare(sinogram, config, exact, device)
    prior, choice, fingerprint = settle(
        folder,
        config,
        exact,
        ("measured", exact.card.sha256, digest),
        overwrite,
        lambda detail: tell("sample", SAMPLING_SHARE[0], detail),
    )
    n_views, arc = len(scan.measurement.y), config.measurement.arc_deg or 360.0
    told = (
        f"MEASURED by a scanner: {n_views} views over {arc:g}°, {scan.photons:.0f} photons per ray (estimated), "
        "nothing simulated but the null"
    )
    card = prior.card.to_dict()
    card.pop("training")
    folder.open(
        {
            "version": __version__,
            "fingerprint": fingerprint,
            "study": {"path": str(path.resolve()), "series": None, "hash": digest, "shape": [1, *scan.image.shape]},
            "config": config.to_dict(),
            "prior": card,
            "precision": choice.to_dict(),
            "slices_asked": None,
            "slices": [0],
            "roi": None,
            "simulated": scan.measurement.simulated,
            "measurement": SIMULATED if scan.measurement.simulated else told,
            "warnings": [f"The prior knows: {prior.card.anatomy}. {sinogram.told[0]}", *sinogram.told[1:]],
        },
        overwrite,
    )
    framed = _framed(scan, prior)
    folder.write_framing(framed)
    if not folder.finished([0], fingerprint):
        tell("sample", SAMPLING_SHARE[0], "sampling the scan and its solid twin")
        folder.save_slice(trace_scan(scan, prior, config), fingerprint)
    result = finish(folder, framed, config.regions, prior.card, tell, Search())
    tell("done", 1.0, f"{len(result.report.regions)} regions")
    return result


def reopen_scan(run: dict[str, Any], framing: Framing, where: Path | None) -> FramedStudy:
    """Return the scan that a run was made from, read and quickly reconstructed again.

    See :func:`KLIPCore.runs.rerun.reopen_study` for parameters.

    Raises
    ------
    TraceError : another scan lies there.
    """
    config = Config.from_dict(run["config"])
    configure_process()
    device = choose_devices(config.device)[0]
    prior = load_prior(config.prior, device)
    sinogram = _sinogram(where or Path(run["study"]["path"]), prior)
    scan, digest = _prepare(sinogram, config, prior, device)
    if digest != run["study"]["hash"]:
        raise TraceError("The scan is not the one this trace was made from.", "Give the original with --study.")
    return _framed(scan, prior)


def _sinogram(path: Path, prior: Prior) -> _Sinogram:
    """What was measured, of whichever kind.

    Raises
    ------
    PriorError : projections of a patient, and a prior whose window leaves out air.
    """
    if not path.is_dir():
        data, geometry = read_htc2022(path)[:2] if path.name.startswith("htc2022_") else read_sinogram(path)
        return _Sinogram(data, geometry, told=(*_Sinogram.told, *doubts(data, geometry)))
    if prior.card.window.lo_hu > -1000:
        raise PriorError(
            f"The prior {prior.card.name} knows HU from {prior.card.window.lo_hu:g} on, and projections add up all "
            "that lies in a ray, air and bone too.",
            "Reconstruct them first (klip reconstruct FOLDER -o scan.nrrd) and examine that volume; or take a prior "
            "whose window begins at -1000 HU.",
        )
    scan = read_projections(path)
    places = scan.positions()
    (middle,) = scan.slices([float(places[len(places) // 2])])
    water, corrected = scan.scanner.water_per_mm, scan.scanner.hardening_corrected
    told = [f"Of the projections, the slice at {middle.z_mm:g} mm was examined.", *scan.notes]
    told += [doubt] if (doubt := scan.doubt(middle)) else []
    if math.isnan(water):
        water = MU_WATER_PER_MM
        told.append("HU are attenuation on a scale: the projections do not say that of water.")
    return _Sinogram(middle.sinogram, middle.geometry, water, corrected, tuple(told))


def _prepare(measured: _Sinogram, config: Config, prior: Prior, device: torch.device) -> tuple[MeasuredScan, str]:
    """The rays that are used, in the prior's units, and a hash of them."""
    sinogram, geometry = measured.data, measured.geometry
    check_attenuation(sinogram)
    m = config.measurement
    views = Selection(None, m.arc_deg or 360.0).of(geometry)
    if m.n_views < len(views):
        views = Selection(m.n_views, m.arc_deg or 360.0).of(geometry)
    scan = MeasuredScan.prepare(
        sinogram[views],
        geometry.views(views),
        prior.card,
        None if measured.hardening_corrected else material_of(prior.card),
        device=device,
        water_per_mm=measured.water_per_mm,
    )
    return scan, hashlib.blake2b(np.ascontiguousarray(sinogram[views]).data, digest_size=16).hexdigest()


def _framed(scan: MeasuredScan, prior: Prior) -> FramedStudy:
    """The study that maps are drawn on: a quick reconstruction."""
    return scan.framed(least_squares(scan.measurement, QUICK_ITERATIONS).cpu().numpy(), prior.card)
