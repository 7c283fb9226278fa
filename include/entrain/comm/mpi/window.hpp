// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <entrain/comm/mpi/handle.hpp>
#include <entrain/comm/shared_memory/arenas.hpp>

// Memory that all ranks of a group on one node have mapped: an MPI-3 shared window. Each rank brings a part of its own
// size, which begins on a page; pages are taken when they are first touched, near the core that touches them.

namespace entrain::comm::mpi_detail {

struct window_kind {
  using handle = MPI_Win;
  static handle null() { return MPI_WIN_NULL; }
  static void free(handle& value) {
    MPI_Win_unlock_all(value);
    MPI_Win_free(&value);
  }
};

class window {
 public:
  using part = shared_memory::arenas::part;

  window() = default;
  // Collective over `comm`, whose ranks share memory. Empty on all ranks if one could not get its memory.
  window(MPI_Comm comm, std::size_t bytes) {
    MPI_Win made = MPI_WIN_NULL;
    void* own = nullptr;
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true");
    int works = MPI_Win_allocate_shared(MPI_Aint(bytes + page), 1, info, comm, &own, &made) == MPI_SUCCESS, everywhere = 0;
    MPI_Info_free(&info);
    if (MPI_Allreduce(&works, &everywhere, 1, MPI_INT, MPI_MIN, comm) != MPI_SUCCESS || !everywhere) return;
    MPI_Win_lock_all(MPI_MODE_NOCHECK, made);  // loads and stores stand inside one epoch, from here to the end
    window_ = owner<window_kind>(made);
    int ranks = 0;
    MPI_Comm_size(comm, &ranks);
    for (int r = 0; r < ranks; ++r) {
      MPI_Aint size = 0;
      int unit = 1;
      void* base = nullptr;
      MPI_Win_shared_query(made, r, &size, &unit, &base);
      parts_.push_back(whole_pages({static_cast<std::byte*>(base), std::size_t(size)}));
    }
  }

  explicit operator bool() const { return !parts_.empty(); }
  const std::vector<part>& parts() const { return parts_; }
  void abandon() { window_.abandon(); }  // after a failure: freeing is collective

 private:
  // Open MPI begins a part a few words into a page, the same number in every process.
  static constexpr std::size_t page = 4096;
  static part whole_pages(part given) {
    const std::size_t skipped = (page - reinterpret_cast<std::uintptr_t>(given.base) % page) % page;
    return {given.base + skipped, given.bytes - page};
  }
  std::vector<part> parts_;
  owner<window_kind> window_;
};

}  // namespace entrain::comm::mpi_detail
