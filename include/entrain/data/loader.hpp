// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/data/concepts.hpp>
#include <entrain/data/order.hpp>

// The batches of a run, one a step, without end. Which samples a step holds depends on (seed, global batch, step) alone;
// the ranks divide them. So starting at any step costs nothing, and any number of ranks sees what one rank sees.
//
//   data::loader input{dataset, {.seed = 1, .batch = 64, .rank = world.rank(), .ranks = world.size()}};
//   const auto& batch = input.next();
//
// With .prefetch a thread fills the batches of the next two steps while this one is computed. Batches lie in a ring that
// is reused: nothing is allocated once every slot has held a full batch, and the two threads meet only in two atomic
// counters. Without (or if no thread can be had) next() fills the batch itself; the batches are the same. An error of the
// dataset comes out of next() at its step, with the step and the samples in its message, the original error nested.

namespace entrain::data {

struct loader_options {
  std::uint64_t seed = 0;
  std::uint64_t batch = 1;  // samples a step, over all ranks
  int rank = 0, ranks = 1;
  std::uint64_t first_step = 0;  // counted over all epochs
  bool shuffle = true;
  bool prefetch = true;
};

// The dataset must outlive the loader. One thread at a time may call its members.
template <dataset Dataset> class loader {
 public:
  using batch_type = typename Dataset::batch_type;

  explicit loader(const Dataset& data, const loader_options& options = {})
      : data_(&data), options_(options), order_{data.size(), options.seed, options.shuffle} {
    if (options.ranks < 1 || options.rank < 0 || options.rank >= options.ranks)
      throw usage_error("data::loader", "no such rank", entrain::detail::text("0 <= rank < ", options.ranks),
                        entrain::detail::text(options.rank));
    position_of(order_, 0, options.batch, 0, 1);  // throws where there is nothing to load
    if (options.prefetch) {
      try {
        filler_ = std::thread([this] { run(); });
      } catch (const std::system_error&) {  // no threads here: next() does the work
      }
    }
  }
  explicit loader(const Dataset&&, const loader_options& = {}) = delete;  // a temporary would not outlive the loader
  loader(const loader&) = delete;
  loader& operator=(const loader&) = delete;

  ~loader() {
    if (!filler_.joinable()) return;
    taken_.fetch_or(stop_bit, std::memory_order_release);
    taken_.notify_one();
    filler_.join();
  }

  // The next step's batch; valid until the next call.
  const batch_type& next() {
    if (current_ && current_->error) std::rethrow_exception(current_->error);  // there is nothing behind an error
    const auto begin = std::chrono::steady_clock::now();
    if (filler_.joinable()) take();
    else {
      current_ = &slots_[0];
      fill(slots_[0], options_.first_step + count_++);
    }
    last_wait_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    total_wait_ += last_wait_;
    if (current_->error) std::rethrow_exception(current_->error);
    return current_->batch;
  }

  // About the batch that next() returned last; call them after the first next().
  std::uint64_t step() const { return current_ ? current_->step : options_.first_step; }
  std::uint64_t epoch() const { return step() / steps_in_epoch(); }
  std::uint64_t global_count() const { return current_ ? current_->position.global_count : 0; }  // samples over all ranks
  std::uint64_t samples_before() const { return current_ ? current_->position.own.first : 0; }   // place in the step of this rank's first
  std::span<const std::uint64_t> indices() const {
    return current_ ? std::span<const std::uint64_t>(current_->indices) : std::span<const std::uint64_t>();
  }

  std::uint64_t steps_in_epoch() const { return steps_per_epoch(order_.n, options_.batch); }
  double seconds_waited() const { return last_wait_; }         // in the last next()
  double total_seconds_waited() const { return total_wait_; }  // in all of them
  bool prefetching() const { return filler_.joinable(); }

 private:
  struct slot {
    batch_type batch{};
    std::vector<std::uint64_t> indices;
    std::uint64_t step = 0;
    step_position position;
    std::exception_ptr error;
  };
  static constexpr std::size_t ahead = 2;  // batches filled before they are asked for
  static constexpr std::uint32_t stop_bit = std::uint32_t{1} << 31, count_mask = stop_bit - 1;

  void fill(slot& s, std::uint64_t step) {
    s.step = step;
    try {
      s.indices.reserve((options_.batch < order_.n ? options_.batch : order_.n) / std::uint64_t(options_.ranks) + 1);
      s.position = step_indices(order_, step, options_.batch, std::uint64_t(options_.rank), std::uint64_t(options_.ranks), s.indices);
      data_->fill(std::span<const std::uint64_t>(s.indices), s.batch);
    } catch (...) { s.error = described(s, std::current_exception()); }
  }

  // The same error, wrapped in one that says which step and samples it hit.
  static std::exception_ptr described(const slot& s, std::exception_ptr original) {
    try {
      std::string at = "data::loader, step ", wrong = "the batch could not be filled: ";
      (at += std::to_string(s.step)) += ", samples";
      for (std::size_t i = 0; i < s.indices.size() && i < 16; ++i) (at += " ") += std::to_string(s.indices[i]);
      if (s.indices.size() > 16) ((at += " and ") += std::to_string(s.indices.size() - 16)) += " more";
      try {
        std::rethrow_exception(original);
      } catch (const std::exception& e) {
        std::throw_with_nested(error(at, wrong += e.what()));
      } catch (...) {
        std::throw_with_nested(error(at, wrong += "an unknown exception"));
      }
    } catch (...) { return std::current_exception(); }
    return original;
  }

  // Slot i holds step first_step + i, modulo the ring. The filler may be `ahead` steps before the consumer, whose current
  // batch is the one slot more. taken_ counts calls of next() and carries the stop bit, so that one wait sees both.
  void run() {
    for (std::uint64_t i = 0;; ++i) {
      for (;;) {
        const auto taken = taken_.load(std::memory_order_acquire);
        if (taken & stop_bit) return;
        if (((std::uint32_t(i) - taken) & count_mask) < ahead) break;
        taken_.wait(taken, std::memory_order_acquire);
      }
      auto& s = slots_[i % slots_.size()];
      fill(s, options_.first_step + i);
      filled_.fetch_add(1, std::memory_order_release);
      filled_.notify_one();
      if (s.error) return;
    }
  }

  void take() {
    const auto wanted = std::uint32_t(count_);
    while (filled_.load(std::memory_order_acquire) == wanted) filled_.wait(wanted, std::memory_order_acquire);
    current_ = &slots_[count_ % slots_.size()];
    ++count_;
    taken_.store(std::uint32_t(count_) & count_mask);  // sequentially consistent: notify_one must not look for a waiter before this is seen
    taken_.notify_one();
  }

  const Dataset* data_;
  loader_options options_;
  sample_order order_;
  std::array<slot, ahead + 1> slots_;
  slot* current_ = nullptr;
  std::uint64_t count_ = 0;  // calls of next()
  double last_wait_ = 0, total_wait_ = 0;
  std::atomic<std::uint32_t> taken_{0}, filled_{0};
  std::thread filler_;  // last: it uses all the others
};

template <class Dataset> loader(const Dataset&, const loader_options&) -> loader<Dataset>;
template <class Dataset> loader(const Dataset&) -> loader<Dataset>;

}  // namespace entrain::data
