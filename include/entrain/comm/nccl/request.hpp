// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <memory>
#include <utility>

#include <entrain/comm/nccl/group.hpp>
#include <entrain/comm/pending.hpp>

// What is under way: on the device, or in host memory, where the host communicator carries it.

namespace entrain::comm::nccl_detail {

// A share in a launch. Destroying an incomplete one waits for it, at most until the deadline; while an exception passes it breaks
// the group off, because the memory that the device writes is about to go.
class ticket {
 public:
  ticket() = default;
  ticket(std::shared_ptr<group> of, launch& what) : group_(std::move(of)), launch_(&what), exceptions_(std::uncaught_exceptions()) { ++what.references; }
  ticket(ticket&& other) noexcept : group_(std::move(other.group_)), launch_(std::exchange(other.launch_, nullptr)), exceptions_(other.exceptions_) {}
  ticket& operator=(ticket&& other) noexcept {
    std::swap(group_, other.group_);
    std::swap(launch_, other.launch_);
    std::swap(exceptions_, other.exceptions_);
    return *this;
  }
  ~ticket() {
    if (!launch_) return;
    if (std::uncaught_exceptions() > exceptions_) {
      if (launch_->now != launch::state::done) group_->abort("an exception passed while an operation was under way");
    } else if (!group_->failed()) {
      try {
        group_->wait(*launch_);
      } catch (...) {}  // the group has failed, and says so at its next call
    }
    group_->release(*launch_);
  }

  bool test() {
    if (!launch_) return true;
    if (!group_->test(*launch_)) return false;
    let_go();
    return true;
  }
  void wait() {
    if (!launch_) return;
    group_->wait(*launch_);
    let_go();
  }

 private:
  void let_go() noexcept {
    group_->release(*std::exchange(launch_, nullptr));
    group_.reset();
  }
  std::shared_ptr<group> group_;
  launch* launch_ = nullptr;
  int exceptions_ = 0;
};

template <class Host>
class request {
 public:
  request() = default;
  explicit request(pending<Host> host) : host_(std::move(host)) {}
  explicit request(ticket device) : device_(std::move(device)) {}
  request(request&&) noexcept = default;
  request& operator=(request&&) noexcept = default;

  bool test() {
    const bool there = device_.test();
    return host_.test() && there;
  }
  void wait() {
    device_.wait();
    host_.wait();
  }

 private:
  pending<Host> host_;
  ticket device_;
};

}  // namespace entrain::comm::nccl_detail
