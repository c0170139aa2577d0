# Stands in for a built Slicer in test_extension_packaging.py: enough to configure the extension and to see what it would install.
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Extension.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Extension.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-stub/qt-scripted-modules)
set(Slicer_FOUND TRUE)
