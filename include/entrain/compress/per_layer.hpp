// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

#include <entrain/compress/choices.hpp>
#include <entrain/core/describe.hpp>

// Different compressors for different blocks: the first rule that takes a block decides, and a compressor without a rule takes
// what is left.
//
//   compress::per_layer{compress::rule{compress::power_sgd{.rank = 4}, {.matrices = true, .at_least = 4096}}, compress::none{}}
//
// A rule is anything with a member `compressor` and `bool takes(const compress::block&) const` that answers the same on every
// rank. Wrappers such as error_feedback go inside a rule. Blocks of one compressor travel packed together.

namespace entrain::compress {

// All that is said must hold.
struct when {
  bool matrices = false;      // blocks of two or more dimensions
  std::size_t at_least = 0;   // values
  std::string_view name = {};  // occurs in the block's name; must outlive the policy (a literal does)
  friend bool operator==(const when&, const when&) = default;
};

template <class C>
struct rule {
  static constexpr bool measured = is_measured<C>();
  C compressor;
  when condition;

  constexpr rule(C c, when w) : compressor(c), condition(w) {}
  bool takes(const block& b) const {
    return (!condition.matrices || b.matrix()) && b.count >= condition.at_least && (condition.name.empty() || b.name.find(condition.name) != std::string_view::npos);
  }
  std::string describe() const {
    return "rule{" + entrain::describe(compressor) + (condition.matrices ? ", matrices" : "") + (condition.at_least > 0 ? ", at_least = " + std::to_string(condition.at_least) : "") +
           (condition.name.empty() ? "" : ", name = " + std::string(condition.name)) + "}";
  }
  friend bool operator==(const rule&, const rule&) = default;
};

namespace detail {
template <class R>
concept has_rule = requires(const R& r, const block& b) {
  r.compressor;
  { r.takes(b) } -> std::same_as<bool>;
};
template <class R>
const auto& compressor_in(const R& r) {
  if constexpr (has_rule<R>) return r.compressor;
  else return r;
}
template <class R>
bool takes(const R& r, const block& b) {
  if constexpr (has_rule<R>) return r.takes(b);
  else return true;
}
}  // namespace detail

template <class... Rules>
struct per_layer {
  using slot_type = slot::compression;
  static constexpr bool measured = (is_measured<Rules>() || ...);
  std::tuple<Rules...> rules;

  static_assert(sizeof...(Rules) > 0 && !detail::has_rule<std::tuple_element_t<sizeof...(Rules) - 1, std::tuple<Rules...>>>,
                "the last argument of compress::per_layer takes the blocks that no rule took: end the list with a compressor without a rule, such as compress::none{}");

  explicit constexpr per_layer(Rules... r) : rules(r...) {}

  auto choices() const {
    return std::apply([](const auto&... r) { return std::tuple<std::remove_cvref_t<decltype(detail::compressor_in(r))>...>(detail::compressor_in(r)...); }, rules);
  }
  std::size_t choose(const block& b, std::uint64_t) const {
    std::size_t found = 0;
    std::apply([&](const auto&... r) { (void)((detail::takes(r, b) || (++found, false)) || ...); }, rules);
    return found;
  }
  std::string describe() const {
    std::string out;
    std::apply([&](const auto&... r) { ((out += (out.empty() ? "" : ", ") + entrain::describe(r)), ...); }, rules);
    return "per_layer{" + out + "}";
  }
  friend bool operator==(const per_layer&, const per_layer&) = default;
};

}  // namespace entrain::compress
