# In place of Slicer's generation of the extension's description and package: both need these.
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(FATAL_ERROR "EXTENSION_${name} is missing")
  endif()
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/extension.txt "${EXTENSION_DEPENDS}\n${EXTENSION_DESCRIPTION}\n${EXTENSION_HOMEPAGE}\n${EXTENSION_ICONURL}\n")
