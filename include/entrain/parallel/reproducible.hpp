// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/fixed_exchange.hpp>
#include <entrain/parallel/offloaded.hpp>
#include <entrain/parallel/synchronous.hpp>

// Data parallelism with the same bits on every number of ranks: the batch is cut into `shards` parts whatever the number of ranks,
// each part's gradient is computed by itself, and all are summed by one fixed tree. The parameters have the same bits on 1, 2, 4 ...
// ranks, any number that divides the shards. It takes a batch that is a multiple of the shards and gradients that are not
// compressed, and costs an addition for each shard of a rank beyond the first.
//
// Bytes a rank and step: those of comm/reproducible.hpp for the gradient, and 32 for the metrics. Memory: as parallel::data, and
// log2(shards of a rank) gradients more.

namespace entrain::parallel {

struct reproducible {
  using slot_type = slot::parallelism;
  static constexpr std::string_view name = "reproducible";

  std::size_t bucket_bytes = std::size_t(4) << 20;  // gradient bytes that travel together
  std::size_t shards = 8;                           // of the whole batch

  template <class Setup>
  static constexpr bool check() {
    static_assert(compress::is_identity<typename Setup::compressor>,
                  "parallel::reproducible cannot take a compressor, which encodes what a rank has and so depends on the number of ranks: "
                  "use compress::none here, or keep the compressor and use parallel::data");
    return check_precision<Setup>();
  }

  template <class Setup>
  struct replica : synchronous_replica<Setup, replicated, fixed_exchange<typename Setup::value_type, typename Setup::communicator>> {
    using exchange_type = fixed_exchange<typename Setup::value_type, typename Setup::communicator>;
    replica(const reproducible& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor&)
        : synchronous_replica<Setup, replicated, exchange_type>(1, model, optimizer, comm,
                                                               [&](const parameter_layout& layout) { return exchange_type(layout, comm, p.bucket_bytes, p.shards); }) {}
  };

  // On a device: its passes, and sums and optimizer on the host (parallel/offloaded.hpp).
  template <class Setup>
    requires(!nn::on_host<typename Setup::model>)
  struct replica<Setup> : offloaded_base<Setup>,
                          synchronous_replica<offloaded_setup<Setup>, replicated, fixed_exchange<typename Setup::kept_type, typename Setup::communicator>> {
    using exchange_type = fixed_exchange<typename Setup::kept_type, typename Setup::communicator>;
    replica(const reproducible& p, typename Setup::model& model, const typename Setup::optimizer& optimizer, typename Setup::communicator& comm, const typename Setup::compressor&)
        : offloaded_base<Setup>(model),
          synchronous_replica<offloaded_setup<Setup>, replicated, exchange_type>(1, this->offloaded, optimizer, comm, [&](const parameter_layout& layout) {
            return exchange_type(layout, comm, p.bucket_bytes, p.shards);
          }) {}
  };

  std::string describe() const { return describe_members("reproducible", "bucket_bytes", bucket_bytes, "shards", shards); }
  friend bool operator==(const reproducible&, const reproducible&) = default;
};

}  // namespace entrain::parallel
