// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include <entrain/comm/mpi/group.hpp>
#include <entrain/comm/mpi/request.hpp>
#include <entrain/comm/shared_memory/combine.hpp>
#include <entrain/comm/shared_memory/notice.hpp>
#include <entrain/core/memory.hpp>

// Collectives and arenas of a group on one node, in terms of its engine.

namespace entrain::comm::mpi_detail {

// count: elements of a rank's part where parts are equal, else of the whole.
template <class T, class Op = no_operation>
request start_shared(group& g, collective kind, view<const T> in, view<T> out, std::size_t count, int root = -1,
                     std::span<const std::size_t> counts = {}) {
  g.ensure_usable();
  shared_memory::call what{.what = shared_memory::describe<T, Op>(kind, count, root),
                           .in = reinterpret_cast<const std::byte*>(in.data()),
                           .out = reinterpret_cast<std::byte*>(out.data()),
                           .counts = counts.data()};
  if (!counts.empty()) what.what.layout = shared_memory::hash_of(counts);
  if constexpr (!std::is_same_v<Op, no_operation>) what.combine = &shared_memory::combine_ranks<T, Op>;
  try {
    return request(g, g.near->engine().start(what));
  } catch (...) {  // ranks that disagree
    g.failed = true;
    throw;
  }
}

// Owns this rank's part of memory that all ranks of the group can reach, or ordinary memory where they cannot; zeroed.
// Made and destroyed by all ranks in the same order, while no operation uses it, before the group. Moves, does not copy.
template <element T>
class arena {
 public:
  arena() = default;
  arena(group& g, std::size_t size) : group_(&g), size_(size) {
    g.ensure_usable();
    if (g.near) memory_ = window(g.comm.get(), size * sizeof(T));
    if (!memory_) {
      ordinary_ = buffer<T>(size);
      data_ = ordinary_.data();
      return;
    }
    number_ = g.near->engine().places().add(memory_.parts());
    data_ = reinterpret_cast<T*>(memory_.parts()[std::size_t(g.rank)].base);
  }
  arena(arena&& other) noexcept { *this = std::move(other); }
  arena& operator=(arena&& other) noexcept {
    std::swap(group_, other.group_), std::swap(size_, other.size_), std::swap(data_, other.data_), std::swap(number_, other.number_);
    std::swap(memory_, other.memory_), std::swap(ordinary_, other.ordinary_);
    return *this;
  }
  ~arena() {
    if (!memory_) return;
    if (group_->failed || group_->unwinding() || !running()) {
      memory_.abandon();
      return;
    }
    if (!group_->near->meet_at_end()) memory_.abandon();
    group_->near->engine().places().remove(number_);
  }

  bool is_shared() const { return bool(memory_); }  // whether others read it where it lies
  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  entrain::view<T> view() const { return {data_, size_}; }
  operator entrain::view<T>() const { return view(); }

 private:
  group* group_ = nullptr;
  std::size_t size_ = 0;
  T* data_ = nullptr;
  std::size_t number_ = 0;
  window memory_;
  buffer<T> ordinary_;
};

}  // namespace entrain::comm::mpi_detail
