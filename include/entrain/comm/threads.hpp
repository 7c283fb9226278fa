// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/threads/group.hpp>
#include <entrain/comm/threads/job.hpp>
#include <entrain/comm/threads/progress.hpp>
#include <entrain/comm/threads/work.hpp>
#include <entrain/comm/traits.hpp>

// Ranks are threads of one process:
//
//   comm::run_ranks(4, [](comm::threads& world) { ... comm::all_reduce(world, values); ... });
//
// Memory is shared, so a message is a read: no collective copies through a buffer (inputs up to 256 bytes excepted), none
// takes a lock or allocates after the first of its kind. Reductions combine in rank order: reduce, all_reduce and
// reduce_scatter give the same bits as each other and on every run. Cost of all_reduce on p ranks: each element is read p
// times and written p times in all, shared among the ranks that are there.
//
// When a rank throws, all others' waits throw communication_error with its number and message, and run_ranks rethrows its
// exception. Ranks that do not call the same collective, that return while others wait for them, and (with a deadline)
// that keep others waiting too long are named in the same way. A job that has failed stays failed.
//
// A handle may be copied: copies are the same rank. Requests must be complete before the last handle of their group goes.

namespace entrain::comm {

struct run_options {
  std::chrono::nanoseconds deadline{0};  // longest wait before the job is given up; 0: none
};

class threads {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "threads";
  static constexpr bool reproducible = true;  // reductions combine in rank order, whatever the collective
  using request = threads_detail::request;
  struct abilities {
    static constexpr bool best = true;
    template <collective, class T, class Op, class Space>
    static constexpr bool native = std::same_as<Space, host_space>;
  };

  int rank() const { return self_->rank; }
  int size() const { return self_->shared->size(); }
  traffic& counters() { return self_->counted; }
  std::uint64_t& sequence() { return self_->sequence; }
  // Ends the job because of `rank`: all waits of all ranks of the job throw with its number and this text. From any thread.
  void break_off(int rank, std::string_view why) { self_->shared->work().fail(self_->shared->member(rank), why); }
  // The longest that this job lets a rank wait; 0: for ever.
  std::chrono::nanoseconds deadline() const { return self_->state->work().deadline(); }

  threads split(int colour, int key) {
    const std::array<int, 2> mine{colour, key};
    std::vector<std::array<int, 2>> all(static_cast<std::size_t>(size()));
    start_all_gather(view<const std::array<int, 2>>(&mine, 1), view<std::array<int, 2>>(all)).wait();
    std::vector<int> ranks;
    for (int r = 0; r < size(); ++r)
      if (all[std::size_t(r)][0] == colour) ranks.push_back(r);
    std::stable_sort(ranks.begin(), ranks.end(), [&](int a, int b) { return all[std::size_t(a)][1] < all[std::size_t(b)][1]; });
    const int position = int(std::find(ranks.begin(), ranks.end(), rank()) - ranks.begin());
    for (int& r : ranks) r = self_->shared->member(r);
    return threads(self_->shared->sub_group(self_->splits++, colour, std::move(ranks)), *self_->state, position);
  }

  template <class T>
  request start_send(view<const T> data, int peer, int tag) {
    return message(true, data.data(), nullptr, data.size_bytes(), dtype_of<T>::value, peer, tag);
  }
  template <class T>
  request start_receive(view<T> data, int peer, int tag) {
    return message(false, nullptr, data.data(), data.size_bytes(), dtype_of<T>::value, peer, tag);
  }

  request start_barrier() { return start(nullptr, {.what = {.kind = collective::barrier}}); }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    return start(threads_detail::copy_from_root, {.what = describe<T>(collective::broadcast, data.size(), root),
                                                  .in = rank() == root ? data.data() : nullptr,
                                                  .in_bytes = rank() == root ? data.size_bytes() : 0,
                                                  .out = data.data()});
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op, int root) {
    return start(threads_detail::reduce_whole<T, Op>, {.what = describe<T, Op>(collective::reduce, in.size(), root),
                                                       .in = in.data(),
                                                       .in_bytes = in.size_bytes(),
                                                       .out = out.data(),
                                                       .tasks = threads_detail::task_count<T>(in.size())});
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op) {
    return start(threads_detail::reduce_whole<T, Op>, {.what = describe<T, Op>(collective::all_reduce, in.size(), -1),
                                                       .in = in.data(),
                                                       .in_bytes = in.size_bytes(),
                                                       .out = out.data(),
                                                       .tasks = threads_detail::task_count<T>(in.size())});
  }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op) {
    return start(threads_detail::reduce_pieces<T, Op>, {.what = describe<T, Op>(collective::reduce_scatter, out.size(), -1),
                                                        .in = in.data(),
                                                        .in_bytes = in.size_bytes(),
                                                        .out = out.data(),
                                                        .tasks = std::size_t(size()) * threads_detail::task_count<T>(out.size())});
  }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) {
    return start(threads_detail::copy_all, copy<T>(collective::all_gather, in, out, in.size(), -1));
  }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    auto what = copy<T>(collective::all_gather_v, in, out, out.size(), -1);
    what.in_count = in.size(), what.receive = counts.data();
    return start([](threads_detail::operation& op) { threads_detail::copy_all_v(op, op.receive); }, what);
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) {
    return start(threads_detail::copy_all, copy<T>(collective::gather, in, out, in.size(), root));
  }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) {
    auto what = copy<T>(collective::scatter, in, out, out.size(), root);
    if (rank() != root) what.in_bytes = 0;
    return start(threads_detail::copy_own_piece, what);
  }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) {
    return start(threads_detail::copy_transposed, copy<T>(collective::all_to_all, in, out, in.size() / std::size_t(size()), -1));
  }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    auto what = copy<T>(collective::all_to_all_v, in, out, 0, -1);
    what.send = send.data(), what.receive = receive.data(), what.counts_are_read = true;
    return start([](threads_detail::operation& op) { threads_detail::copy_transposed_v(op, op.receive); }, what);
  }

 private:
  struct member {
    std::shared_ptr<threads_detail::group> shared;
    threads_detail::rank_state* state;
    int rank;
    std::uint64_t next = 0, splits = 0;
    traffic counted{};
    std::uint64_t sequence = 0;
  };
  struct arguments {
    threads_detail::request_signature what;
    const void* in = nullptr;
    std::size_t in_bytes = 0;  // 0: nobody reads it
    void* out = nullptr;
    std::size_t tasks = 0;     // > 0: a reduction
    std::size_t in_count = 0;
    const std::size_t *send = nullptr, *receive = nullptr;
    bool counts_are_read = false;
  };
  template <class Body>
  friend void run_ranks(int, const run_options&, Body&&);

  threads(std::shared_ptr<threads_detail::group> shared, threads_detail::rank_state& state, int rank)
      : self_(std::make_shared<member>(member{std::move(shared), &state, rank})) {}

  template <class T, class Op = no_operation>
  static threads_detail::request_signature describe(collective kind, std::size_t count, int root) {
    threads_detail::request_signature what{.kind = kind, .type = dtype_of<T>::value, .width = sizeof(T), .root = root, .count = count};
    if constexpr (!std::same_as<Op, no_operation>) what.operation = &threads_detail::identity_of<Op>, what.operation_name = Op::name;
    return what;
  }
  template <class T>
  static arguments copy(collective kind, view<const T> in, view<T> out, std::size_t count, int root) {
    return {.what = describe<T>(kind, count, root), .in = in.data(), .in_bytes = in.size_bytes(), .out = out.data()};
  }

  request start(void (*work)(threads_detail::operation&), const arguments& args) {
    using ending = threads_detail::operation::ending;
    using entry_type = threads_detail::slot_entry;
    auto& state = *self_->state;
    auto& shared = *self_->shared;
    const auto sequence = self_->next;
    state.reserve(shared, sequence);
    ++self_->next;
    auto& op = state.take(shared, rank());
    request handle(op);
    op.sequence = sequence, op.work = work, op.receive = args.receive;
    // All ranks must choose the same ending for a reduction, and do: its sizes are equal, or verify() ends the job.
    const bool small = args.in_bytes <= entry_type::small_bytes;
    op.end = args.tasks > 0 && !small ? ending::tasks : small && !args.counts_are_read ? ending::alone : ending::exposed;

    auto& entry = shared.entry(sequence, rank());
    entry.what = args.what;
    entry.in = args.in, entry.out = args.out, entry.send = args.send, entry.in_count = args.in_count;
    if (small) {
      if (args.in_bytes > 0) std::memcpy(entry.small, args.in, args.in_bytes);
      entry.in = entry.small;
    }
    state.arrive(op, op.end == ending::tasks ? args.tasks : 0);
    return handle;
  }

  request message(bool sends, const void* from, void* to, std::size_t bytes, dtype type, int peer, int tag) {
    auto& state = *self_->state;
    state.work().check(state.rank());
    auto& op = state.take(*self_->shared, rank());
    request handle(op);
    op.is_message = true, op.sends = sends, op.peer = peer, op.tag = tag;
    op.type = type, op.from = from, op.to = to, op.bytes = bytes;
    self_->shared->post(op);
    return handle;
  }

  std::shared_ptr<member> self_;
};

// Runs body(world) on `ranks` threads and returns when all have returned. Rethrows the exception of the first rank that
// failed; what others threw in consequence is dropped.
template <class Body>
void run_ranks(int ranks, const run_options& options, Body&& body) {
  namespace td = threads_detail;
  if (ranks < 1) throw usage_error("comm::run_ranks", "wrong number of ranks", "at least 1", entrain::detail::text(ranks));
  const auto work = std::make_shared<td::job>(ranks, options.deadline);
  std::vector<int> everyone(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) everyone[std::size_t(r)] = r;
  const auto group = std::make_shared<td::group>(work, everyone);

  const auto run_one = [&](int rank) noexcept {
    td::rank_state state(*work, rank);
    try {
      threads world(group, state, rank);
      body(world);
      work->mark_returned(rank);
    } catch (const std::exception& e) {
      work->flags(rank).error = std::current_exception();
      work->fail(rank, e.what());
    } catch (...) {
      work->flags(rank).error = std::current_exception();
      work->fail(rank, "it threw something that is no std::exception");
    }
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(ranks));
  try {
    for (int r = 0; r < ranks; ++r) others.emplace_back(run_one, r);
  } catch (const std::exception& e) {  // no more threads: those that run must not wait for those that do not
    work->fail(int(others.size()), e.what());
    work->flags(int(others.size())).error = std::current_exception();
  }
  for (auto& t : others) t.join();
  if (!work->failed()) return;
  if (auto first = work->flags(work->failed_rank()).error) std::rethrow_exception(first);
  for (int r = 0; r < ranks; ++r)
    if (work->flags(r).error) std::rethrow_exception(work->flags(r).error);
}
template <class Body>
void run_ranks(int ranks, Body&& body) {
  run_ranks(ranks, run_options{}, body);
}

}  // namespace entrain::comm
