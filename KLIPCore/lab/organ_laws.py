"""The brightness of organs in the prior's training patients: `python -m KLIPCore.lab.organ_laws --data FOLDER`.

FOLDER holds `btcv`; prints what :data:`KLIPCore.maps.organ_laws.LAWS` holds, and the nats of each organ in patients
that had no part in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from KLIPCore.io.images import read_image
from KLIPCore.lab.audit_cases import BTCV_TEST, BTCV_TRAIN
from KLIPCore.maps.organ_laws import LAWS, LEAST_VOXELS, organ_fits
from KLIPCore.organs.network import ORGANS
from KLIPCore.volume.organs import OrganMap


def main() -> None:
    """Print laws and nats."""
    parser = argparse.ArgumentParser(description="The brightness of organs in the prior's training patients.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    medians: dict[str, list[float]] = {name: [] for name in ORGANS.values()}
    for case in BTCV_TRAIN:
        hu, labels = _case(data, case)
        for number, name in ORGANS.items():
            values = hu[labels == number]
            if len(values) >= LEAST_VOXELS:
                medians[name].append(float(np.median(values)))
    for name, own in medians.items():
        print(f'    "{name}": ({np.mean(own):.1f}, {np.std(own, ddof=1):.1f}),  # {len(own)} patients')
    if not set(LAWS) <= set(ORGANS.values()):
        return
    for case in BTCV_TEST:
        hu, labels = _case(data, case)
        fits = organ_fits(hu, OrganMap(labels, ORGANS))
        print(case, ", ".join(f"{fit.organ} {fit.hu:.0f} HU {fit.nats:.1f} nats" for fit in fits))


def _case(data: Path, case: str) -> tuple[np.ndarray, np.ndarray]:
    """HU of a patient and the labels of the organs."""
    stored = read_image(data / "btcv" / f"case{case}_ct8.nii.gz").array
    labels = read_image(data / "btcv" / f"case{case}_seg.nii.gz").array
    return stored / 255 * 400 - 125, labels.round().astype(np.uint8)


if __name__ == "__main__":
    main()
