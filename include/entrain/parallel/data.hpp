// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/device_replica.hpp>
#include <entrain/parallel/local_steps.hpp>
#include <entrain/parallel/offloaded.hpp>
#include <entrain/parallel/synchronous.hpp>

// Data parallelism: every rank computes on its part of the batch, gradients are summed over all ranks, and every rank
// takes the same step. Exchange overlaps the backward pass bucket by bucket (Li et al., "PyTorch Distributed", VLDB 2020).
//
// Any compressor. Bytes a rank and step: the compressor's wire_count for every block, and 32 for the metrics.
// Memory: parameters, gradients and optimizer state whole on every rank.
//
// An optimizer that owns its communication (optim::zero_one_adam) decides what travels in which step: parallel/local_steps.hpp.

namespace entrain::parallel {

struct data {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "data";
  static constexpr bool local_steps = true;  // takes optimizers that own their communication

  std::size_t bucket_bytes = std::size_t(4) << 20;  // gradient bytes that travel together
  std::size_t accumulate = 1;                       // micro-batches a step: activations of one at a time

  template <class Setup>
  static constexpr bool check() {
    if constexpr (optim::owns_communication<typename Setup::optimizer>) return check_local_steps<Setup>() && check_precision<Setup>();
    else return check_precision<Setup>();
  }

  template <class Setup>
  struct replica : synchronous_replica<Setup, replicated> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : synchronous_replica<Setup, replicated>(p.accumulate, model, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_of<Setup, replicated>(layout, comm, compressor, p.bucket_bytes, !Setup::optimizer::elementwise);
          }) {}
  };

  template <class Setup>
    requires(updates_on_device<Setup>())
  struct replica<Setup> : device_replica<Setup> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : device_replica<Setup>(p.accumulate, p.bucket_bytes, model, optimizer, comm, compressor) {}
  };

  template <class Setup>
    requires(nn::on_host<typename Setup::model> && optim::owns_communication<typename Setup::optimizer>)
  struct replica<Setup> : local_steps_replica<Setup> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : local_steps_replica<Setup>(p.accumulate, p.bucket_bytes, model, optimizer, comm, compressor) {}
  };

  // On a device: its passes, and the steps on the host (parallel/offloaded.hpp). So are those of optimizers for which it has no kernels.
  template <class Setup>
    requires(!nn::on_host<typename Setup::model> && optim::owns_communication<typename Setup::optimizer>)
  struct replica<Setup> : offloaded_base<Setup>, local_steps_replica<offloaded_setup<Setup>> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : offloaded_base<Setup>(model), local_steps_replica<offloaded_setup<Setup>>(p.accumulate, p.bucket_bytes, this->offloaded, optimizer, comm, compressor) {}
  };

  template <class Setup>
    requires(!nn::on_host<typename Setup::model> && !optim::owns_communication<typename Setup::optimizer> && !updates_on_device<Setup>())
  struct replica<Setup> : offloaded_base<Setup>, synchronous_replica<offloaded_setup<Setup>, replicated> {
    replica(const data& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : offloaded_base<Setup>(model), synchronous_replica<offloaded_setup<Setup>, replicated>(p.accumulate, this->offloaded, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_of<offloaded_setup<Setup>, replicated>(layout, comm, compressor, p.bucket_bytes, !Setup::optimizer::elementwise);
          }) {}
  };

  std::string describe() const { return describe_members("data", "bucket_bytes", bucket_bytes, "accumulate", accumulate); }
  friend bool operator==(const data&, const data&) = default;
};

}  // namespace entrain::parallel
