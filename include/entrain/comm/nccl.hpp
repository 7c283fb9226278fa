// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/nccl/group.hpp>
#include <entrain/comm/nccl/pieces.hpp>
#include <entrain/comm/nccl/ranks.hpp>
#include <entrain/comm/nccl/request.hpp>
#include <entrain/comm/nccl/types.hpp>
#include <entrain/comm/nccl/unique_id.hpp>
#include <entrain/comm/traits.hpp>

// GPUs exchange what lies in their memories, by NCCL; what lies in host memory goes by the communicator that they have already:
//
//   comm::mpi host{argc, argv};
//   comm::nccl world{host, engine};            // engine::cuda_queue, or the number of a device; all ranks
//   comm::all_reduce(world, on_device);        // view<float, cuda_space>: NCCL
//   comm::all_reduce(world, numbers);          // std::vector: MPI
//
// One device a rank. Device operations go in order on a stream of their own, after what the engine's stream has been given when they
// start; wait() returns to the host when they are done, hold(engine) lets only the engine's next work wait. Several at once:
//
//   auto together = world.batch();             // one ncclGroup, one kernel
//   auto a = comm::start_all_reduce(world, x), b = comm::start_all_reduce(world, y);
//   together.launch();                         // or its end of scope, or the first wait
//
// Native on the device: all_reduce, reduce and reduce_scatter by sum, product, maximum and minimum of 8-, 32- and 64-bit integers, float16,
// bfloat16, float and double; every other collective and messages of anything. gather, scatter, all_gather_v, all_to_all and all_to_all_v
// are messages that go in one group; a rank's own piece that lies where it shall be is not copied. Messages are collected and start together when something of the group is waited for, tested or a collective starts, as
// NCCL has them: so a ring of ranks that send and receive does not lock up. Their tags are not looked at: between two ranks, messages must
// be received in the order in which they are sent, and messages and collectives are started in the same order by all ranks.
//
// Nothing waits for ever: joining, launching and waiting end at the deadline, or at the first asynchronous error, by ncclCommAbort and
// communication_error that names rank, collective and number. Then the group is unusable. Cost: no allocation once as many operations
// have been under way as ever are. Host memory: cost and counting of the host communicator, whose counters these are.

namespace entrain::comm {

template <communicator Host>
class nccl {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "nccl";
  using request = nccl_detail::request<Host>;
  struct abilities {
    static constexpr bool best = true;
    template <collective Kind, class T, class Op, class Space>
    static constexpr bool native = [] {
      if constexpr (std::same_as<Space, host_space>) return element<T>;  // native there, or built from its messages
      else if constexpr (!std::same_as<Space, cuda_space> || !element<T>) return false;
      else if constexpr (Kind == collective::all_reduce || Kind == collective::reduce || Kind == collective::reduce_scatter)
        return nccl_detail::is_number<T> && nccl_detail::is_operation<Op>;
      else return Kind != collective::barrier;
    }();
  };
  class batch_scope;

  // `host` is referred to, and must outlive this. Errors: communication_error, cuda_error.
  nccl(Host& host, const engine::cuda_queue& engine, nccl_options options = {}) : nccl(host, engine, share_nccl_id(host), options) {}
  nccl(Host& host, const engine::cuda_queue& engine, const ncclUniqueId& id, nccl_options options = {}) : nccl(host, engine.context().device(), id, options) { follow(engine); }
  // Waits for the default stream until it is told which to follow().
  nccl(Host& host, int device, nccl_options options = {}) : nccl(host, device, share_nccl_id(host), options) {}
  nccl(Host& host, int device, const ncclUniqueId& id, nccl_options options = {})
      : host_(&host), group_(std::make_shared<nccl_detail::group>(host.rank(), host.size(), device, options)) {
    group_->join(id);
  }
  nccl(nccl&&) noexcept = default;
  ~nccl() {
    if (group_) group_->close();
  }

  int rank() const { return host_->rank(); }
  int size() const { return host_->size(); }
  traffic& counters() { return host_->counters(); }
  std::uint64_t& sequence() { return host_->sequence(); }
  Host& host() { return *host_; }
  int device() const { return group_->device(); }

  // Whose work device operations wait for from now on.
  void follow(const engine::cuda_queue& engine) { group_->follow(engine); }
  // The engine's next work waits, on the device, for all device operations started so far. Not a word about errors: requests tell.
  void hold(const engine::cuda_queue& engine) { group_->hold(engine); }
  batch_scope batch() { return batch_scope(*group_); }

  // Colours are 0 or more. The parts keep options and device.
  nccl split(int colour, int key) {
    if (colour < 0) throw usage_error("comm::nccl", "split() with a negative colour", "0 or more", entrain::detail::text(colour));
    auto part = std::make_unique<Host>(host_->split(colour, key));
    auto devices = std::make_shared<nccl_detail::group>(part->rank(), part->size(), device(), group_->options());
    devices->split_from(*group_, colour, key);
    if (group_->followed()) devices->follow(*group_->followed());
    return nccl(std::move(part), std::move(devices));
  }

  // ---- device memory ----
  template <class T>
  request start_send(view<const T, cuda_space> data, int peer, int) {
    return message<T>("messages", {.what = kind::send, .in = data.data(), .count = data.size(), .peer = peer});
  }
  template <class T>
  request start_receive(view<T, cuda_space> data, int peer, int) {
    return message<T>("messages", {.what = kind::receive, .out = data.data(), .count = data.size(), .peer = peer});
  }
  template <class T>
  request start_broadcast(view<T, cuda_space> data, int root) {
    return start<T>("broadcast", {.what = kind::broadcast, .in = data.data(), .out = data.data(), .count = data.size(), .peer = root});
  }
  template <class T, class Op>
  request start_reduce(view<const T, cuda_space> in, view<T, cuda_space> out, Op, int root) {
    return start<T, Op>("reduce", {.what = kind::reduce, .in = in.data(), .out = out.data(), .count = in.size(), .peer = root});
  }
  template <class T, class Op>
  request start_all_reduce(view<const T, cuda_space> in, view<T, cuda_space> out, Op) {
    return start<T, Op>("all_reduce", {.what = kind::all_reduce, .in = in.data(), .out = out.data(), .count = in.size()});
  }
  template <class T, class Op>
  request start_reduce_scatter(view<const T, cuda_space> in, view<T, cuda_space> out, Op) {
    return start<T, Op>("reduce_scatter", {.what = kind::reduce_scatter, .in = in.data(), .out = out.data(), .count = out.size()});
  }
  template <class T>
  request start_all_gather(view<const T, cuda_space> in, view<T, cuda_space> out) {
    return start<T>("all_gather", {.what = kind::all_gather, .in = in.data(), .out = out.data(), .count = in.size()});
  }
  template <class T>
  request start_gather(view<const T, cuda_space> in, view<T, cuda_space> out, int root) {
    const nccl_detail::whole_piece<const T> to{in, root};
    if (rank() == root) return exchange<T>("gather", to, nccl_detail::equal_pieces<T>{out, in.size()});
    return exchange<T>("gather", to, nccl_detail::equal_pieces<T>{});
  }
  template <class T>
  request start_scatter(view<const T, cuda_space> in, view<T, cuda_space> out, int root) {
    const nccl_detail::whole_piece<T> from{out, root};
    if (rank() == root) return exchange<T>("scatter", nccl_detail::equal_pieces<const T>{in, out.size()}, from);
    return exchange<T>("scatter", nccl_detail::equal_pieces<const T>{}, from);
  }
  template <class T>
  request start_all_gather_v(view<const T, cuda_space> in, view<T, cuda_space> out, std::span<const std::size_t> counts) {
    return exchange<T>("all_gather_v", nccl_detail::whole_piece<const T>{in}, nccl_detail::packed_pieces<T>{out, counts});
  }
  template <class T>
  request start_all_to_all(view<const T, cuda_space> in, view<T, cuda_space> out) {
    const std::size_t each = in.size() / std::size_t(size());
    return exchange<T>("all_to_all", nccl_detail::equal_pieces<const T>{in, each}, nccl_detail::equal_pieces<T>{out, each});
  }
  template <class T>
  request start_all_to_all_v(view<const T, cuda_space> in, std::span<const std::size_t> send, view<T, cuda_space> out, std::span<const std::size_t> receive) {
    const auto own = std::size_t(rank());
    detail::check_size("all_to_all_v", "what a rank sends to itself (receive[rank])", receive[own], send[own]);
    return exchange<T>("all_to_all_v", nccl_detail::packed_pieces<const T>{in, send}, nccl_detail::packed_pieces<T>{out, receive});
  }

  // ---- host memory ----
  template <class T>
  request start_send(view<const T> data, int peer, int tag) { return over(host_->start_send(data, peer, tag)); }
  template <class T>
  request start_receive(view<T> data, int peer, int tag) { return over(host_->start_receive(data, peer, tag)); }
  request start_barrier() {
    return delegate<collective::barrier, std::byte, no_operation>({}, nullptr, nullptr, [](auto& able) { return able.start_barrier(); });
  }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    return delegate<collective::broadcast, T, no_operation>({.count = data.size(), .root = root}, data.data(), data.data(), [&](auto& able) { return able.start_broadcast(data, root); });
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op op, int root) {
    return delegate<collective::reduce, T, Op>({.count = in.size(), .root = root}, in.data(), out.data(), [&](auto& able) { return able.start_reduce(in, out, op, root); });
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op op) {
    return delegate<collective::all_reduce, T, Op>({.count = in.size()}, in.data(), out.data(), [&](auto& able) { return able.start_all_reduce(in, out, op); });
  }
  template <class T, class Op>
    requires requires(Host& host, view<const T> in, view<T> out, Op op) { host.all_reduce(in, out, op); }
  void all_reduce(view<const T> in, view<T> out, Op op) { host_->all_reduce(in, out, op); }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op op) {
    return delegate<collective::reduce_scatter, T, Op>({.count = out.size()}, in.data(), out.data(), [&](auto& able) { return able.start_reduce_scatter(in, out, op); });
  }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) {
    return delegate<collective::all_gather, T, no_operation>({.count = in.size()}, in.data(), out.data(), [&](auto& able) { return able.start_all_gather(in, out); });
  }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    return delegate<collective::all_gather_v, T, no_operation>({.counts = counts}, in.data(), out.data(), [&](auto& able) { return able.start_all_gather_v(in, out, counts); });
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) {
    return delegate<collective::gather, T, no_operation>({.count = in.size(), .root = root}, in.data(), out.data(), [&](auto& able) { return able.start_gather(in, out, root); });
  }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) {
    return delegate<collective::scatter, T, no_operation>({.count = out.size(), .root = root}, in.data(), out.data(), [&](auto& able) { return able.start_scatter(in, out, root); });
  }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) {
    return delegate<collective::all_to_all, T, no_operation>({.count = in.size() / std::size_t(size())}, in.data(), out.data(), [&](auto& able) { return able.start_all_to_all(in, out); });
  }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    return delegate<collective::all_to_all_v, T, no_operation>({.counts = send, .receive_counts = receive}, in.data(), out.data(), [&](auto& able) { return able.start_all_to_all_v(in, send, out, receive); });
  }

 private:
  using call = nccl_detail::call;
  using kind = call::kind;

  nccl(std::unique_ptr<Host> part, std::shared_ptr<nccl_detail::group> devices) : part_(std::move(part)), host_(part_.get()), group_(std::move(devices)) {}

  template <class T, class Op = no_operation>
  static void add(nccl_detail::launch& launch, call what) {
    what.type = nccl_detail::type_of<T>(), what.count *= nccl_detail::units_of<T>(), what.operation = nccl_detail::operation_of<Op>();
    launch.calls.push_back(what);
  }
  template <class T, class Op = no_operation>
  request start(std::string_view what, const call& how) {
    auto& launch = group_->collecting(what, false);
    nccl_detail::ticket mine(group_, launch);
    add<T, Op>(launch, how);
    group_->submit_alone(launch);
    return request(std::move(mine));
  }
  template <class T>
  request message(std::string_view what, const call& how) {
    auto& launch = group_->collecting(what, true);
    nccl_detail::ticket mine(group_, launch);
    add<T>(launch, how);
    return request(std::move(mine));
  }
  // `to(peer)` is what this rank sends there, `from(peer)` where it gets what comes from there.
  template <class T, class To, class From>
  request exchange(std::string_view what, To to, From from) {
    auto& launch = group_->collecting(what, false);
    nccl_detail::ticket mine(group_, launch);
    for (int peer = 0; peer < size(); ++peer) {
      const view<const T, cuda_space> out = to(peer);
      const view<T, cuda_space> in = from(peer);
      if (peer == rank() && in.data() == out.data()) continue;  // in its place already
      add<T>(launch, {.what = kind::send, .in = out.data(), .count = out.size(), .peer = peer});
      add<T>(launch, {.what = kind::receive, .out = in.data(), .count = in.size(), .peer = peer});
    }
    group_->submit_alone(launch);
    return request(std::move(mine));
  }
  static request over(typename Host::request host) { return request(pending<Host>(std::move(host))); }
  // As comm::start_... does it on the host communicator, without counting twice.
  template <collective Kind, class T, class Op, class Native>
  request delegate(const problem& what, const T* in, T* out, Native&& native_call) {
    return request(detail::start<Kind, T, Op, host_space>(*host_, what, in, out, native_call));
  }

  std::unique_ptr<Host> part_;  // of a sub-group made by split()
  Host* host_;
  std::shared_ptr<nccl_detail::group> group_;
};

// Device collectives that are started while it lives go together. Host memory is not concerned.
template <communicator Host>
class nccl<Host>::batch_scope {
 public:
  explicit batch_scope(nccl_detail::group& group) : group_(&group) { group.begin_batch(); }
  batch_scope(batch_scope&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
  batch_scope& operator=(batch_scope&&) = delete;
  ~batch_scope() {
    try {
      launch();
    } catch (...) {}  // the group has failed, and its requests say so
  }
  void launch() {
    if (group_) std::exchange(group_, nullptr)->end_batch();
  }

 private:
  nccl_detail::group* group_;
};

template <class Host, class Device, class... Options>
nccl(Host&, const Device&, const Options&...) -> nccl<Host>;

}  // namespace entrain::comm
