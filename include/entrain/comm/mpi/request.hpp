// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include <entrain/comm/mpi/group.hpp>

// The request of comm::mpi: an operation of MPI, in one piece or several, or one in shared memory.

namespace entrain::comm::mpi_detail {

// One operation in flight. Movable; default: complete. Must not outlive its communicator.
class request {
 public:
  request() = default;
  request(group& owner, const char* call) : group_(&owner), call_(call) {}
  request(group& owner, shared_memory::operation& near) : group_(&owner), near_(&near) {}
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
    move_shared_memory();
    if (near_ ? !near_->done : !passed(handle_, false)) return false;
    if (companion_)
      for (auto& piece : companion_->more)
        if (!passed(piece, false)) return false;
    finish();
    return true;
  }
  void wait() {
    if (!group_) return;
    if (near_) wait_near();
    else passed(handle_, true);
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
  // What is in flight in shared memory, of this group and its kin. Throws where ranks disagree.
  bool move_shared_memory() {
    if (!group_->kin && !group_->near) return false;
    try {
      return group_->kin ? group_->kin->progress() : group_->near->engine().progress();
    } catch (...) {
      group_->failed = true;
      throw;
    }
  }
  void wait_near() {
    group_->ensure_usable();
    try {
      group_->near->wait(*near_);
    } catch (...) {
      group_->failed = true;
      throw;
    }
  }
  bool passed(MPI_Request& one, bool block) {
    if (one == MPI_REQUEST_NULL) return true;
    int done = 1;
    if (block && group_->kin && !group_->kin->idle()) {  // what we wait for may wait for our part of those
      shared_memory::waiting idle(group_->kin->crowded());
      while (!passed(one, false))
        if (!move_shared_memory()) idle.pass();
      return true;
    }
    const int code = block ? MPI_Wait(&one, MPI_STATUS_IGNORE) : MPI_Test(&one, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) group_->fail(code, call_);
    return done != 0;
  }
  void finish() {
    if (near_) group_->near->engine().give_back(*std::exchange(near_, nullptr));
    if (companion_) {
      if (companion_->target) std::memcpy(companion_->target, companion_->scratch.data(), companion_->bytes);
      group_->give_back(std::move(companion_));
    }
    group_ = nullptr;
  }
  void forget() {
    group_->failed = true;
    static_cast<void>(companion_.release());  // MPI may still read it
    near_ = nullptr;
    group_ = nullptr;
  }
  void swap(request& other) noexcept {
    std::swap(group_, other.group_);
    std::swap(call_, other.call_);
    std::swap(handle_, other.handle_);
    std::swap(near_, other.near_);
    std::swap(companion_, other.companion_);
  }
  group* group_ = nullptr;
  const char* call_ = "";
  MPI_Request handle_ = MPI_REQUEST_NULL;
  shared_memory::operation* near_ = nullptr;  // an operation in shared memory: then there is no MPI request
  std::unique_ptr<companion> companion_;
};

}  // namespace entrain::comm::mpi_detail
