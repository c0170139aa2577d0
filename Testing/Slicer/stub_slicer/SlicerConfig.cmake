# Stands in for a built Slicer in test_extension_packaging.py: enough to configure the extension and to see what it would install.
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Extension.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Extension.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-stub/qt-scripted-modules)
# What Slicer's own macros ask of a built Slicer.
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_CLIMODULES_LIB_DIR lib/Slicer-stub/cli-modules)
set(Slicer_QTLOADABLEMODULES_LIB_DIR lib/Slicer-stub/qt-loadable-modules)
set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR ${SLICER_SOURCE}/Base/QTCore/Testing/Python)
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET SlicerData)
set(Slicer_LAUNCHER_EXECUTABLE Slicer)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_FOUND TRUE)
