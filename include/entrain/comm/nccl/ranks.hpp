// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <entrain/comm/concepts.hpp>
#include <entrain/core/error.hpp>

// Rank and size by hand, for programs that exchange device memory only and have no other communicator (comm/nccl/unique_id.hpp shows
// one). It has the form of a communicator, but carries nothing: what lies in host memory throws usage_error.

namespace entrain::comm {

class nccl_ranks {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "nccl_ranks";
  struct request {
    bool test() { return true; }
    void wait() {}
  };

  nccl_ranks(int rank, int size) : rank_(rank), size_(size) {
    if (size < 1 || rank < 0 || rank >= size)
      throw usage_error("comm::nccl_ranks", "no such rank", entrain::detail::text("a rank in [0, ", size, ")"), entrain::detail::text(rank));
  }

  int rank() const { return rank_; }
  int size() const { return size_; }
  traffic& counters() { return counted_; }
  std::uint64_t& sequence() { return sequence_; }
  nccl_ranks split(int, int) { refuse(); }
  template <class T>
  request start_send(view<const T>, int, int) { refuse(); }
  template <class T>
  request start_receive(view<T>, int, int) { refuse(); }

 private:
  [[noreturn]] static void refuse() {
    throw usage_error("comm::nccl", "ranks given by hand have no way between their host memories", "a host communicator such as comm::mpi", "comm::nccl_ranks");
  }
  int rank_, size_;
  traffic counted_;
  std::uint64_t sequence_ = 0;
};

}  // namespace entrain::comm
