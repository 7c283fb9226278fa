// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <entrain/comm/reproducible.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// Sums whose bits do not depend on the number of ranks: the batch is cut into a fixed number of shards, each shard's gradient
// is a leaf of one fixed tree (comm/reproducible.hpp), and a rank holds the gradients of its shards as few partial sums.
// One sum for each stretch of the gradient arena that travels together.

namespace entrain::parallel {

template <class T, class Communicator>
class shard_sums {
 public:
  // shards: of the whole batch. Must be a multiple of the ranks, so that ranks hold whole shards of equal size.
  shard_sums(Communicator& comm, std::size_t shards) : comm_(comm), shards_(shards) {
    const auto p = std::size_t(comm.size());
    if (shards == 0 || shards % p != 0)
      throw usage_error("parallel::reproducible", "shards do not spread evenly over the ranks", entrain::detail::text("a multiple of ", p), entrain::detail::text(shards));
  }
  std::size_t here() const { return shards_ / std::size_t(comm_.size()); }  // this rank's

  void add_stretch(std::size_t count) {
    sums_.emplace_back(comm_, shards_, count), requests_.emplace_back();
  }
  // Stretch s of a shard's gradient is final.
  void add(std::size_t s, view<const T> leaf) { sums_[s].add(leaf); }
  // The same of the last shard: starts the sum, which ends in the leaf's place.
  void add_last_and_start(std::size_t s, view<T> leaf) {
    if (here() == 1) {  // nothing to combine here: it travels from where it lies
      requests_[s] = comm::start_reproducible_all_reduce(comm_, leaf, leaf, comm::sum{}, shards_);
    } else {
      sums_[s].add(view<const T>(leaf));
      requests_[s] = sums_[s].start_all_reduce(comm_, leaf);
    }
  }
  void wait(std::size_t s) { requests_[s].wait(); }
  void progress() {
    for (auto& r : requests_) r.test();
  }

 private:
  Communicator& comm_;
  std::size_t shards_;
  std::vector<comm::reproducible_accumulator<T>> sums_;
  std::vector<comm::reproducible_request<Communicator, T, comm::sum>> requests_;
};

}  // namespace entrain::parallel
