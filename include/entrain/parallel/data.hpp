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
// Any compressor. Bytes a rank and step: the compressor's wire_count for every block, and 32 for the metrics.
// Memory: parameters, gradients and optimizer state whole on every rank.

namespace entrain::parallel {

struct data {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "data";

  std::size_t bucket_bytes = std::size_t(4) << 20;  // gradient bytes that travel together
  std::size_t accumulate = 1;                       // micro-batches a step: activations of one at a time

  template <class Setup>
  static constexpr bool check() { return true; }

  template <class Setup>
  struct replica : synchronous_replica<Setup, replicated> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : synchronous_replica<Setup, replicated>(p.accumulate, model, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_of<Setup, replicated>(layout, comm, compressor, p.bucket_bytes, !Setup::optimizer::elementwise);
          }) {}
  };

  std::string describe() const { return describe_members("data", "bucket_bytes", bucket_bytes, "accumulate", accumulate); }
  friend bool operator==(const data&, const data&) = default;
};

}  // namespace entrain::parallel
