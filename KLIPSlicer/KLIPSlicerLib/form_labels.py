"""The labels of all forms of the panel as wide as the widest: controls stand in one column, in every language."""

from __future__ import annotations

from typing import Any

LABELS = (
    *("inputLabel", "roiLabel", "slicesLabel", "priorLabel", "scoreLabel"),
    *("blockLabel", "windowLabel", "windowRangeLabel", "fdrLabel", "falseRegionsLabel"),
    *("signLabel", "tissueLabel", "organsLabel", "segmentLabel", "opacityLabel"),
    *("thresholdLabel", "outputMapLabel", "outputReconstructionLabel", "outputRegionsLabel", "outputTableLabel"),
    *("auditLabel", "auditSliceLabel", "auditByLabel", "auditSinogramLabel", "auditReferenceLabel"),
    *("auditSegmentsLabel",),
    *("presetLabel", "viewsLabel", "geometryLabel", "doseLabel", "samplesLabel"),
    *("stepsLabel", "seedLabel", "deviceLabel", "depthLabel", "weightsLabel"),
    *("pythonLabel", "wheelsLabel", "outputLabel"),
)
"""Names of the labels at the left of a control."""


def alignLabels(ui: Any) -> None:
    """Make all labels as wide as the widest."""
    labels = [getattr(ui, name) for name in LABELS]
    width = max(label.sizeHint.width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)
