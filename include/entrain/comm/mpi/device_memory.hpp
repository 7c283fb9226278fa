// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include <entrain/comm/mpi/handle.hpp>
#include <entrain/core/error.hpp>

#if defined(OPEN_MPI) || defined(MVAPICH2_NUMVERSION)
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif
#elif defined(MPICH_NUMVERSION) && !defined(MPIX_GPU_SUPPORT_CUDA)
#if __has_include(<mpix.h>)  // MPICH 5; before, <mpi.h> says it
#include <mpix.h>
#endif
#endif

// Whether MPI takes pointers to the memory of NVIDIA GPUs ("CUDA-aware"): how it was built and how it was started, as it says itself.

namespace entrain::comm::mpi_detail {

// MPI must be running. False where this MPI has no words for it.
inline bool says_it_reaches_devices() {
#if defined(MPIX_GPU_SUPPORT_CUDA)  // MPICH and those made from it
  int yes = 0;
  return MPIX_GPU_query_support(MPIX_GPU_SUPPORT_CUDA, &yes) == MPI_SUCCESS && yes;
#elif defined(MPIX_CUDA_AWARE_SUPPORT) && MPIX_CUDA_AWARE_SUPPORT  // Open MPI, MVAPICH2
  return MPIX_Query_cuda_support() == 1;
#else
  return false;
#endif
}

// That, unless the environment knows better. Errors: usage_error.
inline bool reaches_devices() {
  static constexpr const char* variable = "ENTRAIN_CUDA_AWARE_MPI";
  const char* given = std::getenv(variable);
  if (!given) return says_it_reaches_devices();
  const std::string_view value = given;
  if (value != "0" && value != "1")
    throw usage_error("comm::mpi", std::string("the environment variable ") + variable + " says whether MPI takes pointers to device memory", "0, 1, or not set", "'" + std::string(value) + "'");
  return value == "1";
}

}  // namespace entrain::comm::mpi_detail
