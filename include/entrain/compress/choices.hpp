// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/compress/concepts.hpp>

// A compression policy is one compressor, or a chooser among several: per_layer by what the block is, after by the step,
// selective by what it costs. A chooser offers
//
//   choices()              a tuple of compressors or of further choosers
//   choose(block, step)    which of them carries the block at that step: the same on every rank
//   changes_at()           (optional) a step from which on choose() answers differently
//   measured               (optional) true: choose() rests on measurements, which another run may make otherwise. A checkpoint then
//                          keeps what was chosen for every block, and a run that resumes takes that
//
// The exchange sees the leaves of that tree, numbered from left to right.

namespace entrain::compress {

template <class C>
concept chooser = policy_for<C, slot::compression> && requires(const C& c, const block& b, std::uint64_t step) {
  c.choices();
  { c.choose(b, step) } -> std::convertible_to<std::size_t>;
};

// The leaves, from left to right.
template <class C>
auto leaves(const C& c) {
  if constexpr (chooser<C>) return std::apply([](const auto&... each) { return std::tuple_cat(leaves(each)...); }, c.choices());
  else return std::tuple<C>(c);
}
template <class C>
using leaves_of = decltype(leaves(std::declval<const C&>()));
template <class C>
inline constexpr std::size_t leaf_count = std::tuple_size_v<leaves_of<C>>;

// Which leaf carries the block at the step.
template <class C>
std::size_t leaf_of(const C& c, const block& b, std::uint64_t step) {
  if constexpr (chooser<C>) {
    const std::size_t wanted = c.choose(b, step);
    std::size_t at = 0, before = 0, found = 0;
    std::apply(
        [&](const auto&... each) {
          ((at++ == wanted ? void(found = before + leaf_of(each, b, step)) : void(), before += leaf_count<std::remove_cvref_t<decltype(each)>>), ...);
        },
        c.choices());
    return found;
  } else {
    return 0;
  }
}

// The steps from which on leaf_of may answer differently.
template <class C>
void add_changes(const C& c, std::vector<std::uint64_t>& steps) {
  if constexpr (chooser<C>) {
    if constexpr (requires { c.changes_at(); }) steps.push_back(c.changes_at());
    std::apply([&](const auto&... each) { (add_changes(each, steps), ...); }, c.choices());
  }
}

// For optimizers with `takes_momentum`: what every block becomes is the momentum, not the gradient.
template <class C>
constexpr bool delivers_momentum() {
  if constexpr (requires { C::delivers_momentum; }) return bool(C::delivers_momentum);
  else if constexpr (chooser<C>)
    return []<class... Each>(std::type_identity<std::tuple<Each...>>) { return (delivers_momentum<Each>() && ...); }(std::type_identity<decltype(std::declval<const C&>().choices())>{});
  else return false;
}

// What is chosen somewhere in it is a matter of measurement. Rules (per_layer.hpp) say it as choosers do.
template <class C>
constexpr bool is_measured() {
  if constexpr (requires { C::measured; }) return bool(C::measured);
  else if constexpr (chooser<C>)
    return []<class... Each>(std::type_identity<std::tuple<Each...>>) { return (is_measured<Each>() || ...); }(std::type_identity<decltype(std::declval<const C&>().choices())>{});
  else return false;
}

namespace detail {
template <class Leaves, class T>
inline constexpr bool all_compressors = false;
template <class... C, class T>
inline constexpr bool all_compressors<std::tuple<C...>, T> = (compressor<C, T> && ...);
}  // namespace detail

// What the compression slot takes.
template <class C, class T>
constexpr bool is_compression() {
  if constexpr (chooser<C>) return detail::all_compressors<leaves_of<C>, T>;
  else return compressor<C, T>;
}
template <class C, class T>
concept compression = is_compression<C, T>();

}  // namespace entrain::compress
