// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <entrain/comm/watched/rank.hpp>
#include <entrain/comm/watched/request.hpp>
#include <entrain/comm/watched/watchdog.hpp>
#include <entrain/core/error.hpp>

// A rank's place in front of the board, shared by its communicator and the sub-groups made from it: it arrives when it is made
// and leaves when the last of them goes.

namespace entrain::comm::watched_detail {

class seat {
 public:
  seat(std::shared_ptr<watchdog> dog, std::size_t row, int rank, int size)
      : dog_(std::move(dog)), row_(row), rank_(rank), size_(size), writer_(dog_->memory(), row) {
    writer_.arrive(rank, world_group, size);
  }
  seat(const seat&) = delete;
  seat& operator=(const seat&) = delete;
  ~seat() {
    if (!watched_) return;
    const bool by_exception = std::uncaught_exceptions() > exceptions_;
    writer_.leave(by_exception);
    try {
      dog_->remove(row_, by_exception);
    } catch (...) {  // no memory for a last look
    }
  }
  // From now on the watchdog looks at this rank too.
  void sit_down(local_rank how) {
    how.row = row_;
    dog_->add(std::move(how));
    watched_ = true;
  }

  rank_writer& writer() { return writer_; }
  group_line& world_line() { return dog_->memory().lines_of(row_)[0]; }
  const watched_options& options() const { return dog_->options(); }
  int rank() const { return rank_; }

  // Rethrows the exception of the wrapped communicator that is being handled; where the board knows better what is wrong, says that.
  [[noreturn]] void rethrow(std::uint64_t ticket) {
    writer_.fail(ticket);
    std::string original;
    try {
      throw;
    } catch (const error& e) {
      original = e.what();
    }  // others pass
    const auto sentence = dog_->explain(row_);
    if (sentence.empty()) throw;
    throw communication_error("watched rank " + std::to_string(rank_) + " of " + std::to_string(size_), sentence + " (" + original + ")");
  }

 private:
  std::shared_ptr<watchdog> dog_;
  std::size_t row_;
  int rank_, size_;
  int exceptions_ = std::uncaught_exceptions();
  bool watched_ = false;
  rank_writer writer_;
};

template <class Inner>
stamped<Inner>::stamped(Inner inner, seat& where, group_line* line, std::uint64_t ticket)
    : inner_(std::move(inner)), seat_(&where), line_(line), ticket_(ticket), sequence_(line ? line->begun.load(std::memory_order_relaxed) : 0) {}

template <class Inner>
template <class Call>
bool stamped<Inner>::guarded(Call call) {
  try {
    return call();
  } catch (...) {
    seat& where = *std::exchange(seat_, nullptr);
    where.rethrow(ticket_);
  }
}
template <class Inner>
void stamped<Inner>::await() {
  seat_->writer().await(ticket_);
}
template <class Inner>
void stamped<Inner>::finish() {
  seat& where = *std::exchange(seat_, nullptr);
  if (!is_part_) where.writer().end(ticket_, line_, sequence_);
}

}  // namespace entrain::comm::watched_detail
