// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/mpi/handle.hpp>
#include <entrain/comm/mpi/neighbours.hpp>
#include <entrain/comm/mpi/types.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// What the operations of one group share: its communicator, its types, its shared memory where all ranks are on one node,
// and a pool of the small things that a nonblocking operation needs until it completes.

namespace entrain::comm::mpi_detail {

// What an operation needs beside its request while it runs. Pooled: a step allocates nothing once every shape was seen.
struct companion {
  std::vector<MPI_Request> more;  // operations in pieces, because MPI counts in int
  std::vector<int> numbers;       // counts and displacements of the *v collectives
  buffer<std::byte> scratch;      // result that moves to `target` at the end, where MPI forbids the aliasing that we allow
  void* target = nullptr;
  std::size_t bytes = 0;
};

struct group {
  // parent: the group that this one was split from, or null.
  group(MPI_Comm owned, std::size_t largest, bool shared_memory, const group* parent = nullptr)
      : comm(owned), largest_count(largest), uses_shared_memory(shared_memory) {
    MPI_Comm_set_errhandler(comm.get(), MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm.get(), &rank);
    MPI_Comm_size(comm.get(), &size);
    if (parent) kin = parent->kin, reaches_devices = parent->reaches_devices;
    if (!uses_shared_memory) return;
    near = neighbours::make(comm.get(), kin, where());
    int threads = 0;
    MPI_Query_thread(&threads);  // groups that several threads use at once must not move each other's operations
    if (near && threads != MPI_THREAD_MULTIPLE) kin = near->kin();
  }
  group(const group&) = delete;
  group& operator=(const group&) = delete;
  ~group() {
    if (failed || unwinding()) {  // freeing is collective
      comm.abandon();
      if (near) near->abandon();
    } else if (near && running()) {
      if (!near->meet_at_end()) comm.abandon();
    }
  }

  bool unwinding() const { return std::uncaught_exceptions() > exceptions; }

  void check(int code, const char* call) {
    if (code != MPI_SUCCESS) fail(code, call);
  }
  [[noreturn]] void fail(int code, const char* call) {
    failed = true;
    char text[MPI_MAX_ERROR_STRING + 1] = {};
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw communication_error(where(), std::string(call) + " failed: " + std::string(text, std::size_t(length)));
  }
  std::string where() const { return "comm::mpi rank " + std::to_string(rank) + " of " + std::to_string(size); }
  void ensure_usable() const {
    if (failed)
      throw communication_error(where(), "this communicator has failed before; nothing can be sent through it any more");
  }

  std::unique_ptr<companion> borrow() {
    if (spare.empty()) return std::make_unique<companion>();
    auto out = std::move(spare.back());
    spare.pop_back();
    return out;
  }
  void give_back(std::unique_ptr<companion> used) {
    used->more.clear(), used->numbers.clear();
    used->target = nullptr;
    spare.push_back(std::move(used));
  }

  // Whether collectives of such elements go through shared memory.
  bool shares(std::size_t width) const { return near && near->engine().takes(width); }

  communicator_owner comm;
  std::size_t largest_count;
  bool uses_shared_memory;
  int rank = 0, size = 1;
  bool failed = false;
  int reaches_devices = -1;  // not asked yet
  int exceptions = std::uncaught_exceptions();
  traffic counted;
  std::uint64_t sequence = 0;
  std::shared_ptr<shared_memory::family> kin;  // with the groups that it was split from and into
  std::unique_ptr<neighbours> near;             // null: the group is spread over several nodes
  type_cache types;
  std::vector<std::unique_ptr<companion>> spare;
};

}  // namespace entrain::comm::mpi_detail
