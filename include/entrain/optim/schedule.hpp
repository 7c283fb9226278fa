// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/optim/concepts.hpp>

// Learning-rate schedules: a schedule is a value that maps a step (from 0) to a factor of the optimizer's rate. They
// compose: a * b multiplies, then(a, n, b) runs a for n steps and b, counted anew, after that.
//
//   optim::scheduled{optim::adamw{.learning_rate = 1e-3}, schedule::warm_up{100} * schedule::cosine{2000, 0.1}}
//
// A schedule of your own is any type with  double operator()(std::uint64_t step) const  and  using schedule_tag = void.

namespace entrain::optim {

namespace schedule {

template <class S>
concept schedule = requires(const S& s) {
  typename S::schedule_tag;
  { s(std::uint64_t{}) } -> std::convertible_to<double>;
};

struct constant {
  using schedule_tag = void;
  double factor = 1;
  double operator()(std::uint64_t) const { return factor; }
  std::string describe() const { return describe_members("constant", "factor", factor); }
};

// Multiplies by `factor` after every `every` steps.
struct step_decay {
  using schedule_tag = void;
  std::uint64_t every = 1000;
  double factor = 0.1;
  double operator()(std::uint64_t step) const { return std::pow(factor, double(every ? step / every : 0)); }
  std::string describe() const { return describe_members("step_decay", "every", every, "factor", factor); }
};

// 1/n, 2/n, ... 1 over the first n steps, then 1 (Goyal et al. 2017).
struct warm_up {
  using schedule_tag = void;
  std::uint64_t steps = 100;
  double operator()(std::uint64_t step) const { return step < steps ? double(step + 1) / double(steps) : 1.0; }
  std::string describe() const { return describe_members("warm_up", "steps", steps); }
};

// Half a cosine from 1 down to `floor` over `steps`, then `floor` (Loshchilov & Hutter, ICLR 2017, without restarts).
struct cosine {
  using schedule_tag = void;
  std::uint64_t steps = 1000;
  double floor = 0;
  double operator()(std::uint64_t step) const {
    const double part = steps ? std::min(1.0, double(step) / double(steps)) : 1.0;
    return floor + (1 - floor) * 0.5 * (1 + std::cos(3.14159265358979323846 * part));
  }
  std::string describe() const { return describe_members("cosine", "steps", steps, "floor", floor); }
};

template <schedule A, schedule B>
struct product {
  using schedule_tag = void;
  A a;
  B b;
  double operator()(std::uint64_t step) const { return a(step) * b(step); }
  std::string describe() const { return entrain::describe(a) + " * " + entrain::describe(b); }
};

template <schedule A, schedule B>
struct sequence {
  using schedule_tag = void;
  A first;
  std::uint64_t steps;
  B second;
  double operator()(std::uint64_t step) const { return step < steps ? first(step) : second(step - steps); }
  std::string describe() const { return entrain::describe(first) + " for " + std::to_string(steps) + " steps, then " + entrain::describe(second); }
};

template <schedule A, schedule B>
product<A, B> operator*(A a, B b) { return {a, b}; }

template <schedule A, schedule B>
sequence<A, B> then(A a, std::uint64_t steps, B b) { return {a, steps, b}; }

}  // namespace schedule

// An optimizer whose rate follows a schedule.
template <class Optimizer, schedule::schedule Schedule>
struct scheduled : Optimizer {
  Schedule factor;

  scheduled(Optimizer optimizer, Schedule schedule) : Optimizer(optimizer), factor(schedule) {}
  double learning_rate_at(std::uint64_t step) const { return Optimizer::learning_rate_at(step) * factor(step); }
  std::string describe() const { return "scheduled{" + Optimizer::describe() + ", " + entrain::describe(factor) + "}"; }
};

}  // namespace entrain::optim
