// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

// A policy as text, for logs, checkpoints and reports: describe(p) is p.describe() where there is one, else its static
// `name`, else its type's name. Policies write theirs with describe_members("adamw", "learning_rate", learning_rate, ...).

namespace entrain {

namespace detail {
inline void describe_pairs(std::ostringstream&, bool) {}
template <class Value, class... Rest>
void describe_pairs(std::ostringstream& out, bool first, std::string_view member, const Value& value, const Rest&... rest) {
  out << (first ? "" : ", ") << member << ' ';
  if constexpr (std::is_same_v<Value, bool>) out << (value ? "yes" : "no");
  else out << value;
  describe_pairs(out, false, rest...);
}
}  // namespace detail

template <class... Pairs>
std::string describe_members(std::string_view name, const Pairs&... pairs) {
  std::ostringstream out;
  out << name << '{';
  detail::describe_pairs(out, true, pairs...);
  out << '}';
  return out.str();
}

template <class Policy>
std::string describe(const Policy& p) {
  if constexpr (requires { std::string(p.describe()); }) return p.describe();
  else if constexpr (requires { std::string(Policy::name); }) return std::string(Policy::name);
  else return typeid(Policy).name();
}

}  // namespace entrain
