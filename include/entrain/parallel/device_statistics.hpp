// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/device_exchange.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/update.hpp>

// What is observed, not trained (batch norm's running values), on an engine whose memory the host cannot read: it follows the sums of
// what the ranks observe. They are few numbers, in the gradient where a layout's trainable part has not begun.
//
// The host does not wait on one rank, and where the communicator sums in that memory (comm/nccl.hpp). Else the sums go by host memory:
// one wait. Sums are in the kept type. Cost: one kernel, two or three small copies and one all-reduce where there are more ranks.
//
// An engine provides round_parameters(engine, from, to, n), here to convert, and follow_statistics(engine, n, momentum, samples, sums,
// running, computed, forgiving).

namespace entrain::parallel {

template <class T, class Kept, class Engine, class Communicator>
class device_statistics {
  using space = typename Engine::space;
  static constexpr bool converts = !std::is_same_v<T, Kept>;
  static constexpr bool sums_on_device = exchanges_on_device<Kept, Engine, Communicator, compress::none>;

 public:
  device_statistics(std::size_t count, const Engine& engine, Communicator& comm) : engine_(engine), comm_(comm), count_(count) {
    if (count == 0 || comm.size() == 1) return;
    if (converts || !sums_on_device) sums_ = buffer<Kept, space>(count);
    if constexpr (sums_on_device) comm.follow(engine);
    else on_host_.resize(count), as_computed_.resize(converts ? count : 0);
  }

  // Whether update() waits for the device.
  bool waits() const { return count_ > 0 && comm_.size() > 1 && !sums_on_device; }

  // observed: sums over this rank's samples, may be spoilt; running and computed: the parameters, whole (computed is running where nothing is
  // converted). samples: of all ranks. forgiving: what is not finite changes nothing, for sums that 16 bits may not hold.
  void update(view<T, space> observed, view<Kept, space> running, T* computed, std::int64_t samples, bool forgiving) {
    if (count_ == 0) return;
    const auto follow = [&](const auto* sums) { follow_statistics(engine_, count_, statistic_momentum, double(samples), sums, running.data(), computed, forgiving); };
    if (comm_.size() == 1) return follow(static_cast<const T*>(observed.data()));
    if constexpr (sums_on_device) follow(static_cast<const Kept*>(sum_on_device(observed)));
    else follow(static_cast<const Kept*>(sum_on_host(observed)));
  }

  // Waits until what travels has arrived: called before the host waits for the device. Errors: communication_error.
  void settle() { under_way_.wait(); }

  void add_to(plan& p) const {
    if (count_ > 0 && comm_.size() > 1) p.push_back({.operation = "all_reduce", .phase = "statistics", .element_bytes = sizeof(Kept), .count = count_, .on_device = sums_on_device});
  }

 private:
  Kept* sum_on_device(view<T, space> observed) {
    Kept* sums = sums_.data();
    if constexpr (converts) round_parameters(engine_, static_cast<const T*>(observed.data()), sums, count_);
    else sums = observed.data();
    under_way_ = comm::start_all_reduce(comm_, view<Kept, space>(sums, count_), comm::sum{});
    comm_.hold(engine_);
    return sums;
  }
  Kept* sum_on_host(view<T, space> observed) {
    if constexpr (converts) {
      engine_.copy(static_cast<const T*>(observed.data()), as_computed_.data(), count_);
      engine_.wait();
      for (std::size_t i = 0; i < count_; ++i) on_host_[i] = Kept(as_computed_[i]);
    } else {
      engine_.copy(static_cast<const T*>(observed.data()), on_host_.data(), count_);
      engine_.wait();
    }
    comm::all_reduce(comm_, view<Kept>(on_host_), comm::sum{});
    engine_.copy(static_cast<const Kept*>(on_host_.data()), sums_.data(), count_);
    return sums_.data();
  }

  Engine engine_;
  Communicator& comm_;
  std::size_t count_;
  buffer<Kept, space> sums_;
  std::vector<Kept> on_host_;
  std::vector<T> as_computed_;
  comm::pending<Communicator> under_way_;
};

}  // namespace entrain::parallel
