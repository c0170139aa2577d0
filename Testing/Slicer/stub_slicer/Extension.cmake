# In place of Slicer's generation of the extension's description and package: both need these.
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(FATAL_ERROR "EXTENSION_${name} is missing")
  endif()
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/extension.txt "${EXTENSION_DEPENDS}\n${EXTENSION_DESCRIPTION}\n${EXTENSION_HOMEPAGE}\n${EXTENSION_ICONURL}\n")
# The description itself, by Slicer's own function where its source is at hand, which needs CMake 3.28.
if(SLICER_SOURCE AND CMAKE_VERSION VERSION_GREATER_EQUAL 3.28)
  include(${SLICER_SOURCE}/Extensions/CMake/SlicerFunctionGenerateExtensionDescription.cmake)
  slicerFunctionGenerateExtensionDescription(
    EXTENSION_NAME ${PROJECT_NAME}
    EXTENSION_CATEGORY "${EXTENSION_CATEGORY}"
    EXTENSION_CONTRIBUTORS "${EXTENSION_CONTRIBUTORS}"
    EXTENSION_DEPENDS "${EXTENSION_DEPENDS}"
    EXTENSION_DESCRIPTION "${EXTENSION_DESCRIPTION}"
    EXTENSION_HOMEPAGE "${EXTENSION_HOMEPAGE}"
    EXTENSION_ICONURL "${EXTENSION_ICONURL}"
    EXTENSION_SCREENSHOTURLS "${EXTENSION_SCREENSHOTURLS}"
    EXTENSION_STATUS "${EXTENSION_STATUS}"
    EXTENSION_WC_REVISION main
    EXTENSION_WC_ROOT https://github.com/KLIPSlicer/SlicerKLIP.git
    EXTENSION_WC_TYPE git
    EXTENSION_WC_URL https://github.com/KLIPSlicer/SlicerKLIP.git
    SLICER_REVISION stub
    SLICER_WC_ROOT stub
    DESTINATION_DIR ${CMAKE_BINARY_DIR}
    )
endif()
