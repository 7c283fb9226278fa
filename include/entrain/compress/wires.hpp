// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/algorithms/recursive_doubling_all_reduce.hpp>
#include <entrain/comm/cost_model.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/comm/selection.hpp>
#include <entrain/core/describe.hpp>

// What lies between ranks, as the cost model sees it: enough to say how long a collective of any size takes, by the algorithm
// that the library would choose there. A regular value, so that policies can hold it and all ranks can hold the same.
//
//   compress::wires slow = compress::wires::uniform(5e-5, 12.5e6);   // 50 us, 100 Mbit/s: wires that one does not have
//   compress::wires here = compress::wires_of(world);                // of a communicator, by this process's profile
//   double s = slow.time(comm::collective::all_reduce, 8, n, sizeof(float)).seconds;
//
// Seconds, bytes. Errors: usage_error where the figures cannot be.

namespace entrain::compress {

struct wires {
  std::string communicator = "*";  // its name in the profile
  comm::profile costs = comm::built_in_profile();
  std::array<std::string, comm::collective_kinds> native{};  // what the profile calls the native way of each collective; empty: none
  bool native_always = false;                                // no algorithm is asked where there is a native way
  int ranks_per_node = 1;

  // The same wire between any two ranks; combine: seconds to add one byte of a reduction.
  static wires uniform(double latency, double bytes_per_second, double combine = 0) {
    if (!(latency >= 0) || !(bytes_per_second > 0) || !(combine >= 0))
      throw usage_error("compress::wires::uniform", "no such wires", "a latency and a combine of at least 0 s, more than 0 bytes/s",
                        entrain::detail::text(latency, " s, ", combine, " s, ", bytes_per_second, " bytes/s"));
    wires out;
    out.communicator = "wires";
    out.costs = comm::profile({{"*", "*", "*", 0, {{0, {latency, 1 / bytes_per_second, combine}}}}}, entrain::detail::text(latency, " s, ", bytes_per_second, " bytes/s"));
    return out;
  }

  struct transfer {
    double seconds = 0;
    double bytes = 0;  // that a rank sends; of a native way what the best algorithm would
    transfer& operator+=(const transfer& other) {
      seconds += other.seconds, bytes += other.bytes;
      return *this;
    }
  };

  // count: as the collective takes it (of one rank's piece for gathers and all-to-all).
  transfer time(comm::collective kind, int ranks, std::size_t count, std::size_t width) const {
    if (ranks <= 1 || count == 0) return {};
    const std::vector<std::size_t> counts(kind == comm::collective::all_gather_v ? std::size_t(ranks) : 0, count);
    comm::problem what{.kind = kind, .size = ranks, .count = count, .width = width, .counts = counts, .ranks_per_node = ranks_per_node};
    const std::string& own = native[std::size_t(kind)];
    const comm::algorithm* how = native_always && !own.empty() ? nullptr : comm::choose(communicator, own, what, true, costs).built;
    const auto predicted = how ? comm::predicted_seconds(costs, communicator, *how, what) : comm::predicted_native_seconds(costs, communicator, own, what);
    const comm::cost k = how ? how->predict(what) : comm::native_cost(what);
    return {predicted.seconds, (how ? double(k.elements) : k.betas) * double(width)};
  }

  // Of a message of so many bytes within an all-reduce that is built from messages.
  const comm::link_cost& link(int ranks, std::uint64_t bytes) const {
    return comm::entry_for(costs, communicator, comm::collective::all_reduce, &comm::algorithms::recursive_doubling_all_reduce, {}, ranks).at(bytes);
  }

  std::string describe() const { return "wires{" + communicator + ", " + costs.origin() + "}"; }
  friend bool operator==(const wires& a, const wires& b) {
    return a.communicator == b.communicator && a.costs.signature() == b.costs.signature() && a.native == b.native && a.native_always == b.native_always &&
           a.ranks_per_node == b.ranks_per_node;
  }
};

namespace detail {
// Names of what the communicator does natively for gradients: sums of float, bytes otherwise.
template <class C, std::size_t... Kinds>
void name_natives(const C& c, std::array<std::string, comm::collective_kinds>& names, std::index_sequence<Kinds...>) {
  constexpr std::size_t usual = std::size_t(1) << 20;  // bytes, for communicators whose native way depends on them
  const auto one = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
    constexpr auto kind = comm::collective(K);
    constexpr bool sums = kind == comm::collective::reduce || kind == comm::collective::all_reduce || kind == comm::collective::reduce_scatter;
    if constexpr (comm::native<C, kind, std::conditional_t<sums, float, std::byte>, std::conditional_t<sums, comm::sum, comm::no_operation>>)
      names[K] = comm::native_name_of(c, kind, usual);
  };
  (one(std::integral_constant<std::size_t, Kinds>{}), ...);
}
}  // namespace detail

// Does not communicate. Ranks must have the same profile (comm::agree_on_profile).
template <class C>
wires wires_of(const C& c, const comm::profile& costs = comm::current_profile()) {
  wires out;
  out.communicator = comm::cost_name_of(c);
  out.costs = costs;
  detail::name_natives(c, out.native, std::make_index_sequence<std::size_t(comm::collective_kinds)>{});
  out.native_always = comm::native_always<C>;
  out.ranks_per_node = comm::ranks_per_node_of(c);
  return out;
}

}  // namespace entrain::compress
