# SPDX-License-Identifier: Apache-2.0
#
# Finds cuDNN 9 with the headers of its C++ front end (1.13 or newer): the target CUDNN::CUDNN, CUDNN_VERSION and CUDNN_FRONTEND_VERSION
# as read from the headers. Looks in CUDNN_ROOT, CUDNN_FRONTEND_ROOT (the folder that has include/cudnn_frontend.h) and beside the CUDA
# toolkit, whose NVRTC newer front ends call.
find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${CUDNN_FRONTEND_ROOT} $ENV{CUDNN_FRONTEND_ROOT} ${CUDNN_INCLUDE_DIR} PATH_SUFFIXES include)

foreach(file IN ITEMS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" "${CUDNN_FRONTEND_INCLUDE_DIR}/cudnn_frontend_version.h")
  if(EXISTS ${file})
    file(STRINGS ${file} cudnn_lines REGEX "^#define CUDNN_(FRONTEND_)?(MAJOR|MINOR|PATCHLEVEL|PATCH)(_VERSION)? +[0-9]+")
    string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2.\\3" cudnn_lines "${cudnn_lines}")
    if(file MATCHES "frontend")
      set(CUDNN_FRONTEND_VERSION ${cudnn_lines})
    else()
      set(CUDNN_VERSION ${cudnn_lines})
    endif()
  endif()
endforeach()
set(cudnn_new_enough FALSE)
if(CUDNN_VERSION VERSION_GREATER_EQUAL 9 AND CUDNN_FRONTEND_VERSION VERSION_GREATER_EQUAL 1.13)
  set(cudnn_new_enough TRUE)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR CUDNN_FRONTEND_INCLUDE_DIR cudnn_new_enough VERSION_VAR CUDNN_VERSION)

if(CUDNN_FOUND AND NOT TARGET CUDNN::CUDNN)
  add_library(CUDNN::CUDNN UNKNOWN IMPORTED GLOBAL)
  set_target_properties(CUDNN::CUDNN PROPERTIES IMPORTED_LOCATION ${CUDNN_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES "${CUDNN_INCLUDE_DIR};${CUDNN_FRONTEND_INCLUDE_DIR}")
  if(TARGET CUDA::nvrtc)
    set_target_properties(CUDNN::CUDNN PROPERTIES INTERFACE_LINK_LIBRARIES CUDA::nvrtc)
  endif()
endif()
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY CUDNN_FRONTEND_INCLUDE_DIR)
