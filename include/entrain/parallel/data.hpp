// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/synchronous.hpp>

// Data parallelism: every rank computes on its part of the batch, gradients are summed over all ranks, and every rank
// takes the same step. Exchange overlaps the backward pass bucket by bucket (Li et al., "PyTorch Distributed", VLDB 2020).
//
// With `shards` the batch is cut into that many parts whatever the number of ranks; each part's gradient is computed by itself
// and all are summed by one fixed tree, so the parameters have the same bits on 1, 2, 4 ... ranks. It takes a batch that is a
// multiple of the shards, no compressor that loses anything, and costs an addition for each shard of a rank beyond the first.
//
// Any compressor. Bytes a rank and step: the compressor's wire_count for every block, and 32 for the metrics.
// Memory: parameters, gradients and optimizer state whole on every rank.

namespace entrain::parallel {

struct data {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "data";

  std::size_t bucket_bytes = std::size_t(4) << 20;  // gradient bytes that travel together
  std::size_t accumulate = 1;                       // micro-batches a step: activations of one at a time
  std::size_t shards = 0;                           // > 0: the same bits on every number of ranks that divides it (see above)

  template <class Setup>
  static constexpr bool check() { return true; }

  template <class Setup>
  struct replica : synchronous_replica<Setup, replicated> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : synchronous_replica<Setup, replicated>(p.bucket_bytes, p.accumulate, p.shards, model, optimizer, comm, compressor) {}
  };

  std::string describe() const { return describe_members("data", "bucket_bytes", bucket_bytes, "accumulate", accumulate, "shards", shards); }
  friend bool operator==(const data&, const data&) = default;
};

}  // namespace entrain::parallel
