// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <entrain/core/config.hpp>

#if !ENTRAIN_WITH_MPI
#error "entrain: comm::mpi needs MPI; link the CMake target entrain::mpi (it finds MPI and defines ENTRAIN_WITH_MPI=1)."
#endif

// The C++ bindings were removed from MPI in 2012; leaving them out saves the compiler time and us warnings.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

// The one place that includes <mpi.h>, and owners of MPI's handles: move-only, freed at the end of their scope unless MPI
// has been finalised by then (freeing a handle after that is an error, and MPI has taken the memory back anyway).

namespace entrain::comm::mpi_detail {

inline bool running() {
  int initialised = 0, finalised = 0;
  MPI_Initialized(&initialised);
  if (initialised) MPI_Finalized(&finalised);
  return initialised && !finalised;
}

// Kind: handle type, null() and free(handle&).
template <class Kind>
class owner {
 public:
  using handle = typename Kind::handle;
  owner() = default;
  explicit owner(handle value) : value_(value) {}
  owner(owner&& other) noexcept : value_(std::exchange(other.value_, Kind::null())) {}
  owner& operator=(owner&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~owner() {
    if (value_ != Kind::null() && running()) Kind::free(value_);
  }
  handle get() const { return value_; }
  // Gives the handle up without freeing it: after a failure nobody waits for anybody.
  void abandon() { value_ = Kind::null(); }

 private:
  handle value_ = Kind::null();
};

struct communicator_kind {
  using handle = MPI_Comm;
  static handle null() { return MPI_COMM_NULL; }
  static void free(handle& value) { MPI_Comm_free(&value); }
};
struct datatype_kind {
  using handle = MPI_Datatype;
  static handle null() { return MPI_DATATYPE_NULL; }
  static void free(handle& value) { MPI_Type_free(&value); }
};
struct operation_kind {
  using handle = MPI_Op;
  static handle null() { return MPI_OP_NULL; }
  static void free(handle& value) { MPI_Op_free(&value); }
};

using communicator_owner = owner<communicator_kind>;
using datatype_owner = owner<datatype_kind>;
using operation_owner = owner<operation_kind>;

}  // namespace entrain::comm::mpi_detail
