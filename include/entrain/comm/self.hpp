// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/core/error.hpp>

// A group of one rank: the default communicator. Collectives are copies (none where input is output); messages to itself
// are matched by tag, in order. To wait for a message whose other half was never started throws communication_error,
// since nobody else could start it. Copies of a handle are the same rank and share its counters.

namespace entrain::comm {

namespace self_detail {

struct message {
  const void* from = nullptr;  // of a send
  void* to = nullptr;          // of a receive
  std::size_t bytes = 0, other_bytes = 0;
  int tag = 0;
  bool sends = false, done = false;
};

struct state {
  traffic counted;
  std::uint64_t sequence = 0;
  std::vector<message*> waiting;               // in the order in which they were started
  std::vector<std::unique_ptr<message>> free;  // messages are reused

  message* take() {
    if (free.empty()) return new message;
    auto* m = free.back().release();
    free.pop_back();
    return m;
  }
  void give_back(message* m) noexcept {
    std::erase(waiting, m);
    try {
      free.emplace_back(m);
    } catch (...) {
      delete m;
    }
  }
};

}  // namespace self_detail

class self {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "self";
  static constexpr bool reproducible = true;  // reductions combine in rank order, whatever the collective
  struct abilities {
    static constexpr bool best = true;
    template <collective, class T, class Op, class Space>
    static constexpr bool native = std::same_as<Space, host_space>;
  };

  class request {
   public:
    request() = default;
    request(request&& other) noexcept : state_(std::move(other.state_)), message_(std::exchange(other.message_, nullptr)) {}
    request& operator=(request&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(message_, other.message_);
      return *this;
    }
    ~request() {
      if (message_) state_->give_back(message_);  // nobody else could complete it: there is nothing to wait for
    }
    bool test() {
      if (!message_) return true;
      if (!message_->done) return false;
      const auto mine = message_->bytes, other = message_->other_bytes;
      state_->give_back(std::exchange(message_, nullptr));
      if (mine != other)
        throw usage_error("comm::self", "a message was sent and received with different sizes",
                          entrain::detail::text(mine, " bytes"), entrain::detail::text(other, " bytes"));
      return true;
    }
    void wait() {
      if (!test())
        throw communication_error("comm::self", "a message to itself waits for its other half, which this one rank has not started");
    }

   private:
    friend class self;
    request(std::shared_ptr<self_detail::state> s, self_detail::message* m) : state_(std::move(s)), message_(m) {}
    std::shared_ptr<self_detail::state> state_;
    self_detail::message* message_ = nullptr;
  };

  int rank() const { return 0; }
  int size() const { return 1; }
  traffic& counters() { return state_->counted; }
  std::uint64_t& sequence() { return state_->sequence; }
  self split(int, int) { return self{}; }

  template <class T>
  request start_send(view<const T> data, int, int tag) {
    return start({.from = data.data(), .bytes = data.size_bytes(), .tag = tag, .sends = true});
  }
  template <class T>
  request start_receive(view<T> data, int, int tag) {
    return start({.to = data.data(), .bytes = data.size_bytes(), .tag = tag});
  }

  request start_barrier() { return {}; }
  template <class T>
  request start_broadcast(view<T>, int) { return {}; }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op, int) { return copy(in, out); }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op) { return copy(in, out); }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op) { return copy(in, out); }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) { return copy(in, out); }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t>) { return copy(in, out); }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int) { return copy(in, out); }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int) { return copy(in, out); }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) { return copy(in, out); }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t>, view<T> out, std::span<const std::size_t>) {
    return copy(in, out);
  }

 private:
  template <class T>
  static request copy(view<const T> in, view<T> out) {
    if (in.data() != out.data() && !in.empty()) std::memcpy(static_cast<void*>(out.data()), in.data(), in.size_bytes());
    return {};
  }

  request start(const self_detail::message& description) {
    auto* mine = state_->take();
    *mine = description;
    request handle{state_, mine};
    for (auto* other : state_->waiting)
      if (other->tag == mine->tag && other->sends != mine->sends) {
        meet(mine->sends ? *mine : *other, mine->sends ? *other : *mine);
        std::erase(state_->waiting, other);
        return handle;
      }
    state_->waiting.push_back(mine);
    return handle;
  }
  static void meet(self_detail::message& out, self_detail::message& in) {
    if (out.bytes == in.bytes && out.bytes > 0) std::memcpy(in.to, out.from, out.bytes);
    out.other_bytes = in.bytes, in.other_bytes = out.bytes;
    out.done = in.done = true;
  }

  std::shared_ptr<self_detail::state> state_ = std::make_shared<self_detail::state>();
};

}  // namespace entrain::comm
