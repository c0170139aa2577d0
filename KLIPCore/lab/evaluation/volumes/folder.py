"""A folder of scans with masks, by their names alone.

::

    FOLDER/
      anna.nii.gz   anna_label.nii.gz     a scan, and its mask beside it: NAME_label, NAME_seg or NAME_mask
      bert/         bert_mask.nii.gz      a folder of DICOM slices does as well as a file
      carl.nrrd                           no mask: healthy, if the caller says that such scans are

Scans and masks are NIfTI, NRRD or MetaImage. Every scan is a patient; several scans of one patient need a YAML file.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError, EmptyInputError, UnreadableFileError
from KLIPCore.io.images import FORMATS, image_format
from KLIPCore.io.listing import read_header
from KLIPCore.lab.evaluation.volumes.config import Scan, VolumesConfig

MASK = re.compile(r"(.+)_(?:label|seg|mask)", re.IGNORECASE)
"""Name of a mask, without its format."""

LOOKED_AT = 20
"""Files of a folder that are looked at for a DICOM slice."""

CONVENTION = "Name them NAME.nii.gz and NAME_label.nii.gz (or _seg, _mask), or give a YAML file."


def folder_config(
    folder: Path, run: Config, scores: tuple[str, ...] = (), lesion_values: tuple[int, ...] = (), healthy: bool = False
) -> VolumesConfig:
    """Return the evaluation of every scan in a folder.

    Parameters
    ----------
    folder : whose files and subfolders are scans and masks; see the module.
    run : settings of the runs.
    scores : names in :data:`KLIPCore.scores.SCORES`; the settings' own when empty.
    lesion_values : labels that are lesion; every label above 0 when empty.
    healthy : scans without a mask are healthy.

    Raises
    ------
    EmptyInputError : there is no scan.
    ConfigError : two scans of one name, or two masks of one scan.
    """
    scans: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        stem = path.name.removesuffix(path.name[len(path.name) - len(image_format(path)) :])
        if path.is_dir():
            if _has_dicom(path):
                _add(scans, path.name, path, "scans")
        elif image_format(path):
            named = MASK.fullmatch(stem)
            _add(masks if named else scans, named[1] if named else stem, path, "masks" if named else "scans")
    if not scans:
        raise EmptyInputError(
            f"There is no scan in {folder}: no {', '.join(FORMATS)} file and no folder of DICOM slices.", CONVENTION
        )
    return VolumesConfig(
        title=f"Whole volumes of {folder.resolve().name}",
        studies=tuple(
            Scan(name, image=path, mask=masks.get(name), healthy=healthy and name not in masks)
            for name, path in scans.items()
        ),
        scores=scores,
        lesion_values=lesion_values,
        run=run,
        name=folder.resolve().name,
        notes=tuple(f"{path.name} belongs to no scan." for name, path in masks.items() if name not in scans),
    )


def _add(found: dict[str, Path], name: str, path: Path, what: str) -> None:
    if name in found:
        raise ConfigError(f"{found[name].name} and {path.name} are two {what} of one name.", CONVENTION)
    found[name] = path


def _has_dicom(folder: Path) -> bool:
    """Whether one of the first files in a folder, or in folders of it, is a DICOM file."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in islice(files, LOOKED_AT):
        try:
            if read_header(path, ("SOPClassUID",)) is not None:
                return True
        except UnreadableFileError:
            return True  # detection will say what is wrong with it
    return False
