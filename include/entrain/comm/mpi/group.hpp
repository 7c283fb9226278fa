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
#include <entrain/comm/mpi/types.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// What the operations of one group share: its communicator, its types, and a pool of the small things that a nonblocking
// operation needs until it completes; and the request.

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
  group(MPI_Comm owned, std::size_t largest) : comm(owned), largest_count(largest) {
    MPI_Comm_set_errhandler(comm.get(), MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm.get(), &rank);
    MPI_Comm_size(comm.get(), &size);
  }
  group(const group&) = delete;
  group& operator=(const group&) = delete;
  ~group() {
    if (failed || unwinding()) comm.abandon();  // freeing is collective
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

  communicator_owner comm;
  std::size_t largest_count;
  int rank = 0, size = 1;
  bool failed = false;
  int exceptions = std::uncaught_exceptions();
  traffic counted;
  std::uint64_t sequence = 0;
  type_cache types;
  std::vector<std::unique_ptr<companion>> spare;
};

// One operation in flight. Movable; default: complete. Must not outlive its communicator.
class request {
 public:
  request() = default;
  request(group& owner, const char* call) : group_(&owner), call_(call) {}
  request(request&& other) noexcept { swap(other); }
  request& operator=(request&& other) noexcept {
    request old(std::move(*this));
    swap(other);
    return *this;
  }
  // Waits, because the memory is still in use. Not while an exception passes: the partner may never come, and the job is
  // about to end; the group counts as failed from then on.
  ~request() {
    if (!group_) return;
    try {
      if (group_->failed || group_->unwinding() || !running()) forget();
      else wait();
    } catch (...) {
      forget();
    }
  }

  // True when complete. Makes progress, does not block.
  bool test() {
    if (!group_) return true;
    if (!passed(handle_, false)) return false;
    if (companion_)
      for (auto& piece : companion_->more)
        if (!passed(piece, false)) return false;
    finish();
    return true;
  }
  void wait() {
    if (!group_) return;
    passed(handle_, true);
    if (companion_)
      for (auto& piece : companion_->more) passed(piece, true);
    finish();
  }

  // For the layer that starts operations: where MPI shall write its request, the pieces of one in several, and what must
  // live as long.
  MPI_Request* handle() { return &handle_; }
  MPI_Request* another() {
    if (handle_ == MPI_REQUEST_NULL) return &handle_;
    return &with().more.emplace_back(MPI_REQUEST_NULL);
  }
  companion& with() {
    if (!companion_) companion_ = group_->borrow();
    return *companion_;
  }

 private:
  bool passed(MPI_Request& one, bool block) {
    if (one == MPI_REQUEST_NULL) return true;
    int done = 1;
    const int code = block ? MPI_Wait(&one, MPI_STATUS_IGNORE) : MPI_Test(&one, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) group_->fail(code, call_);
    return done != 0;
  }
  void finish() {
    if (companion_) {
      if (companion_->target) std::memcpy(companion_->target, companion_->scratch.data(), companion_->bytes);
      group_->give_back(std::move(companion_));
    }
    group_ = nullptr;
  }
  void forget() {
    group_->failed = true;
    static_cast<void>(companion_.release());  // MPI may still read it
    group_ = nullptr;
  }
  void swap(request& other) noexcept {
    std::swap(group_, other.group_);
    std::swap(call_, other.call_);
    std::swap(handle_, other.handle_);
    std::swap(companion_, other.companion_);
  }
  group* group_ = nullptr;
  const char* call_ = "";
  MPI_Request handle_ = MPI_REQUEST_NULL;
  std::unique_ptr<companion> companion_;
};

}  // namespace entrain::comm::mpi_detail
