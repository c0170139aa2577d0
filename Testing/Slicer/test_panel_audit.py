"""An audit from the panel: a real `klip audit` of a small simulated slice, its maps, segments, table and page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import headless
import numpy as np
import panel_at_work
import patience
import pytest
import torch
from heartbeat import listening
from inputs import node_of, segment_holds, to_world, value_at
from KLIPSlicerLib.audit_run import sliceOf
from KLIPSlicerLib.audit_scene import NULL_SPACE, RESIDUAL, SEGMENTATION, TABLE, AuditInScene
from KLIPSlicerLib.nodes import isResult
from panel_at_work import slicer
from standins import person
from test_panel_within import segmentation

from KLIPCore.io.sinogram import write_sinogram
from KLIPCore.physics.noise import PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import MU_WATER_PER_MM, mu_to_hu
from KLIPCore.volume.volume import Volume

N, PIXEL = 40, 4.0
GRID = ImageGrid2D((N, N), PIXEL)
RAYS = ParallelBeam.sparse(40, GRID)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """(N, N) a soft disc."""
    rows, columns = np.indices((N, N))
    return 1 / (1 + np.exp(np.clip(3 * (np.hypot(rows - row, columns - column) - radius), -50, 50)))


BODY = disc(19, 20, 15) + 0.3 * disc(12, 27, 4)
TRUE, INVENTED = disc(26, 14, 3.0), disc(17, 14, 3.0)


def volume(mu: np.ndarray) -> Volume:
    """Three slices around the isocentre, stored from head to feet; the lowest is plain tissue, the others ``mu``."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, PIXEL], [0, PIXEL, 0], [-5.0, 0, 0]])
    affine[:3, 3] = (GRID.x_mm[0], GRID.y_mm[0], 10.0)
    slices = np.stack([mu, mu, BODY * MU_WATER_PER_MM]).astype(np.float32)
    return Volume(mu_to_hu(slices), Grid((3, N, N), affine))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """The sinogram of the slice with the true lesion alone."""
    clean = Projector(RAYS, GRID)(torch.from_numpy(MU_WATER_PER_MM * (BODY + 0.1 * TRUE)).float())
    y = PoissonNoise(1e6).sample(clean, torch.Generator().manual_seed(0))
    write_sinogram(tmp_path / "scan.npz", y.numpy(), RAYS)
    return tmp_path / "scan.npz"


@pytest.fixture
def shown_image(widget: Any) -> Any:
    """The reconstruction with both lesions, in the scene and chosen for an audit."""
    node = node_of(volume(MU_WATER_PER_MM * (BODY + 0.1 * TRUE + 0.1 * INVENTED)), "Recon")
    widget.ui.auditSection.collapsed = False
    widget.ui.auditSelector.setCurrentNode(node)
    person.events(0.1)
    return node


def wait_for(widget: Any, condition: Any, what: str) -> None:
    """Wait as long as the audit works."""
    controls = widget.panel.audit
    patience.wait(condition, what, lambda: widget.ui.auditStatusLabel.text, lambda: controls.auditing.running)


def audited(widget: Any) -> AuditInScene:
    """Press Audit and wait for its end."""
    person.click(widget.ui.auditButton)
    controls = widget.panel.audit
    person.wait(lambda: controls.auditing.running or controls.shown, 5, "it begins")
    wait_for(widget, lambda: controls.shown is not None, "the audit is shown")
    return controls.shown


def test_the_button_says_why_it_cannot_be_pressed(widget: Any, shown_image: Any, tmp_path: Path) -> None:
    ui, p = widget.ui, widget._parameterNode
    assert not ui.auditButton.enabled
    assert "sinogram" in ui.auditButton.toolTip
    assert "sinogram" in ui.auditSummaryLabel.text
    person.choose(ui.auditByComboBox, "Another volume")
    assert "compared with" in ui.auditButton.toolTip
    assert ui.auditReferenceSelector.visible
    assert not ui.auditSinogramEdit.visible
    ui.auditReferenceSelector.setCurrentNode(shown_image)
    assert "itself" in ui.auditButton.toolTip
    other = volume(BODY * MU_WATER_PER_MM)
    moved = other.grid.affine.copy()
    moved[0, 3] += 2.0
    ui.auditReferenceSelector.setCurrentNode(node_of(Volume(other.array, Grid(other.grid.shape, moved)), "Moved"))
    assert "different voxels" in ui.auditButton.toolTip
    ui.auditReferenceSelector.setCurrentNode(node_of(other, "Reference"))
    assert ui.auditButton.enabled
    assert p.auditSlice == 1  # the middle one
    ui.auditSelector.setCurrentNode(None)
    assert "Choose the reconstruction" in ui.auditButton.toolTip


def test_a_slice_is_counted_from_the_feet(shown_image: Any) -> None:
    """The volume is stored from head to feet: its last slice is the lowest."""
    whole = slicer.util.arrayFromVolume(shown_image)
    lowest = sliceOf(shown_image, 0)
    np.testing.assert_array_equal(lowest.array[0], whole[2])
    assert lowest.grid.to_world([0, 0, 0])[2] == pytest.approx(0.0)
    np.testing.assert_array_equal(sliceOf(shown_image, 2).array[0], whole[0])


def test_segments_are_audited_and_shown(widget: Any, shown_image: Any, scan: Path) -> None:
    """Colors and names by what the data say; a click jumps; the maps lie where they should; the page is there."""
    ui = widget.ui
    panel_at_work.view("Axial")
    masks = {"Läsion A": TRUE > 0.5, "Lesion B": INVENTED > 0.5, "Hidden": disc(20, 28, 3) > 0.5}
    whole = {name: np.stack([mask, mask, np.zeros_like(mask)]) for name, mask in masks.items()}
    outlined = segmentation(whole, shown_image)
    outlined.CreateDefaultDisplayNodes()
    outlined.GetDisplayNode().SetSegmentVisibility("Hidden", False)
    ui.auditSegmentsSelector.setCurrentNode(outlined)
    ui.auditSinogramEdit.currentPath = str(scan)
    person.events(0.1)
    assert ui.auditButton.enabled
    found = audited(widget)
    verdicts = {region["name"]: region["verdict"] for region in found.regions}
    assert verdicts == {"Läsion A": "measured", "Lesion B": "contradicted"}
    table = ui.auditTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["Lesion B", "Läsion A"]
    assert "contradicted" in table.item(0, 1).text()
    assert "±" in table.item(0, 2).text()
    person.click_cell(table, 0, 1)
    inside = np.argwhere(INVENTED > 0.5).mean(0)
    world = to_world(shown_image, volume(BODY).grid.to_world([1, *inside]))
    assert panel_at_work.place("Axial") == pytest.approx(world[2], abs=0.1)
    segments = found.node(SEGMENTATION)
    assert segment_holds(segments, "KLIP_audit_1", world)
    first = segments.GetSegmentation().GetSegment("KLIP_audit_1")
    assert first.GetName() == "Lesion B: contradicted"
    assert first.GetColor()[0] > first.GetColor()[1]  # red
    assert value_at(found.node(RESIDUAL), world) < -3  # the data hold less than the image
    assert 0 < value_at(found.node(NULL_SPACE), world) < 1
    assert found.node(TABLE).GetNumberOfRows() == 2
    assert found.page.is_file()
    assert ui.auditPageButton.enabled
    assert all(isResult(found.node(role)) for role in found.roles)
    front = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetForegroundVolumeID()
    assert front == found.node(NULL_SPACE).GetID()
    person.choose(ui.auditOverlayComboBox, "Residual")
    front = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetForegroundVolumeID()
    assert front == found.node(RESIDUAL).GetID()
    told = found.regions
    assert slicer.mrmlScene.WriteToMRB(str(scan.with_name("scene.mrb")))
    headless.clear()
    person.events(0.1)
    assert ui.auditTable.rowCount == 0
    assert slicer.mrmlScene.ReadFromMRB(str(scan.with_name("scene.mrb")))
    person.events(0.1)
    restored = AuditInScene.last(slicer.mrmlScene)
    assert restored is not None
    assert restored.regions == told
    assert value_at(restored.node(RESIDUAL), world) < -3
    assert segment_holds(restored.node(SEGMENTATION), "KLIP_audit_1", world)
    assert ui.auditTable.rowCount == 2


def test_what_does_not_belong_is_said_and_nothing_is_judged(widget: Any, shown_image: Any, scan: Path) -> None:
    """A detector that was read from its other end: the audit names what would fit."""
    read = np.load(scan)
    write_sinogram(scan.with_name("other.npz"), read["sinogram"][:, ::-1].copy(), RAYS)
    widget.ui.auditSinogramEdit.currentPath = str(scan.with_name("other.npz"))
    person.events(0.1)
    found = audited(widget)
    assert found.regions == []
    assert not found.record["belongs"]
    assert "turned by 180 degrees" in widget.ui.auditStatusLabel.text
    assert not widget.ui.auditTable.visible


def test_an_audit_is_cancelled_and_failures_are_sentences(widget: Any, shown_image: Any, tmp_path: Path) -> None:
    ui, controls = widget.ui, widget.panel.audit
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    ui.auditSinogramEdit.currentPath = str(tmp_path / "broken.npz")
    person.events(0.1)
    person.click(ui.auditButton)
    assert ui.auditButton.text == "Cancel"
    patience.wait(
        lambda: not controls.auditing.running, "it has ended", lambda: ui.auditStatusLabel.text, lambda: True
    )
    assert "broken.npz" in ui.auditStatusLabel.text
    assert controls.shown is None
    person.click(ui.auditButton)
    person.click(ui.auditButton)
    person.wait(lambda: not controls.auditing.running, 10, "it has stopped")
    assert ui.auditStatusLabel.text == "Stopped."
    assert ui.auditButton.enabled
    person.wait(lambda: not panel_at_work.klip_processes(), 10, "no process is left")


def test_nothing_of_it_holds_the_event_loop(widget: Any, shown_image: Any) -> None:
    """Against a reference; writing, watching and reading are done between events."""
    ui = widget.ui
    person.choose(ui.auditByComboBox, "Another volume")
    reference = node_of(volume(MU_WATER_PER_MM * (BODY + 0.1 * TRUE)), "Reference")
    ui.auditReferenceSelector.setCurrentNode(reference)
    person.events(0.1)
    audited(widget)  # what has to be imported is imported once
    widget.panel.audit.setShown(None)
    with listening() as heart:
        found = audited(widget)
    assert found.record["simulated"]
    assert "SIMULATED" in ui.auditStatusLabel.text
    assert heart.cpu_seconds <= 0.05
    assert heart.beats > 5
    assert json.loads((found.page.parent / "audit.json").read_text())["summary"] == found.record["summary"]
