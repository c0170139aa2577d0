"""SNOMED CT codes of organs by the names that people and programs give them."""

from __future__ import annotations

import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

ORGANS: dict[str, Code] = {
    "adrenal": codes.SCT.AdrenalGland,
    "adrenal gland": codes.SCT.AdrenalGland,
    "aorta": codes.SCT.Aorta,
    "bladder": codes.SCT.UrinaryBladderStructure,
    "bone": codes.SCT.Bone,
    "bones": codes.SCT.Bone,
    "brain": codes.SCT.Brain,
    "colon": codes.SCT.Colon,
    "duodenum": codes.SCT.Duodenum,
    "esophagus": codes.SCT.Esophagus,
    "oesophagus": codes.SCT.Esophagus,
    "gall bladder": codes.SCT.Gallbladder,
    "gallbladder": codes.SCT.Gallbladder,
    "heart": codes.SCT.Heart,
    "inferior vena cava": codes.SCT.InferiorVenaCava,
    "kidney": codes.SCT.Kidney,
    "kidneys": codes.SCT.Kidney,
    "liver": codes.SCT.Liver,
    "lung": codes.SCT.Lung,
    "lungs": codes.SCT.Lung,
    "muscle": codes.SCT.Muscle,
    "ovary": codes.SCT.Ovary,
    "pancreas": codes.SCT.Pancreas,
    "portal vein": codes.SCT.PortalVein,
    "postcava": codes.SCT.InferiorVenaCava,
    "prostate": codes.SCT.Prostate,
    "rectum": codes.SCT.Rectum,
    "small bowel": codes.SCT.SmallIntestine,
    "small intestine": codes.SCT.SmallIntestine,
    "spine": codes.SCT.Spine,
    "spleen": codes.SCT.Spleen,
    "stomach": codes.SCT.Stomach,
    "urinary bladder": codes.SCT.UrinaryBladderStructure,
    "uterus": codes.SCT.Uterus,
    "vertebra": codes.SCT.Vertebra,
    "vertebrae": codes.SCT.Vertebra,
}
"""Names in English, in lower case, without a side."""

SIDES = {"left", "right", "l", "r"}


def organ_code(name: str | None) -> Code | None:
    """Return the code of the organ that a name means, whatever its side; None where we know none.

    Parameters
    ----------
    name : as a segmentation has it, such as ``Left Kidney`` or ``kidney_left``.
    """
    words = re.findall(r"[a-z]+", (name or "").casefold())
    return ORGANS.get(" ".join(word for word in words if word not in SIDES))
