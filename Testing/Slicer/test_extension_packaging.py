"""The extension as Slicer's build would make it: configured against a stub of Slicer, whole, and working
from where it lands.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import standins

REPOSITORY = Path(__file__).resolve().parents[2]
MACROS = [
    *(f"CMake/SlicerMacro{name}.cmake" for name in ("BuildScriptedModule", "PythonTesting")),
    "CMake/SlicerMacroConfigureGenericPythonModuleTests.cmake",
]
DESCRIPTION = "Extensions/CMake/SlicerFunctionGenerateExtensionDescription.cmake"
STUB = Path(__file__).with_name("stub_slicer")
CMAKE = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder after `cmake`."""
    if CMAKE is None:
        pytest.skip("needs cmake (pip install klipcore[test])")
    folder = tmp_path_factory.mktemp("build")
    no_compiler = [
        f"-DCMAKE_{language}_COMPILER{what}"
        for language in ("C", "CXX")
        for what in (f"={sys.executable}", "_FORCED=TRUE")
    ]
    command = [
        CMAKE,
        "-S",
        str(REPOSITORY),
        "-B",
        str(folder),
        f"-DSlicer_DIR={STUB}",
        "-DBUILD_TESTING=ON",
        *([f"-DSLICER_SOURCE={standins.slicers_own(*MACROS)}"] if standins.source() else []),
        "--no-warn-unused-cli",
        *no_compiler,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def modules(built: Path) -> Path:
    """Where Slicer looks for scripted modules, and what is installed as a whole."""
    return built / "lib" / "Slicer-stub" / "qt-scripted-modules"


def files(folder: Path, *endings: str) -> set[str]:
    return {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix in endings and "__pycache__" not in p.parts
    }


def test_everything_is_there(modules: Path) -> None:
    kinds = (".py", ".html", ".js", ".json", ".safetensors")
    assert files(modules / "KLIPCore", *kinds) == files(REPOSITORY / "KLIPCore", *kinds)
    assert files(modules / "KLIPSlicerLib", ".py") == files(REPOSITORY / "KLIPSlicer" / "KLIPSlicerLib", ".py")
    assert (modules / "KLIPSlicer.py").is_file()
    shipped = (".ctbl", ".png", ".svg", ".ui", ".txt", ".ts")
    left_out = {"CMakeLists.txt"}
    assert files(modules / "Resources", *shipped) == files(REPOSITORY / "Resources", *shipped) - left_out


def test_the_weights_arrive_whole(modules: Path) -> None:
    for path in (REPOSITORY / "KLIPCore").rglob("*.safetensors"):
        assert (modules / path.relative_to(REPOSITORY)).stat().st_size == path.stat().st_size


def test_the_built_module_finds_its_library_and_resources(modules: Path, tmp_path: Path) -> None:
    """In a Python of its own, with nothing else on the path."""
    code = (
        f"import sys; sys.path = [p for p in sys.path if p not in ('', {str(REPOSITORY)!r})]; sys.path.insert(0, "
        f"{str(modules)!r})\n"
        # an editable install of this very checkout
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
        "from KLIPSlicerLib import paths; paths.makeKlipCoreImportable()\n"
        "import KLIPCore.runs.live, KLIPCore.volume.framed_study\n"
        "print(KLIPCore.__file__, paths.resourcePath('UI/KLIPSlicer.ui'), paths.resourcePath('requirements.txt'), "
        "sep='\\n')\n"
        "print(sorted({'torch', 'monai', 'vtk', 'matplotlib', 'highdicom'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    *found, heavy = done.stdout.splitlines()
    assert all(Path(path).resolve().is_relative_to(modules.resolve()) for path in found), found
    assert heavy == "[]"  # nothing of this enters Slicer's process


def test_the_checkout_works_unbuilt(tmp_path: Path) -> None:
    """Added to Slicer's module paths as it is."""
    module = REPOSITORY / "KLIPSlicer"
    code = (
        f"import sys; sys.path.insert(0, {str(module)!r})\n"
        "from KLIPSlicerLib import paths; paths.makeKlipCoreImportable()\n"
        "import KLIPCore; print(KLIPCore.__file__, paths.resourcePath('UI/KLIPSlicer.ui'), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert all(Path(path).resolve().is_relative_to(REPOSITORY) for path in done.stdout.splitlines())


def test_tests_are_registered(built: Path) -> None:
    if not standins.source():
        assert (built / "tests.txt").read_text().split() == ["KLIPSlicer.py", "run_in_slicer.py"]
        return
    written = "".join(path.read_text() for path in sorted(built.rglob("CTestTestfile.cmake")))
    assert set(re.findall(r"add_test\W+(py_\w+)", written)) == {
        "py_KLIPSlicer",
        "py_run_in_slicer",
        "py_nomainwindow_qSlicerKLIPSlicerModuleGenericTest",
    }
    assert f"--python-script {REPOSITORY}/Testing/Slicer/run_in_slicer.py" in re.sub(r'[" ]+', " ", written)


def test_the_description_is_what_slicers_build_writes(built: Path) -> None:
    """By Slicer's own function, from the variables of our CMake file."""
    if not standins.source():
        pytest.skip("needs a checkout of Slicer's source (SLICER_SOURCE)")
    if not (built / "KLIPSlicer.s4ext").is_file():
        pytest.skip("Slicer's source needs CMake 3.28")
    standins.slicers_own(DESCRIPTION)

    def fields(path: Path) -> dict[str, str]:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {line.split(" ", 1)[0]: line.partition(" ")[2] for line in lines if line and line[0] != "#"}

    ours, made = fields(REPOSITORY / "KLIPSlicer.s4ext"), fields(built / "KLIPSlicer.s4ext")
    assert {name: made[name] for name in ours} == ours
    assert set(made) - set(ours) <= {"recommends", "dicom_support_rule", "keywords"}


def test_the_two_index_entries_and_cmake_agree(built: Path) -> None:
    lines = (REPOSITORY / "KLIPSlicer.s4ext").read_text(encoding="utf-8").splitlines()
    old = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    new = json.loads((REPOSITORY / "KLIPSlicer.json").read_text(encoding="utf-8"))
    assert new["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert set(new) <= {
        "$schema",
        "category",
        "scm_url",
        "scm_revision",
        "scm_type",
        "build_dependencies",
        "build_subdirectory",
        "enabled",
        "tier",
    }
    assert (
        old["depends"].split()
        == new["build_dependencies"]
        == (depends := (built / "extension.txt").read_text().splitlines())[0].split(";")
    )
    assert (old["scmurl"], old["category"], int(old["tier"]), old["scmrevision"]) == (
        new["scm_url"],
        new["category"],
        new["tier"],
        new["scm_revision"],
    )
    assert (old["description"], old["homepage"], old["iconurl"]) == tuple(depends[1:])


def test_urls_name_files_that_exist() -> None:
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    named = re.findall(r"/main/([\w/.]+)\"", text)
    assert named
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_the_repository_is_small_enough_for_the_index() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("no git checkout")
    sizes = [
        (REPOSITORY / name).stat().st_size
        for name in tracked.stdout.split("\0")
        if name and (REPOSITORY / name).is_file()
    ]
    assert sum(sizes) < 100e6
