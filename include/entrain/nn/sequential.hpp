// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/nn/chain.hpp>

// How layers are put together:
//   sequential{a, b, c}     one after another; the blocks of the i-th part are named "i.weight", ...
//   named{"x", a}           ... or "x.weight"; an empty name adds nothing
//   repeat{n, a}            n instances of a, n known at run time; blocks "0.weight", "1.weight", ...

namespace entrain::nn {

template <class Layer>
struct named {
  std::string name;
  Layer layer;
  named(std::string n, Layer l) : name(std::move(n)), layer(std::move(l)) {}

  template <class T>
  auto make(builder& b, shape in, const std::string& prefix) const {
    return layer.template make<T>(b, std::move(in), prefix);
  }
  std::string describe() const { return (name.empty() ? "" : name + ": ") + entrain::describe(layer); }
  friend bool operator==(const named&, const named&) = default;
};

namespace detail {
template <class T, class... Parts>
chain<T, Parts...> chain_of(std::tuple<Parts...>&& parts) {
  return chain<T, Parts...>(std::move(parts));
}
template <class L>
std::string child_prefix(const L&, std::size_t i) {
  return std::to_string(i) + ".";
}
template <class L>
std::string child_prefix(const named<L>& part, std::size_t) {
  return part.name.empty() ? std::string() : part.name + ".";
}
}  // namespace detail

template <class... Layers>
struct sequential {
  static_assert(sizeof...(Layers) > 0, "nn::sequential needs at least one layer");
  std::tuple<Layers...> layers;
  explicit sequential(Layers... parts) : layers(std::move(parts)...) {}

  template <class T>
  auto make(builder& b, shape in, const std::string& prefix) const {
    return build<T>(b, std::move(in), prefix, std::index_sequence_for<Layers...>());
  }
  std::string describe() const {
    std::string out;
    std::apply([&](const auto&... part) { ((out += (out.empty() ? "" : ", ") + entrain::describe(part)), ...); }, layers);
    return "sequential{" + out + "}";
  }
  friend bool operator==(const sequential&, const sequential&) = default;

 private:
  // Braces make the parts from left to right, each in its place.
  template <class T, std::size_t... I>
  auto build(builder& b, shape in, const std::string& prefix, std::index_sequence<I...>) const {
    const auto next = [&](const auto& description, std::size_t i) {
      auto part = description.template make<T>(b, std::move(in), prefix + detail::child_prefix(description, i));
      in = part.out_shape;
      return part;
    };
    return detail::chain_of<T>(std::tuple{next(std::get<I>(layers), I)...});
  }
};

template <class Layer>
struct repeat {
  std::size_t count;
  Layer layer;
  repeat(std::size_t n, Layer l) : count(n), layer(std::move(l)) {}

  template <class T>
  auto make(builder& b, shape in, const std::string& prefix) const {
    using part = decltype(layer.template make<T>(b, in, prefix));
    if (count == 0) throw usage_error("nn::repeat", "no repetition", "count >= 1", "0");
    repeated<part> result;
    for (std::size_t i = 0; i < count; ++i) {
      result.parts.push_back(layer.template make<T>(b, std::move(in), prefix + std::to_string(i) + "."));
      in = result.parts.back().out_shape;
    }
    result.out_shape = std::move(in);
    return result;
  }
  std::string describe() const { return "repeat{" + std::to_string(count) + ", " + entrain::describe(layer) + "}"; }
  friend bool operator==(const repeat&, const repeat&) = default;
};

}  // namespace entrain::nn
