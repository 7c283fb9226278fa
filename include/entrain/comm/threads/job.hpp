// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// What the ranks (threads) of one comm::run_ranks share beyond their groups: who has failed and why, who has returned,
// how long a wait may last, and how a thread waits.
//
// The first failure wins and is never taken back: from then on every wait of every rank throws. A rank may leave while
// others could still read its memory, so every access to another rank's memory happens inside a job_access; a rank that
// abandons an operation after a failure waits until no rank is inside one (which is as long as a copy takes).

namespace entrain::comm::threads_detail {

struct alignas(buffer_alignment) rank_flags {
  std::atomic<bool> touching{false};  // reads or writes another rank's memory
  std::atomic<bool> returned{false};  // its body has returned
  std::exception_ptr error;           // written by its thread, read after it has been joined
};

inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

class job {
 public:
  using clock = std::chrono::steady_clock;

  job(int ranks, std::chrono::nanoseconds deadline) : ranks_(ranks), deadline_(deadline), flags_(new rank_flags[std::size_t(ranks)]) {}

  int ranks() const { return ranks_; }
  rank_flags& flags(int rank) { return flags_[std::size_t(rank)]; }
  bool returned(int rank) { return flags(rank).returned.load(std::memory_order_acquire); }
  void mark_returned(int rank) {
    flags(rank).returned.store(true, std::memory_order_release);
    any_returned_.store(true, std::memory_order_release);
  }

  int failed_rank() const noexcept { return failed_rank_.load(std::memory_order_seq_cst); }
  bool failed() const noexcept { return failed_rank() >= 0; }

  // The rank is being unwound by an exception whose text is not known yet; fail() brings it.
  void begin_failing(int rank) noexcept {
    int none = -1;
    failed_rank_.compare_exchange_strong(none, rank, std::memory_order_seq_cst);
  }
  void fail(int rank, std::string_view message) {
    begin_failing(rank);
    if (failed_rank() != rank) return;
    {
      const std::lock_guard lock(mutex_);
      if (explained_) return;
      message_ = message;
      explained_ = true;
    }
    told_.notify_all();
  }
  // This rank is the first to notice that the group cannot go on.
  [[noreturn]] void raise(int rank, std::string where, std::string wrong, std::string expected = {}, std::string found = {}) {
    const communication_error error(std::move(where), std::move(wrong), std::move(expected), std::move(found));
    fail(rank, error.what());
    throw error;
  }
  // Another rank (or an earlier call of this one) has failed.
  void check(int rank) {
    if (failed()) throw_failed(rank);
  }
  [[noreturn]] void throw_failed(int rank) {
    std::unique_lock lock(mutex_);
    const int culprit = failed_rank();
    // Unwinding takes no time to speak of; the limit is for a body that catches the exception and says nothing.
    if (culprit != rank) told_.wait_for(lock, std::chrono::seconds(1), [&] { return explained_; });
    throw communication_error(entrain::detail::text("comm::threads rank ", rank),
                              entrain::detail::text("rank ", culprit, " failed: ", explained_ ? message_ : "it was left by an exception"));
  }

  // Waits until ready(); it is called often and moves this rank's other operations on. stuck(expired) is asked now and
  // then: a text that is not empty says why the wait cannot end (expired: the deadline has passed).
  template <class Ready, class Stuck> void wait(int rank, const std::string_view where, Ready&& ready, Stuck&& stuck) {
    for (int i = 0; i < spins; ++i) {
      if (ready()) return;
      pause_briefly();
    }
    const auto begin = clock::now();
    for (unsigned turn = 1;; ++turn) {
      if (ready()) return;
      check(rank);
      const bool expired = deadline_.count() > 0 && turn % 16 == 0 && clock::now() - begin > deadline_;
      if (expired || any_returned_.load(std::memory_order_acquire)) {
        std::string reason = stuck(expired);
        if (!reason.empty()) raise(rank, entrain::detail::text("comm::threads rank ", rank, ", ", where), std::move(reason));
      }
      if (turn < yields) std::this_thread::yield();
      else std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  std::chrono::nanoseconds deadline() const { return deadline_; }
  double deadline_seconds() const { return std::chrono::duration<double>(deadline_).count(); }

  // Until no other rank touches memory that is not its own. After a failure only.
  void drain(int rank) noexcept {
    for (int r = 0; r < ranks_; ++r)
      while (r != rank && flags(r).touching.load(std::memory_order_seq_cst)) std::this_thread::yield();
  }

 private:
  static constexpr int spins = 64;          // a few microseconds: what an answer takes when the others run
  static constexpr unsigned yields = 2048;  // then leave the core to others, then sleep: somebody computes for long

  const int ranks_;
  const std::chrono::nanoseconds deadline_;  // 0: none
  std::unique_ptr<rank_flags[]> flags_;
  alignas(buffer_alignment) std::atomic<int> failed_rank_{-1};
  std::atomic<bool> any_returned_{false};
  std::mutex mutex_;  // guards the three below, after a failure only
  std::condition_variable told_;
  bool explained_ = false;
  std::string message_;
};

// Scope in which a rank may touch other ranks' memory. Throws if the job has failed. (Sequentially consistent on both
// sides, so that a rank that has seen nobody inside knows that whoever comes later sees the failure.)
class job_access {
 public:
  job_access(job& work, int rank) : flag_(work.flags(rank).touching) {
    flag_.store(true, std::memory_order_seq_cst);
    if (work.failed()) {
      flag_.store(false, std::memory_order_release);
      work.throw_failed(rank);
    }
  }
  ~job_access() { flag_.store(false, std::memory_order_release); }
  job_access(const job_access&) = delete;
  job_access& operator=(const job_access&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace entrain::comm::threads_detail
