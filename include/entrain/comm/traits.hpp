// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <entrain/comm/concepts.hpp>

// What a back-end does natively, asked per (collective, element type, operation, memory space). The answer is no unless
// the back-end says yes, in one readable table:
//
//   struct my_communicator {
//     struct abilities {
//       template <comm::collective Kind, class T, class Op, class Space>
//       static constexpr bool native = Kind == comm::collective::broadcast && std::same_as<Space, host_space>;
//     };
//     ...
//     template <class T> request start_broadcast(view<T> data, int root);
//   };
//
// A native collective is a member start_<name> with the signature that stands beside it below; everything else is built
// from messages by comm/algorithms/. Wrappers may steer the choice: see comm/point_to_point_only.hpp.

namespace entrain::comm {

enum class collective {
  barrier,         // start_barrier()
  broadcast,       // start_broadcast(view<T> data, int root)
  reduce,          // start_reduce(view<const T> in, view<T> out, Op, int root)          out is read at the root only
  all_reduce,      // start_all_reduce(view<const T> in, view<T> out, Op)                in may be out
  reduce_scatter,  // start_reduce_scatter(view<const T> in, view<T> out, Op)            in: size() * out.size(); out may be its own piece of in
  all_gather,      // start_all_gather(view<const T> in, view<T> out)                    in may be its own piece of out
  all_gather_v,    // start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts)
  gather,          // start_gather(view<const T> in, view<T> out, int root)
  scatter,         // start_scatter(view<const T> in, view<T> out, int root)
  all_to_all,      // start_all_to_all(view<const T> in, view<T> out)
  all_to_all_v,    // start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive)
};

inline constexpr int collective_kinds = int(collective::all_to_all_v) + 1;

constexpr std::string_view name_of(collective kind) {
  constexpr std::string_view names[] = {"barrier", "broadcast", "reduce", "all_reduce", "reduce_scatter", "all_gather",
                                        "all_gather_v", "gather", "scatter", "all_to_all", "all_to_all_v"};
  return names[int(kind)];
}

// Stands for the operation of a collective that has none.
struct no_operation {};

namespace detail {
template <class C, collective Kind, class T, class Op, class Space>
constexpr bool ask() {
  if constexpr (requires { C::abilities::template native<Kind, T, Op, Space>; }) return C::abilities::template native<Kind, T, Op, Space>;
  else return false;
}
}  // namespace detail

template <class C, collective Kind, class T = std::byte, class Op = no_operation, class Space = host_space>
inline constexpr bool native = detail::ask<C, Kind, T, Op, Space>();

// True for a back-end whose native collectives no algorithm over its messages can beat, because a message is a read of the
// other's memory there: it says `static constexpr bool best = true` in its abilities, and nothing else is compiled. Without it
// the choice is made by size at run time (comm/selection.hpp).
template <class C>
inline constexpr bool native_always = requires { requires C::abilities::best; };

}  // namespace entrain::comm
