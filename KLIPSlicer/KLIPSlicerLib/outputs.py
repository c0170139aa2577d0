"""Where results go: into new nodes, or into nodes of the scene that the user chose, whose contents are replaced.

A choice is kept in the parameter node, so it is saved with the scene and forgotten when the scene is closed. It is
noted when Detect is pressed; a node that is deleted before results come is replaced by a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slicer.util
from slicer.i18n import tr as _

from .result_nodes import MAP, RECONSTRUCTION, SEGMENTATION, TABLE
from .sequences import isOfSequence

if TYPE_CHECKING:
    from .parameters import KLIPSlicerParameterNode

PARAMETERS = {
    "outputMap": (MAP, "vtkMRMLScalarVolumeNode"),
    "outputReconstruction": (RECONSTRUCTION, "vtkMRMLScalarVolumeNode"),
    "outputRegions": (SEGMENTATION, "vtkMRMLSegmentationNode"),
    "outputTable": (TABLE, "vtkMRMLTableNode"),
}
"""Name in the parameter node → its role in a detection, and the class a node must have."""

SELECTORS = {
    "outputMap": "outputMapSelector",
    "outputReconstruction": "outputReconstructionSelector",
    "outputRegions": "outputRegionsSelector",
    "outputTable": "outputTableSelector",
}
"""Name in the parameter node → name of its selector in the panel."""


@dataclass(frozen=True)
class Outputs:
    """Identifiers of the nodes that results go into.

    identifiers : by role (result_nodes.ROLES); a role that is absent gets a new node.
    """

    identifiers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def chosenIn(cls, parameters: KLIPSlicerParameterNode) -> Outputs:
        """What the parameter node says now."""
        return cls({role: node.GetID() for _name, role, _kind, node in _chosen(parameters)})

    def inScene(self, scene: Any) -> dict[str, Any]:
        """Role → node, of those that are still there."""
        found = {role: scene.GetNodeByID(identifier) for role, identifier in self.identifiers.items()}
        return {role: node for role, node in found.items() if node is not None}


def _chosen(parameters: KLIPSlicerParameterNode) -> list[tuple[str, str, str, Any]]:
    """Name, role, class and node of each choice."""
    found = ((name, role, kind, getattr(parameters, name)) for name, (role, kind) in PARAMETERS.items())
    return [each for each in found if each[3] is not None]


def refusal(node: Any, kind: str, parameters: KLIPSlicerParameterNode) -> tuple[str, str] | None:
    """Why results cannot go into a node, and what to do; None when they can."""
    name, another = node.GetName(), _("Choose another node under “Outputs”, or a new one.")
    if node is parameters.inputVolume:
        return _("Results cannot go into the CT that is examined."), another
    if node is parameters.organs:
        return _("Regions cannot go into the segmentation that organs are read from."), another
    if node.GetClassName() != kind:
        return _("Results cannot go into {name}, which is of another kind.").format(name=name), another
    if node.GetAttribute("DICOM.instanceUIDs"):
        return _("{name} was loaded from DICOM and would be lost.").format(name=name), another
    if isOfSequence(node):
        return _("{name} shows an item of a sequence.").format(name=name), another
    return None


def checkOutputs(parameters: KLIPSlicerParameterNode) -> None:
    """Refuse nodes that results cannot go into.

    Raises
    ------
    ConfigError : there is one.
    """
    from KLIPCore.errors import ConfigError

    chosen = _chosen(parameters)
    for _name, _role, kind, node in chosen:
        refused = refusal(node, kind, parameters)
        if refused:
            raise ConfigError(*refused)
    if len({node.GetID() for *_rest, node in chosen}) < len(chosen):
        raise ConfigError(_("Map and reconstruction cannot go into the same volume."), _("Choose two, or new ones."))


def refreshSelectors(ui: Any, parameters: KLIPSlicerParameterNode) -> None:
    """Offer what results can go into; what is chosen stays visible, so that it can be changed."""
    for name, (_role, kind) in PARAMETERS.items():
        chosen = getattr(parameters, name)
        hidden = [
            node.GetID()
            for node in slicer.util.getNodesByClass(kind)
            if node is not chosen and refusal(node, kind, parameters)
        ]
        model = getattr(ui, SELECTORS[name]).sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != hidden:
            model.hiddenNodeIDs = hidden


def isChosen(node: Any, parameters: KLIPSlicerParameterNode) -> bool:
    """Whether results will go into a node: it is no study to examine then."""
    return any(node is each for *_rest, each in _chosen(parameters))
