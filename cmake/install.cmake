# SPDX-License-Identifier: Apache-2.0
#
# Installs headers, the CMake package (find_package(entrain), optionally with components mpi, onednn, zlib, cuda, nccl, cudnn) and
# entrain.pc.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(entrain_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/entrain)
install(TARGETS entrain EXPORT entrain-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT entrain-targets NAMESPACE entrain:: DESTINATION ${entrain_package_dir})

configure_package_config_file(cmake/entrain-config.cmake.in ${PROJECT_BINARY_DIR}/entrain-config.cmake
  INSTALL_DESTINATION ${entrain_package_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may break.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/entrain-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
configure_file(cmake/entrain.pc.in ${PROJECT_BINARY_DIR}/entrain.pc @ONLY)

install(FILES ${PROJECT_BINARY_DIR}/entrain-config.cmake ${PROJECT_BINARY_DIR}/entrain-config-version.cmake
  cmake/entrain-optional.cmake cmake/FindCUDNN.cmake cmake/FindNCCL.cmake cmake/FindOneDNN.cmake DESTINATION ${entrain_package_dir})
install(FILES ${PROJECT_BINARY_DIR}/entrain.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
