// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/device_replica.hpp>
#include <entrain/parallel/offloaded.hpp>
#include <entrain/parallel/synchronous.hpp>

// Sharded optimizer state (ZeRO stage 1: Rajbhandari et al., SC 2020): data parallelism in which every rank keeps 1/p of
// the optimizer state. Gradients are reduce-scattered, each rank updates the parameters whose state it holds, and the
// updated parameters are all-gathered.
//
// Any compressor: one whose wire element i stands for value i and may be summed (none, cast) is reduce-scattered; what any other
// one sends travels as in parallel::data, and every rank keeps its shard of the sum. Needs an elementwise optimizer. The same steps as
// parallel::data, bit for bit where the communicator sums in a fixed order.
// Bytes a rank and step: the whole gradient on the wire, 1/p of the parameters. Optimizer memory: 1/p.
//
// On a device the same happens there where the communicator reaches its memory (comm::nccl) and nothing is encoded (parallel/device_replica.hpp);
// else exchange and optimizer run on the host (parallel/offloaded.hpp).

namespace entrain::parallel {

// Whether the device has the optimizer's update, and the communicator sums and gathers there.
template <class Setup>
constexpr bool shards_on_device() {
  if constexpr (!updates_on_device<Setup>()) return false;
  else {
    using engine = std::remove_cvref_t<decltype(std::declval<typename Setup::model&>().engine())>;
    using T = typename Setup::value_type;
    using C = typename Setup::communicator;
    return exchanges_on_device<T, engine, C, typename Setup::compressor> && comm::native<C, comm::collective::reduce_scatter, T, comm::sum, typename engine::space> &&
           comm::native<C, comm::collective::all_gather, T, comm::no_operation, typename engine::space>;
  }
}

struct sharded {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "sharded";

  std::size_t bucket_bytes = std::size_t(4) << 20;
  std::size_t accumulate = 1;

  template <class Setup>
  static constexpr bool check() {
    static_assert(Setup::optimizer::elementwise,
                  "parallel::sharded cuts the optimizer state at any element and needs an optimizer with 'elementwise = true': "
                  "use optim::sgd or optim::adamw here, or keep the optimizer and use parallel::data");
    return check_precision<Setup>();
  }

  template <class Setup>
  struct replica : synchronous_replica<Setup, entrain::sharded> {
    replica(const sharded& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm,
            const typename Setup::compressor& compressor)
        : synchronous_replica<Setup, entrain::sharded>(p.accumulate, model, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_of<Setup, entrain::sharded>(layout, comm, compressor, p.bucket_bytes);
          }) {}
  };

  template <class Setup>
    requires(shards_on_device<Setup>())
  struct replica<Setup> : device_replica<Setup, entrain::sharded> {
    replica(const sharded& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor& compressor)
        : device_replica<Setup, entrain::sharded>(p.accumulate, p.bucket_bytes, model, optimizer, comm, compressor) {}
  };

  template <class Setup>
    requires(!nn::on_host<typename Setup::model> && !shards_on_device<Setup>())
  struct replica<Setup> : offloaded_base<Setup>, synchronous_replica<offloaded_setup<Setup>, entrain::sharded> {
    replica(const sharded& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm,
            const typename Setup::compressor& compressor)
        : offloaded_base<Setup>(model),
          synchronous_replica<offloaded_setup<Setup>, entrain::sharded>(p.accumulate, this->offloaded, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_of<offloaded_setup<Setup>, entrain::sharded>(layout, comm, compressor, p.bucket_bytes);
          }) {}
  };

  std::string describe() const { return describe_members("sharded", "bucket_bytes", bucket_bytes, "accumulate", accumulate); }
  friend bool operator==(const sharded&, const sharded&) = default;
};

}  // namespace entrain::parallel
