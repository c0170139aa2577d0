"""Everything one audit puts into the scene.

::

    study (subject hierarchy)
    ├── CT                              the reconstruction
    └── Audit: CT                       a folder
        ├── CT not measured             null-space share of each block of the slice, 0 to 1
        ├── CT residual                 what data hold and the image does not, in standard deviations
        ├── CT audited                  one segment a structure, in the color of what the data say of it
        ├── CT audit table
        └── CT audit                    the record, as text: the audit is found again from it in a saved scene

Maps and segments lie on the one slice that was audited, under the reconstruction's own transform.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from . import display, nodes, regions, result_nodes
from .nodes import TRACE

if TYPE_CHECKING:
    from .audit_run import AuditFiles

INPUT, NULL_SPACE, RESIDUAL = "KLIP.AuditInput", "KLIP.AuditNullSpace", "KLIP.AuditResidual"
SEGMENTATION, TABLE, PAGE = "KLIP.AuditSegmentation", "KLIP.AuditTable", "KLIP.AuditPage"
"""Reference roles from the text node to the others; the last is an attribute, the path of the page."""

ROLES = (NULL_SPACE, RESIDUAL, SEGMENTATION, TABLE)
OPACITY = 0.55
RESIDUAL_LIMIT, RESIDUAL_SHOWN = 6.0, 2.0
"""Residuals beyond so many standard deviations look alike; smaller ones than this are not shown."""


def verdictNames() -> dict[str, str]:
    """What the data can say of a structure."""
    return {
        "measured": _("measured"),
        "contradicted": _("contradicted"),
        "unprovable": _("unprovable"),
    }


class AuditInScene:
    """One audit in the scene. Make it with :meth:`create` or :meth:`restore`.

    Attributes
    ----------
    textNode : holds everything together.
    record : what `klip audit` wrote; its regions have ``centre_lps_mm``, too.
    """

    def __init__(self, textNode: Any, record: dict[str, Any]) -> None:
        self.textNode, self.record = textNode, record

    @classmethod
    def create(cls, inputNode: Any, files: AuditFiles) -> AuditInScene:
        """Put an audit of a volume node into the scene."""
        scene, name = inputNode.GetScene(), inputNode.GetName()
        grid = files.nullSpace.grid
        for number, region in enumerate(files.record["regions"], 1):
            inside = np.argwhere(files.labels == number)
            region["centre_lps_mm"] = [float(v) for v in grid.to_world(inside.mean(0))]
        made = {
            NULL_SPACE: _map(inputNode, _("{name} not measured").format(name=name), files.nullSpace),
            RESIDUAL: _map(inputNode, _("{name} residual").format(name=name), files.residual),
        }
        made[SEGMENTATION] = _segments(made[NULL_SPACE], _("{name} audited").format(name=name), files)
        made[TABLE] = _table(scene, _("{name} audit table").format(name=name), files.record["regions"])
        text = scene.AddNewNodeByClass("vtkMRMLTextNode", _("{name} audit").format(name=name))
        text.SetText(json.dumps(files.record))
        text.SetAttribute(PAGE, str(files.page))
        text.SetNodeReferenceID(INPUT, inputNode.GetID())
        for role, node in made.items():
            text.SetNodeReferenceID(role, node.GetID())
            node.SetNodeReferenceID(TRACE, text.GetID())
        display.setUpNullSpaceDisplay(made[NULL_SPACE], _("Not measured"))
        display.setUpResidualDisplay(made[RESIDUAL], _("Residual"), RESIDUAL_SHOWN, RESIDUAL_LIMIT)
        result_nodes.intoFolder(inputNode, _("Audit: {name}").format(name=name), [*made.values(), text])
        return cls(text, files.record)

    @classmethod
    def restore(cls, textNode: Any) -> AuditInScene | None:
        """The audit of a text node, e.g. after a scene was loaded; None where it holds none."""
        if textNode.GetNodeReference(NULL_SPACE) is None:
            return None
        return cls(textNode, json.loads(textNode.GetText()))

    @staticmethod
    def last(scene: Any) -> AuditInScene | None:
        """The last audit of a scene; None without."""
        for node in reversed(list(slicer.util.getNodesByClass("vtkMRMLTextNode", scene))):
            found = AuditInScene.restore(node)
            if found is not None:
                return found
        return None

    roles = ROLES

    @property
    def inputNode(self) -> Any:
        """The reconstruction, or None when it was deleted."""
        return self.textNode.GetNodeReference(INPUT)

    @property
    def page(self) -> Path:
        """The page; it may be gone."""
        return Path(self.textNode.GetAttribute(PAGE) or "")

    @property
    def regions(self) -> list[dict[str, Any]]:
        """What was audited, the most contradicted first."""
        return list(self.record["regions"])

    def node(self, role: str) -> Any:
        """One of :data:`ROLES`; None when it was deleted."""
        return self.textNode.GetNodeReference(role)

    def show(self, role: str) -> None:
        """A map in front of the reconstruction in all slice views; none where the role is empty."""
        front = self.node(role) if role else None
        if self.inputNode is not None:
            display.showInSliceViews(self.inputNode, front, OPACITY)
        for each in (NULL_SPACE, RESIDUAL):
            legend = display.legendOf(self.node(each)) if self.node(each) is not None else None
            if legend is not None:
                legend.SetVisibility(each == role)

    def jumpTo(self, i: int) -> None:
        """All slice views to the middle of structure ``i``."""
        world = nodes.worldFromLps(self.node(NULL_SPACE), self.regions[i]["centre_lps_mm"])
        display.jumpSliceViews(self.textNode.GetScene(), world)


def _map(inputNode: Any, name: str, volume: Any) -> Any:
    node = inputNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    nodes.updateNodeFromVolume(node, volume)
    node.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    return node


def _segments(mapNode: Any, name: str, files: AuditFiles) -> Any:
    """One segment a structure, in its verdict's color."""
    from KLIPCore.audit.colours import rgb_of

    node = regions.newSegmentation(mapNode, name)
    for number, region in enumerate(files.record["regions"], 1):
        verdict = region["verdict"]
        called = f"{region['name']}: {verdictNames()[verdict]}"
        identifier = node.GetSegmentation().AddEmptySegment(f"KLIP_audit_{number}", called, rgb_of(verdict))
        mask = (files.labels == number).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, mapNode)
    return node


def _table(scene: Any, name: str, found: list[dict[str, Any]]) -> Any:
    """One row a structure."""
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    columns: tuple[tuple[str, str, Any], ...] = (
        ("Structure", "name", vtk.vtkStringArray),
        ("Verdict", "verdict", vtk.vtkStringArray),
        ("Held by the data", "amplitude", vtk.vtkDoubleArray),
        ("Held, standard error", "amplitude_error", vtk.vtkDoubleArray),
        ("Nats", "support_nats", vtk.vtkDoubleArray),
        ("Expected nats", "information_nats", vtk.vtkDoubleArray),
        ("Sentence", "sentence", vtk.vtkStringArray),
    )
    for title, key, kind in columns:
        column = kind()
        column.SetName(title)
        for region in found:
            value = region[key]
            column.InsertNextValue(value if kind is vtk.vtkStringArray else float("nan" if value is None else value))
        node.AddColumn(column)
    return node
