// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <utility>

#include <entrain/comm/hierarchical/group.hpp>

// A message or collective of the outer communicator, or a collective in stages.

namespace entrain::comm::hierarchical_detail {

template <communicator C>
class request {
 public:
  request() = default;
  explicit request(pending<C> plain) : plain_(std::move(plain)) {}
  explicit request(operation<C>& staged) : staged_(&staged), exceptions_(std::uncaught_exceptions()) {}
  request(request&& other) noexcept
      : plain_(std::move(other.plain_)), staged_(std::exchange(other.staged_, nullptr)), exceptions_(other.exceptions_) {}
  request& operator=(request&& other) noexcept {
    request old(std::move(*this));
    plain_ = std::move(other.plain_);
    staged_ = std::exchange(other.staged_, nullptr), exceptions_ = other.exceptions_;
    return *this;
  }
  ~request() {
    if (!staged_) return;
    try {
      if (std::uncaught_exceptions() <= exceptions_) wait();
    } catch (...) {}  // the group has failed, and says so at its next call
    if (staged_) drop();
  }

  bool test() {
    progress_list::of_this_thread().advance();
    if (!staged_) return plain_.test();
    if (!staged_->complete) return false;
    finish();
    return true;
  }
  void wait() {
    if (!staged_) return plain_.wait();
    auto& all = progress_list::of_this_thread();
    while (!staged_->complete) {
      if (all.only(*staged_)) staged_->block();
      else all.wait(*staged_->on->world, [&] { return staged_->complete; });
    }
    finish();
  }

 private:
  void finish() { operations<C>::give_back(*std::exchange(staged_, nullptr)); }
  void drop() noexcept {
    staged_->first = {}, staged_->second = {};
    finish();
  }

  pending<C> plain_;
  operation<C>* staged_ = nullptr;
  int exceptions_ = 0;
};

}  // namespace entrain::comm::hierarchical_detail
