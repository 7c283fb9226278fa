// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/loss.hpp>

// What all ranks must know of a step besides gradients: the sums of loss, count and hits, and whether any rank wants to
// stop. One all-reduce of 32 bytes, started as soon as the loss is known and finished before the update, which needs the
// count. Carrying the wish to stop in it makes stopping a decision of all ranks at the same step, at no further message.

namespace entrain::parallel {

template <class Communicator>
class step_metrics {
 public:
  static constexpr std::size_t count = 4;

  explicit step_metrics(Communicator& comm) : comm_(comm) {}
  void start(const loss_sum& local, bool stop) {
    values_ = {local.sum, double(local.count), double(local.correct), stop ? 1.0 : 0.0};
    if (comm_.size() > 1) request_ = comm::start_all_reduce(comm_, view<const double>(values_.data(), count), view<double>(values_.data(), count), comm::sum{});
  }
  void wait() { request_.wait(); }
  loss_sum loss() const { return {values_[0], std::int64_t(values_[1]), std::int64_t(values_[2])}; }
  bool stop() const { return values_[3] > 0; }

 private:
  Communicator& comm_;
  std::array<double, count> values_{};
  comm::pending<Communicator> request_{};
};

// Seconds spent in a scope, added to a total.
class timed {
 public:
  explicit timed(double& total) : total_(total), begin_(std::chrono::steady_clock::now()) {}
  ~timed() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  timed(const timed&) = delete;

 private:
  double& total_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace entrain::parallel
