// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nccl.h>

#include <entrain/comm/nccl/launch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/engine/cuda.hpp>

// One rank's part of a group of GPUs: NCCL's communicator, a stream of its own, and what is under way on it. The communicator never
// blocks (ncclConfig_t::blocking = 0): whatever waits here polls, and gives up at the deadline or at an asynchronous error by
// ncclCommAbort, after which every call throws and nothing waits.

namespace entrain::comm {

struct nccl_options {
  std::chrono::milliseconds deadline = std::chrono::minutes(5);  // of each wait, and of joining the group
};

namespace nccl_detail {

class group {
 public:
  group(int rank, int size, int device, nccl_options options) : rank_(rank), size_(size), device_(device), options_(options) {
    engine::cuda_check(cudaSetDevice(device), "cudaSetDevice");
    int least = 0, most = 0;
    engine::cuda_check(cudaDeviceGetStreamPriorityRange(&least, &most), "cudaDeviceGetStreamPriorityRange");
    engine::cuda_check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, most), "cudaStreamCreateWithPriority");
  }
  group(const group&) = delete;
  ~group() {
    close();
    (void)cudaStreamDestroy(stream_);
  }

  int rank() const { return rank_; }
  int size() const { return size_; }
  int device() const { return device_; }
  const nccl_options& options() const { return options_; }
  const std::optional<engine::cuda_queue>& followed() const { return followed_; }
  void follow(const engine::cuda_queue& queue) {
    if (queue.context().device() != device_)
      throw usage_error(who(), "cannot follow an engine on another device", entrain::detail::text("device ", device_), entrain::detail::text("device ", queue.context().device()));
    followed_ = queue;
  }

  // All ranks call it.
  void join(const ncclUniqueId& id) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    settle("joining the group", ncclCommInitRankConfig(&comm_, size_, id, rank_, &config));
  }
  // All ranks of `parent` call it.
  void split_from(group& parent, int colour, int key) {
    parent.flush();
    parent.finish_launching();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    parent.settle("split", ncclCommSplit(parent.comm_, colour, key, &comm_, &config));
    settle("split", ncclSuccess);
  }

  // Between begin_batch() and end_batch() collectives are collected, as messages always are.
  void begin_batch() {
    usable();
    flush();
    batching_ = true;
  }
  void end_batch() {
    batching_ = false;
    flush();
  }
  // Where calls go that are started now; submit_alone() afterwards sends a lone collective on its way.
  launch& collecting(std::string_view what, bool is_message) {
    usable();
    if (is_message || batching_) {
      if (!open_) open_ = &take(what);
      else if (open_->what != what) open_->what = "batch";
      return *open_;
    }
    flush();
    return take(what);
  }
  void submit_alone(launch& l) {
    if (&l != open_) submit(l);
  }
  // What has been collected starts now.
  void flush() {
    if (open_) submit(*std::exchange(open_, nullptr));
  }

  bool test(launch& l) {
    if (l.now == launch::state::done) return true;
    usable();
    if (&l == open_) flush();
    if (!launched() && l.now != launch::state::running) return false;
    if (const auto state = asynchronous(); state != ncclSuccess && state != ncclInProgress) fail(l.what, l.sequence, state);
    if (!reached(l)) return false;
    l.now = launch::state::done;
    return true;
  }
  void wait(launch& l) {
    if (!until([&] { return test(l); })) give_up(l.what, l.sequence);
  }
  // The queue's next work waits on the device for what has been started so far.
  void hold(const engine::cuda_queue& queue) {
    usable();
    flush();
    finish_launching();
    all_so_far_.record(stream_);
    queue.await(all_so_far_);
  }

  void release(launch& l) noexcept {
    if (--l.references == 0 && l.now == launch::state::done) free_.push_back(&l);  // room was made when it was taken
  }
  bool failed() const { return !comm_; }
  // Without waiting for anything. Operations under way end, and their results are lost.
  void abort(std::string why) noexcept {
    if (!comm_) return;
    broken_ = std::move(why);
    open_ = launching_ = nullptr;
    (void)ncclCommAbort(std::exchange(comm_, nullptr));
  }
  // Waits, at most until the deadline, for what is under way.
  void close() noexcept {
    if (!comm_) return;
    if (std::uncaught_exceptions() > exceptions_) return abort("it was destroyed by an exception");
    try {
      open_ = nullptr;
      finish_launching();
      ncclResult_t state = ncclCommFinalize(comm_);
      const auto quiet = [&] { return (state = asynchronous()) != ncclInProgress; };
      if ((state == ncclSuccess || state == ncclInProgress) && until(quiet) && state == ncclSuccess) {
        (void)ncclCommDestroy(std::exchange(comm_, nullptr));
        broken_ = "it was destroyed";
        return;
      }
    } catch (...) {}  // it has been aborted
    abort("it could not be finished");
  }

 private:
  void usable() const {
    if (!comm_) throw communication_error(who(), broken_.empty() ? "this group was never joined" : "this group is unusable: " + broken_);
  }
  std::string who() const { return entrain::detail::text("comm::nccl, rank ", rank_, " of ", size_, " on device ", device_); }

  launch& take(std::string_view what) {
    if (free_.empty()) {
      all_.push_back(std::make_unique<launch>());
      free_.reserve(all_.size());
      free_.push_back(all_.back().get());
    }
    launch& l = *free_.back();
    free_.pop_back();
    l.now = launch::state::collecting, l.what = what, l.sequence = launches_, l.references = 0;
    l.calls.clear();
    return l;
  }

  void submit(launch& l) {
    finish_launching();
    l.sequence = launches_++;
    inputs_.record(followed_ ? followed_->stream() : nullptr);
    inputs_.hold(stream_);
    ncclResult_t found = ncclGroupStart();
    for (const call& c : l.calls)
      if (const auto result = c.count == 0 ? ncclSuccess : make(c, comm_, stream_); bad(result) && !bad(found)) found = result;
    if (const auto result = ncclGroupEnd(); !bad(found)) found = result;
    if (bad(found)) fail(l.what, l.sequence, found);
    l.now = launch::state::launching, launching_ = &l;
    if (found == ncclSuccess) now_running();
  }
  // Only when NCCL says so does the stream hold its work, and an event after it mean anything.
  void now_running() {
    launch& l = *std::exchange(launching_, nullptr);
    l.finished.record(stream_);
    l.now = launch::state::running;
  }
  bool launched() {
    if (!launching_) return true;
    const auto state = asynchronous();
    if (state == ncclInProgress) return false;
    if (state != ncclSuccess) fail(launching_->what, launching_->sequence, state);
    now_running();
    return true;
  }
  void finish_launching() {
    if (!until([&] { return launched(); })) give_up(launching_->what, launching_->sequence);
  }
  void settle(std::string_view what, ncclResult_t result) {
    if (bad(result)) fail(what, launches_, result);
    const auto settled = [&] { return (result = asynchronous()) != ncclInProgress; };
    if (!until(settled)) give_up(what, launches_);
    if (result != ncclSuccess) fail(what, launches_, result);
  }

  static bool bad(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }
  ncclResult_t asynchronous() const {
    ncclResult_t state = ncclSuccess;
    const auto result = ncclCommGetAsyncError(comm_, &state);
    return result == ncclSuccess ? state : result;
  }
  bool reached(launch& l) {
    try {
      return l.finished.reached();
    } catch (const engine::cuda_error& e) {
      break_off(l.what, l.sequence, e.what());
    }
  }
  template <class Done>
  bool until(Done done) const {
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + options_.deadline;
    while (!done()) {
      if (clock::now() >= end) return done();
      std::this_thread::yield();
    }
    return true;
  }

  [[noreturn]] void fail(std::string_view what, std::uint64_t sequence, ncclResult_t result) {
    const char* detail = ncclGetLastError(comm_);
    break_off(what, sequence, entrain::detail::text(ncclGetErrorString(result), detail && *detail ? ": " : "", detail ? detail : ""));
  }
  [[noreturn]] void give_up(std::string_view what, std::uint64_t sequence) {
    break_off(what, sequence, entrain::detail::text("not complete within ", options_.deadline.count(), " ms: a rank is missing, or has called something else"));
  }
  [[noreturn]] void break_off(std::string_view what, std::uint64_t sequence, const std::string& why) {
    std::string message = entrain::detail::text(what, " #", sequence, ": ", why);
    abort(message);
    throw communication_error(who(), std::move(message));
  }

  int rank_, size_, device_;
  nccl_options options_;
  int exceptions_ = std::uncaught_exceptions();
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  std::optional<engine::cuda_queue> followed_;
  engine::cuda_event inputs_, all_so_far_;
  std::vector<std::unique_ptr<launch>> all_;
  std::vector<launch*> free_;
  launch *open_ = nullptr, *launching_ = nullptr;
  bool batching_ = false;
  std::uint64_t launches_ = 0;
  std::string broken_;
};

}  // namespace nccl_detail

}  // namespace entrain::comm
