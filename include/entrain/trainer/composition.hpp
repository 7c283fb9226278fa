// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include <entrain/checkpoint/policy.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/fault.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/engine/start.hpp>
#include <entrain/nn/precision.hpp>
#include <entrain/parallel/data.hpp>

// Order-free composition: the arguments of a trainer are sorted into slots by their tags, and empty slots get their
// defaults. All of it happens in types; what is left at run time is a tuple of the policies.

namespace entrain::detail {

// How a trainer keeps an argument: a communicator that outlives it is referred to, everything else is copied.
template <class Argument>
using kept = std::conditional_t<std::is_lvalue_reference_v<Argument> && policy_for<Argument, slot::communicator>, Argument, std::decay_t<Argument>>;

template <class Slot, class P>
constexpr bool fills() {
  if constexpr (policy<P>) return policy_for<P, Slot>;
  else return false;
}

template <class Slot, class... P>
inline constexpr std::size_t filled = (std::size_t{0} + ... + std::size_t(fills<Slot, P>()));

template <class Slot, class... P>
constexpr std::size_t position() {
  std::size_t at = 0, found = sizeof...(P);
  ((fills<Slot, P>() && found == sizeof...(P) ? void(found = at++) : void(++at)), ...);
  return found;
}

// What stands in for a slot that was left empty.
struct defaults {
  comm::self communicator;
  compress::none compression;
  parallel::data parallelism;
  engine::host engine;
  precision::fp32 precision;
  checkpoint::none checkpoint;
  fault::none fault;

  comm::self& of(slot::communicator) { return communicator; }
  compress::none& of(slot::compression) { return compression; }
  parallel::data& of(slot::parallelism) { return parallelism; }
  engine::host& of(slot::engine) { return engine; }
  precision::fp32& of(slot::precision) { return precision; }
  checkpoint::none& of(slot::checkpoint) { return checkpoint; }
  fault::none& of(slot::fault) { return fault; }
};

template <class... P>
class policies {
 public:
  template <class... Arguments>
  explicit policies(Arguments&&... arguments) : given_(std::forward<Arguments>(arguments)...) {}

  template <class Slot>
  auto& of(Slot slot) {
    if constexpr (filled<Slot, P...> > 0) return std::get<position<Slot, P...>()>(given_);
    else return defaults_.of(slot);
  }

  // f(policy) for every policy of a slot that may be filled many times.
  template <class Slot, class F>
  void for_each(F&& f) {
    std::apply([&](auto&... each) { (visit_if<Slot>(each, f), ...); }, given_);
  }

 private:
  template <class Slot, class Policy, class F>
  static void visit_if(Policy& p, F& f) {
    if constexpr (fills<Slot, Policy>()) f(p);
  }
  std::tuple<P...> given_;
  [[no_unique_address]] defaults defaults_;
};

template <class Slot, class... P>
using policy_of = std::remove_reference_t<decltype(std::declval<policies<P...>&>().of(Slot{}))>;

// The instance of a model: what a description makes for an engine and a number format, or a user's own model as it is.
template <class Model, class T, class Engine>
struct instance_of {
  using type = std::remove_cvref_t<Model>;
};
template <class Model, class T, class Engine>
  requires requires(const Model& m, const Engine& e) { m.template make<T>(e); }
struct instance_of<Model, T, Engine> {
  using type = decltype(std::declval<const Model&>().template make<T>(std::declval<const Engine&>()));
};

}  // namespace entrain::detail
