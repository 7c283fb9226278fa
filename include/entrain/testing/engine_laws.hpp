// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/detail/dispatch.hpp>
#include <entrain/nn/host.hpp>

// The law of an engine on host memory: every operation gives what engine::reference gives in double precision, within
// `tolerance` relative to the largest value, at odd sizes, and whatever the output held before (it is poisoned with NaN).
// entrain::testing::check_engine(my_engine{}); throws entrain::error with the operation and the figures.

namespace entrain::testing {

namespace detail {

template <class T>
std::vector<T> engine_values(std::size_t n, std::uint32_t stream) {
  const random_stream random(11, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(float(random.normal(i)));
  return out;
}

inline void require_close(const std::vector<float>& found, const std::vector<double>& expected, double tolerance, const std::string& operation) {
  double largest = 1e-30, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    worst = std::max(worst, std::isfinite(found[i]) ? std::abs(double(found[i]) - expected[i]) : std::numeric_limits<double>::infinity());
  }
  if (!(worst <= tolerance * largest))
    throw error("law of engines", operation + " differs from engine::reference", "relative difference at most " + std::to_string(tolerance), std::to_string(worst / largest));
}

// Runs body(engine, T{}) with the engine in float and with the reference in double, and compares what it returns.
template <class Engine, class Body>
void compare_engines(const Engine& engine, double tolerance, const std::string& operation, Body body) {
  require_close(body(engine, float{}), body(entrain::engine::reference{}, double{}), tolerance, operation);
}

template <class T>
std::vector<T> poisoned(std::size_t n) { return std::vector<T>(n, std::numeric_limits<T>::quiet_NaN()); }

}  // namespace detail

template <class Engine>
void check_engine(const Engine& engine, double tolerance = 1e-5) {
  namespace op = nn::op;
  namespace ops = nn::ops;
  for (const auto& [m, n, k] : {std::array<std::size_t, 3>{1, 1, 1}, {5, 7, 3}, {17, 33, 65}, {64, 48, 96}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        detail::compare_engines(engine, tolerance, "gemm", [&, m = m, n = n, k = k](const auto& e, auto t) {
          using T = decltype(t);
          const auto a = detail::engine_values<T>(m * k, 1), b = detail::engine_values<T>(k * n, 2);
          auto c = detail::poisoned<T>(m * n);
          op::do_run(e, ops::gemm{.transpose_a = ta, .transpose_b = tb, .m = m, .n = n, .k = k, .lda = ta ? m : k, .ldb = tb ? k : n, .ldc = n}, a.data(), b.data(), c.data());
          return c;
        });
  for (const auto kind : {ops::activation_kind::relu, ops::activation_kind::gelu, ops::activation_kind::silu, ops::activation_kind::tanh})
    for (const std::size_t n : {1, 17, 1000})
      detail::compare_engines(engine, tolerance, "activation", [&](const auto& e, auto t) {
        using T = decltype(t);
        const auto in = detail::engine_values<T>(n, 1), dout = detail::engine_values<T>(n, 2);
        auto out = detail::poisoned<T>(2 * n);
        op::do_forward(e, ops::activation{kind, n}, in.data(), out.data());
        op::do_backward(e, ops::activation{kind, n}, in.data(), dout.data(), out.data() + n);
        return out;
      });
  for (const std::size_t width : {1, 13, 128})
    detail::compare_engines(engine, 10 * tolerance, "layer_norm", [&](const auto& e, auto t) {
      using T = decltype(t);
      const ops::layer_norm d{.rows = 5, .width = width};
      const auto in = detail::engine_values<T>(5 * width, 1), gain = detail::engine_values<T>(width, 2), bias = detail::engine_values<T>(width, 3);
      auto out = detail::poisoned<T>(5 * width), mean = detail::poisoned<T>(5), deviation = detail::poisoned<T>(5);
      op::do_forward(e, d, in.data(), gain.data(), bias.data(), out.data(), mean.data(), deviation.data());
      return out;
    });
  for (const std::size_t length : {1, 7, 40})
    detail::compare_engines(engine, 10 * tolerance, "causal_attention", [&](const auto& e, auto t) {
      using T = decltype(t);
      const ops::causal_attention d{.batch = 2, .length = length, .heads = 2, .head_width = 8};
      const auto qkv = detail::engine_values<T>(2 * length * 3 * d.width(), 1);
      auto out = detail::poisoned<T>(2 * length * d.width()), sums = detail::poisoned<T>(2 * 2 * length), workspace = detail::poisoned<T>(d.workspace_size());
      op::do_forward(e, d, qkv.data(), out.data(), sums.data(), workspace.data());
      return out;
    });
}

}  // namespace entrain::testing
