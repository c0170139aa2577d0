"""For those who have 3D Slicer: the module's own test in the real application, with real PythonQt and CTK.

    Slicer --no-splash --testing --additional-module-paths KLIPSlicer --python-script
    Testing/Slicer/run_in_slicer.py [PYTHON]

PYTHON is a Python in which klip's packages are installed (a virtual environment made by `make setup`:
.venv/bin/python). Without it Slicer's own is used, where they must be installed already: in testing mode
nothing is ever installed.

**Not run so far**: no Slicer application was at hand when this was written. The same module and the same test run on
slicer-core with stand-ins for the widgets (test_panel_*.py).
"""

from __future__ import annotations

import os
import sys
import traceback

import qt
import slicer


def main() -> int:
    """Load the module, open its panel, run its test."""
    others = [argument for argument in sys.argv[1:] if os.path.isfile(argument)]  # noqa: PTH113  (Slicer's Python may pass anything here)
    if others:
        qt.QSettings().setValue("KLIPSlicer/OtherPython", others[0])
    try:
        module = slicer.modules.klipslicer
        slicer.util.selectModule("KLIPSlicer")
        widget = module.widgetRepresentation().self()
        assert not widget.ui.detectButton.enabled
        assert widget.ui.detectButton.toolTip
        slicer.selfTests["KLIPSlicer"]()
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        if others:
            qt.QSettings().remove("KLIPSlicer/OtherPython")
    print("KLIPSlicer: the module's test passed in", slicer.app.applicationName, slicer.app.applicationVersion)
    return 0


if __name__ == "__main__":
    slicer.util.exit(main())
