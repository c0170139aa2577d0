"""3D Slicer's own core without its application: a scene, its logic, and views that draw into arrays.

`slicer-core` brings MRML, the application logic, the slice logic and the displayable managers: all that turns
nodes into pixels. What it lacks is Qt. This module builds what the application would build around them (a
scene, the logic of modules at ``slicer.modules.<name>.logic()``, one slice or 3-D view each with its
displayable managers), once a process. Nothing of it is a mock: the pixels are those of Slicer.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
)
DPI = 72
"""Without a screen VTK would guess, and text would be of any size."""
ORIENTATION = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


def _leave_texts_as_they_are() -> None:
    """``slicer.i18n``, which the wheel lacks, where nobody has put one: every text stays English."""
    if "slicer.i18n" not in sys.modules:
        made = types.ModuleType("slicer.i18n")
        made.tr, made.translate = lambda text: text, lambda context, text: text  # type: ignore[attr-defined]
        slicer.i18n = sys.modules["slicer.i18n"] = made


_leave_texts_as_they_are()


class _Module:
    """What ``slicer.modules.<name>`` is to a script: something with a logic."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def start() -> Any:
    """The process's scene, with default colors, orientation presets and the logic that module code asks for."""
    if getattr(slicer, "mrmlScene", None) is not None:
        return slicer.mrmlScene
    slicer.mrmlScene = scene = slicer.vtkMRMLScene()
    vtk.vtkObject.GlobalWarningDisplayOff()  # about files of the application that a wheel does not have
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    share = Path(tempfile.mkdtemp(prefix="klip-slicer-"))
    atexit.register(shutil.rmtree, share, ignore_errors=True)
    _set_fonts(application, share)
    cache = slicer.vtkCacheManager()  # scene bundles are unpacked there
    cache.SetRemoteCacheDirectory(str(share))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application)
    modules = {}
    for name, make in {
        "Colors": slicer.vtkSlicerColorLogic,
        "Volumes": slicer.vtkSlicerVolumesLogic,
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
        "Texts": slicer.vtkSlicerTextsLogic,
        "Tables": slicer.vtkSlicerTablesLogic,
    }.items():
        logic = make()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        modules[name.lower()] = _Module(logic)
    if not hasattr(slicer, "modules"):
        slicer.modules = types.SimpleNamespace()
    for name, module in modules.items():
        setattr(slicer.modules, name, module)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    start.application = application  # type: ignore[attr-defined]  (lives as long as the process)
    return scene


def _set_fonts(application: Any, share: Path) -> None:
    """Fonts for legends: the application brings its own in its share folder, which a wheel lacks;
    matplotlib's serve as well.
    """
    import matplotlib

    application.SetShareDirectory(str(share))
    fonts = Path(application.GetFontsDirectory())
    fonts.mkdir(parents=True)
    shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", fonts)
    for family in (vtk.VTK_ARIAL, vtk.VTK_COURIER, vtk.VTK_TIMES):
        application.SetFontFileName(family, "DejaVuSans.ttf")


def application() -> Any:
    """The application logic that :func:`start` made."""
    start()
    return start.application  # type: ignore[attr-defined]


def clear() -> Any:
    """An empty scene for the next test; views that are not closed, being singletons, stay and show nothing."""
    scene = start()
    scene.Clear(0)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    return scene


def load_dicom(files: list[str], name: str = "CT") -> Any:
    """A DICOM series as a volume node, read by Slicer's own reader and placed under a patient and study as
    the DICOM module does.
    """
    import pydicom

    scene = start()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(files[0])
    storage.ResetFileNameList()
    for file in files:
        storage.AddFileName(file)
    storage.SetSingleFile(False)
    assert storage.ReadData(node), f"Slicer cannot read {files[0]}"
    node.SetAndObserveStorageNodeID(None)
    scene.RemoveNode(storage)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    node.SetAttribute("DICOM.instanceUIDs", " ".join(str(header.SOPInstanceUID) for header in headers))
    show_as_ct(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemUID(study, "DICOM", str(headers[0].StudyInstanceUID))
    item = hierarchy.CreateItem(study, node)  # in the application, Qt code does so
    hierarchy.SetItemUID(item, "DICOM", str(headers[0].SeriesInstanceUID))
    return node


def show_as_ct(node: Any, low: float = -125.0, high: float = 275.0) -> None:
    """A display node with an abdominal window."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)


def _manager_factory(factory: Any, names: tuple[str, ...]) -> Any:
    factory = factory.GetInstance()
    for name in names:
        if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _pixels(window: Any) -> np.ndarray:
    """(height, width, 3) uint8, the top row first."""
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()  # it was just drawn
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


@dataclass
class SliceView:
    """One of Slicer's slice views, off screen.

    Attributes
    ----------
    name : "Red", "Yellow" or "Green" (any other name is an axial view).
    width, height : pixels.
    """

    name: str = "Red"
    width: int = 480
    height: int = 400

    def __post_init__(self) -> None:
        scene = start()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(self.width, self.height)
        self.window.SetNumberOfLayers(2)
        self.window.SetAlphaBitPlanes(1)
        self.window.SetDPI(DPI)
        self.renderer = vtk.vtkRenderer()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.renderer)
        self.overlay = vtk.vtkRenderer()
        self.overlay.SetLayer(1)
        self.overlay.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.overlay)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application())
        application().GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(self.name)
        self.node.SetOrientation(ORIENTATION.get(self.name, "Axial"))
        self.logic.ResizeSliceNode(self.width, self.height)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(
            _manager_factory(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS), self.renderer
        )
        self.managers.SetMRMLDisplayableNode(self.node)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def close(self) -> None:
        """Leave the scene: code that acts on all slice views does not find this one any more, and its name
        is free again.
        """
        scene = start()
        composite = self.composite
        self.managers.SetMRMLDisplayableNode(None)
        application().GetSliceLogics().RemoveItem(self.logic)
        self.logic.SetMRMLScene(None)
        for node in (composite, self.node):
            scene.RemoveNode(node)
        self.window.Finalize()

    @property
    def composite(self) -> Any:
        """The node that says which volumes the view shows."""
        return self.logic.GetSliceCompositeNode()

    def fit(self, zoom: float = 1.0) -> None:
        """Show the whole background volume, ``zoom`` times as large."""
        self.logic.FitSliceToBackground()
        x, y, z = self.node.GetFieldOfView()
        self.node.SetFieldOfView(x / zoom, y / zoom, z)

    def offset_to(self, ras: np.ndarray) -> None:
        """Move to the slice through a world point, without panning."""
        self.node.JumpSliceByOffsetting(*(float(v) for v in ras))

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8: what the view shows now."""
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return _pixels(self.window)

    def ras_of_pixels(self) -> np.ndarray:
        """(height, width, 3): the world point under the middle of every pixel of :meth:`pixels`."""
        matrix = matrix_array(self.node.GetXYToRAS())
        row, column = np.mgrid[0 : self.height, 0 : self.width]
        xy = np.stack([column, self.height - 1 - row, np.zeros_like(row), np.ones_like(row)], -1)
        return (xy @ matrix.T)[..., :3]


@dataclass
class ThreeDView:
    """A 3-D view, off screen."""

    width: int = 480
    height: int = 400

    def __post_init__(self) -> None:
        scene = start()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(4)
        self.window.SetDPI(DPI)
        self.window.SetSize(self.width, self.height)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.node = scene.GetFirstNodeByClass("vtkMRMLViewNode") or scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
        self.node.SetLayoutName("1")
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(
            _manager_factory(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS), self.renderer
        )
        self.managers.SetMRMLDisplayableNode(self.node)

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8: what the view shows now."""
        return _pixels(self.window)


def matrix_array(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as (4, 4) float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_of(values: np.ndarray) -> Any:
    """(4, 4) numbers as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(values[row][column]))
    return matrix


def save_png(pixels: np.ndarray, path: Path, colors: int = 0) -> Path:
    """Write (height, width, 3) uint8.

    :param colors: so many at most, for flat pictures that shall be small; all of them when 0.
    """
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if colors:
        # rare colors are kept: swatches are small, and the first thing that a reader compares
        image = image.quantize(colors, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    return path
