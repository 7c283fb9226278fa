// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/pending.hpp>
#include <entrain/comm/selection.hpp>

// How a collective goes: what the back-end has, where nothing built from messages could be better (known at compile time); else
// what the communicator itself wants (chosen()), else the cheaper of the back-end's way and the algorithms of comm/algorithms/ (comm/selection.hpp).

namespace entrain::comm::detail {

template <class Op>
constexpr bool commutes() {
  if constexpr (std::same_as<Op, no_operation>) return true;
  else return Op::commutative;
}

template <class Op, class C>
const algorithm* pick(const C& c, const problem& what, bool has_native) {
  if constexpr (requires { { c.chosen(what.kind) } -> std::convertible_to<const algorithm*>; })
    if (const algorithm* wanted = c.chosen(what.kind)) {
      if (!commutes<Op>() && !wanted->keeps_order)
        throw usage_error(text("comm::", name_of(what.kind)), text("the algorithm '", wanted->name, "' was asked for, which does not keep the order of operands"),
                          "an operation that commutes, or another algorithm", "an operation that does not commute");
      if (!wanted->fits || wanted->fits(what)) return wanted;
    }
  const std::string_view own = has_native ? native_name_of(c, what.kind, what.count * what.width) : std::string_view{};
  return choose(cost_name_of(c), own, what, commutes<Op>()).built;
}

template <class T, class Op, class C>
pending<C> start_built(C& c, const algorithm& how, const problem& what, const T* in, T* out) {
  schedule::operands memory{.in = in, .out = out, .width = sizeof(T), .type = dtype_of<T>::value};
  if constexpr (!std::same_as<Op, no_operation>) memory.combine = &schedule::combine_elements<T, Op>;
  return pending<C>(schedule::executions<C>::start(c, how, what, memory));
}

// native: called with the communicator, only where it has the collective.
template <collective Kind, class T, class Op, class Space, class C, class Native>
pending<C> start(C& c, problem what, const T* in, T* out, Native&& native_call) {
  constexpr bool has = native<C, Kind, T, Op, Space>;
  if constexpr (has && native_always<C>) {
    return native_call(c);
  } else {
    what.kind = Kind, what.rank = c.rank(), what.size = c.size(), what.width = sizeof(T);
    what.ranks_per_node = ranks_per_node_of(c);
    const algorithm* built = pick<Op>(c, what, has);
    if constexpr (has)
      if (!built) return native_call(c);
    return start_built<T, Op>(c, *built, what, in, out);
  }
}

}  // namespace entrain::comm::detail
