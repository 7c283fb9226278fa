// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/comm/watched/meeting.hpp>
#include <entrain/comm/watched/operation.hpp>
#include <entrain/comm/watched/request.hpp>
#include <entrain/comm/watched/seat.hpp>

// Says who is missing when a job hangs, and ends it. It wraps any communicator and is one itself:
//
//   comm::mpi world{argc, argv};
//   comm::watched safe{world, {.deadline = std::chrono::seconds(30)}};
//   comm::all_reduce(safe, ...);
//   // watched rank 0: rank 2 is missing: it has been stopped (SIGSTOP or a debugger): its process is 4711; rank 0 waits in ...
//
// Each collective and message leaves an event in a ring that all ranks of the node can read (comm/watched/board.hpp). A thread
// of each process looks at it a few times a deadline. When a rank has waited longer than the deadline it names the ranks that
// are missing and what they and all others did last; ranks that call different things in one place are named at once, also
// where the wrapped communicator does not notice. It prints that, writes the rings as JSON, and ends the job: ranks that are
// threads get communication_error, processes are aborted, and after a grace they exit with code 1 whatever happens.
//
// Ranks on other nodes are watched by their own nodes; from here one learns only that the missing rank is elsewhere.
// To be made, and split, by all ranks; that itself is not watched. `inner` must outlive it and its sub-groups, and be used
// through it only: messages that pass it by are not counted and lead to false alarms. Requests must end before it does.
// Cost: see bench/watch.cpp, below 100 ns an operation; no lock, allocation or system call on its path.

namespace entrain::comm {

namespace watched_detail {
template <class C>
struct abilities_of {
  struct type {};
};
template <class C>
  requires requires { typename C::abilities; }
struct abilities_of<C> {
  using type = typename C::abilities;
};

// How the job of `inner` is ended.
template <class C>
local_rank endings_of(C& inner) {
  local_rank out;
  // Ranks that are threads: their waits throw. A copy of the handle, because the watchdog may outlive the rank's own.
  if constexpr (std::copy_constructible<C> && requires(C c, std::string_view text) { c.break_off(0, text); })
    out.break_off = [handle = inner](int guilty, const std::string& message) mutable { handle.break_off(guilty, message); };
  if constexpr (requires { inner.abort(1); }) out.abort = [&inner] { inner.abort(1); };
  else if constexpr (requires { MPI_Abort(inner.native_handle(), 1); }) out.abort = [comm = inner.native_handle()] { MPI_Abort(comm, 1); };
  return out;
}
}  // namespace watched_detail

template <communicator C>
class watched {
  using event = monitor::event;
  using group_line = watched_detail::group_line;
  struct built {
    std::uint64_t ticket, sequence;
    int tag = 0;
  };

 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "watched";
  using request = watched_detail::stamped<typename C::request>;
  using abilities = typename watched_detail::abilities_of<C>::type;  // what is native inside is native here

  explicit watched(C& inner, const watched_options& options = {}) : inner_(&inner) {
    const traffic before = inner.counters();
    seat_ = watched_detail::take_seat(inner, options);
    inner.counters() = before;
    line_ = &seat_->world_line();
    seat_->sit_down(watched_detail::endings_of(inner));
  }
  watched(watched&& other) noexcept
      : owned_(std::move(other.owned_)),
        inner_(other.inner_),
        seat_(std::move(other.seat_)),
        line_(std::exchange(other.line_, nullptr)),
        splits_(other.splits_),
        built_(std::move(other.built_)) {}
  ~watched() {
    if (!line_) return;
    line_->left.store(watched_detail::leaving, std::memory_order_release);
    owned_.reset();  // may wait for the other ranks of the sub-group
    line_->left.store(watched_detail::has_left, std::memory_order_release);
  }

  int rank() const { return inner_->rank(); }
  int size() const { return inner_->size(); }
  traffic& counters() { return inner_->counters(); }
  std::uint64_t& sequence() { return inner_->sequence(); }
  C& inner() { return *inner_; }
  // This rank's events, for reading.
  const monitor::event_ring& events() const { return seat_->writer().ring(); }

  watched split(int colour, int key) {
    const auto ticket = begin(watched_detail::split_kind, dtype::bytes, 0, 0);
    seat_->writer().await(ticket);
    return guarded(ticket, [&] {
      auto part = std::make_unique<C>(inner_->split(colour, key));
      const std::string identity = std::to_string(line_->group.load()) + "/" + std::to_string(splits_++) + "/" + std::to_string(colour);
      const std::uint32_t group = watched_detail::hash_of(identity) | 2;  // neither 0 nor the world's
      auto& line = seat_->writer().open_line(group, part->rank(), part->size());
      const traffic before = part->counters();
      comm::barrier(*part);  // from now on all can see that all belong to it
      part->counters() = before;
      end(ticket);
      return watched(std::move(part), seat_, line);
    });
  }

  template <class T, class Space>
  request start_send(view<const T, Space> data, int to, int tag) {
    return message(watched_detail::send_kind, data, to, tag, [&] { return inner_->start_send(data, to, tag); });
  }
  template <class T, class Space>
  request start_receive(view<T, Space> data, int from, int tag) {
    return message(watched_detail::receive_kind, data, from, tag, [&] { return inner_->start_receive(data, from, tag); });
  }

  auto start_barrier()
    requires native<C, collective::barrier>
  {
    return run<std::byte, no_operation>(collective::barrier, 0, -1, [&] { return inner_->start_barrier(); });
  }
  template <class T>
    requires native<C, collective::broadcast, T>
  auto start_broadcast(view<T> data, int root) {
    return run<T, no_operation>(collective::broadcast, data.size(), root, [&] { return inner_->start_broadcast(data, root); });
  }
  template <class T, class Op>
    requires native<C, collective::reduce, T, Op>
  auto start_reduce(view<const T> in, view<T> out, Op op, int root) {
    return run<T, Op>(collective::reduce, in.size(), root, [&] { return inner_->start_reduce(in, out, op, root); });
  }
  template <class T, class Op>
    requires native<C, collective::all_reduce, T, Op>
  auto start_all_reduce(view<const T> in, view<T> out, Op op) {
    return run<T, Op>(collective::all_reduce, in.size(), -1, [&] { return inner_->start_all_reduce(in, out, op); });
  }
  // Where the wrapped communicator has a blocking form that beats start and wait.
  template <class T, class Op>
    requires requires(C& c, view<const T> in, view<T> out, Op op) { c.all_reduce(in, out, op); }
  void all_reduce(view<const T> in, view<T> out, Op op) {
    const auto ticket = begin(std::uint8_t(collective::all_reduce), dtype_of<T>::value, sizeof(T), in.size(), -1,
                              watched_detail::reduction_hash<Op>(), event::awaited);
    guarded(ticket, [&] { inner_->all_reduce(in, out, op); });
    end(ticket);
  }
  template <class T, class Op>
    requires native<C, collective::reduce_scatter, T, Op>
  auto start_reduce_scatter(view<const T> in, view<T> out, Op op) {
    return run<T, Op>(collective::reduce_scatter, in.size(), -1, [&] { return inner_->start_reduce_scatter(in, out, op); });
  }
  template <class T>
    requires native<C, collective::all_gather, T>
  auto start_all_gather(view<const T> in, view<T> out) {
    return run<T, no_operation>(collective::all_gather, in.size(), -1, [&] { return inner_->start_all_gather(in, out); });
  }
  template <class T>
    requires native<C, collective::all_gather_v, T>
  auto start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    return run<T, no_operation>(collective::all_gather_v, out.size(), -1, [&] { return inner_->start_all_gather_v(in, out, counts); });
  }
  template <class T>
    requires native<C, collective::gather, T>
  auto start_gather(view<const T> in, view<T> out, int root) {
    return run<T, no_operation>(collective::gather, in.size(), root, [&] { return inner_->start_gather(in, out, root); });
  }
  template <class T>
    requires native<C, collective::scatter, T>
  auto start_scatter(view<const T> in, view<T> out, int root) {
    return run<T, no_operation>(collective::scatter, out.size(), root, [&] { return inner_->start_scatter(in, out, root); });
  }
  template <class T>
    requires native<C, collective::all_to_all, T>
  auto start_all_to_all(view<const T> in, view<T> out) {
    return run<T, no_operation>(collective::all_to_all, in.size(), -1, [&] { return inner_->start_all_to_all(in, out); });
  }
  template <class T>
    requires native<C, collective::all_to_all_v, T>
  auto start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    return run<T, no_operation>(collective::all_to_all_v, in.size(), -1, [&] { return inner_->start_all_to_all_v(in, send, out, receive); });
  }

  // For whoever builds collectives from this communicator's messages: the collective's event. Its messages have an internal tag
  // that no other collective in flight has; they leave no events. count: the same on all ranks.
  std::uint64_t begin_collective(collective kind, dtype type, std::size_t count, int root) {
    const bool rooted = kind == collective::broadcast || kind == collective::reduce || kind == collective::gather || kind == collective::scatter;
    const auto ticket = begin(std::uint8_t(kind), type, std::uint32_t(size_of(type)), count, rooted ? root : -1);
    built_.push_back({ticket, line_->begun.load(std::memory_order_relaxed)});
    return ticket;
  }
  void end_collective(std::uint64_t ticket) {
    for (std::size_t i = 0; i < built_.size(); ++i)
      if (built_[i].ticket == ticket) {
        seat_->writer().end(ticket, line_, built_[i].sequence);
        built_.erase(built_.begin() + std::ptrdiff_t(i));
        return;
      }
  }

  // What the wrapped communicator may have beside that.
  template <class... Arguments>
    requires requires(const C& c, Arguments... a) { c.native_name(a...); }
  auto native_name(Arguments... a) const {
    return std::as_const(*inner_).native_name(a...);
  }
  std::string_view cost_name() const { return cost_name_of(std::as_const(*inner_)); }
  int ranks_per_node() const { return ranks_per_node_of(std::as_const(*inner_)); }
  template <class T>
    requires requires(C& c, std::size_t n) { c.template allocate<T>(n); }
  auto allocate(std::size_t n) {
    return inner_->template allocate<T>(n);
  }
  void computed(std::size_t bytes)
    requires requires(C& c) { c.computed(bytes); }
  {
    inner_->computed(bytes);
  }
  auto deadline() const
    requires requires(const C& c) { c.deadline(); }
  {
    return inner_->deadline();
  }

 private:
  watched(std::unique_ptr<C> part, std::shared_ptr<watched_detail::seat> seat, group_line& line)
      : owned_(std::move(part)), inner_(owned_.get()), seat_(std::move(seat)), line_(&line) {}

  std::uint64_t begin(std::uint8_t operation, dtype type, std::uint32_t width, std::size_t count, int root = -1, std::uint32_t detail = 0,
                      std::int64_t state = event::in_flight) {
    event e;
    e.count = count, e.end = state, e.root = root, e.element_bytes = width, e.detail = detail, e.operation = operation, e.type = type;
    return seat_->writer().begin_collective(*line_, e);
  }
  // The latest collective of the group has ended.
  void end(std::uint64_t ticket) { seat_->writer().end(ticket, line_, line_->begun.load(std::memory_order_relaxed)); }
  // The collective in flight whose messages have this tag; a tag that is new belongs to the oldest that has none yet.
  const built* built_by(int tag) {
    if (tag < first_internal_tag) return nullptr;
    for (const int wanted : {tag, 0})
      for (auto& one : built_)
        if (one.tag == wanted) return one.tag = tag, &one;
    return nullptr;
  }
  template <class Call>
  decltype(auto) guarded(std::uint64_t ticket, Call&& call) {
    try {
      return call();
    } catch (...) {
      seat_->rethrow(ticket);
    }
  }
  template <class T, class Op, class Start>
  auto run(collective kind, std::size_t count, int root, Start&& start) {
    const auto ticket = begin(std::uint8_t(kind), dtype_of<T>::value, sizeof(T), count, root, watched_detail::reduction_hash<Op>());
    using inner_request = decltype(start());
    return guarded(ticket, [&] { return watched_detail::stamped<inner_request>(start(), *seat_, line_, ticket); });
  }
  template <class View, class Start>
  request message(std::uint8_t kind, const View& data, int peer, int tag, Start&& start) {
    using T = std::remove_const_t<typename View::element_type>;
    if (const auto* whole = built_by(tag)) {
      const auto ticket = whole->ticket;
      return guarded(ticket, [&] { return request::part_of(start(), *seat_, ticket); });
    }
    event e;
    e.count = data.size(), e.root = peer, e.tag = tag, e.element_bytes = sizeof(T), e.type = dtype_of<T>::value, e.operation = kind;
    const auto ticket = seat_->writer().begin_message(*line_, e);
    return guarded(ticket, [&] { return request(start(), *seat_, nullptr, ticket); });
  }

  std::unique_ptr<C> owned_;  // a sub-group made by split()
  C* inner_;
  std::shared_ptr<watched_detail::seat> seat_;
  group_line* line_ = nullptr;
  std::uint64_t splits_ = 0;
  std::vector<built> built_;  // collectives in flight that are built from messages
};

}  // namespace entrain::comm
