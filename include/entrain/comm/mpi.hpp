// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <concepts>
#include <memory>
#include <span>
#include <string>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/mpi/collective.hpp>
#include <entrain/comm/mpi/device_memory.hpp>
#include <entrain/comm/mpi/group.hpp>
#include <entrain/comm/mpi/session.hpp>
#include <entrain/comm/mpi/shared.hpp>
#include <entrain/comm/traits.hpp>

// Ranks are MPI processes:
//
//   int main(int argc, char** argv) {
//     entrain::comm::mpi world{argc, argv};
//     ...
//   }                                   // mpirun -n 4 ./program
//
// The object initialises MPI and finalises it at the end of its scope, unless the program has done so itself. It works on a
// duplicate of the communicator, so its messages never meet those of other libraries. A rank that fails ends the job with
// a message and a non-zero code (comm/mpi/session.hpp). All collectives are native and nonblocking.
//
// Ranks on one node: collectives other than all_to_all_v go through memory that all ranks share (comm/shared_memory/), which
// takes 1/4 MiB a rank and group. Ranks that do not call the same collective get communication_error there. Groups
// across nodes use MPI's own collectives (MPI_I...). Progress is made by calls of test() and wait() of any request of
// the group or of one that it was split from or into; with mpi_threads::multiple, of the same group.
//
// MPI counts in int; longer operands travel in pieces, and both ends of a message must then state the same length.
//
// Host memory; messages also of device memory where reaches_device_memory(). Negative colours are not allowed in split(). Tag 32767 is used by all_to_all_v.

namespace entrain::comm {

struct mpi_options {
  mpi_threads threads = mpi_threads::funneled;
  std::size_t largest_count = INT_MAX;  // elements in one MPI call; lower it only to test the splitting
  bool shared_memory = true;            // groups on one node reduce and copy in shared memory; false: by MPI's own calls
};

class mpi {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "mpi";
  using request = mpi_detail::request;
  struct abilities {
    static constexpr bool best = true;  // comm::tuned<comm::mpi> doubts it
    template <collective Kind, class T, class Op, class Space>
    static constexpr bool native = std::same_as<Space, host_space> && element<T>;
  };

  // All ranks of the job. Errors: usage_error where MPI gives less thread support than asked for.
  mpi(int& argc, char**& argv, mpi_options options = {})
      : session_(mpi_detail::session::start(&argc, &argv, options.threads)), group_(duplicate(MPI_COMM_WORLD, options)) {}
  // The ranks of a communicator of the user's, which is duplicated (all of its ranks call this) and stays the user's.
  explicit mpi(MPI_Comm existing, mpi_options options = {}) : group_(duplicate(existing, options)) {}
  mpi(mpi&&) noexcept = default;
  ~mpi() {
    if (session_ && group_ && group_->failed) session_->fail();
  }

  int rank() const { return group_->rank; }
  int size() const { return group_->size; }
  traffic& counters() { return group_->counted; }
  std::uint64_t& sequence() { return group_->sequence; }
  // Declares the group broken: nothing waits for its operations any more, further calls throw, and the job that this object
  // started ends with MPI_Abort instead of a finalisation that would wait for lost ranks. Does not communicate.
  void fail() noexcept { group_->failed = true; }
  // Whether collectives work in memory that all ranks share. Reductions then combine in rank order, whatever the
  // collective, its length and its timing, so that they give the same bits on every run.
  bool shares_memory() const { return bool(group_->near); }
  // Which way a collective of this many bytes goes here.
  std::string_view native_name(collective kind, std::size_t bytes) const;
  // Whether MPI takes pointers to the memory of GPUs (is "CUDA-aware"), as it says itself; ENTRAIN_CUDA_AWARE_MPI=0 or 1 in the
  // environment overrides it. Asked once a communicator. Errors: usage_error, about the variable.
  bool reaches_device_memory() const {
    if (group_->reaches_devices < 0) group_->reaches_devices = mpi_detail::reaches_devices();
    return group_->reaches_devices > 0;
  }
  // What the costs of this group are called in profiles (comm/cost_model.hpp).
  std::string_view cost_name() const { return group_->uses_shared_memory && !shares_memory() && size() > 1 ? "mpi over a network" : name; }
  // Memory for operands, zeroed, which is this rank's to use and which the others read and write where it lies, without
  // a copy in between, if all ranks of a long collective (all_reduce, reduce_scatter, all_gather, broadcast) keep their
  // operands in such memory. All ranks call this, also with different sizes, and destroy what they got, in the same
  // order; before the communicator. Ordinary memory where the ranks do not share any.
  template <element T>
  mpi_detail::arena<T> allocate(std::size_t size) {
    return mpi_detail::arena<T>(*group_, size);
  }
  // Our duplicate, for what this class does not offer. Valid as long as the object.
  MPI_Comm native_handle() const { return group_->comm.get(); }

  mpi split(int colour, int key) {
    group_->ensure_usable();
    if (colour < 0) throw usage_error(group_->where(), "split() with a negative colour", "0 or more", std::to_string(colour));
    MPI_Comm part;
    group_->check(MPI_Comm_split(native_handle(), colour, key, &part), "MPI_Comm_split");
    return mpi(std::make_unique<mpi_detail::group>(part, group_->largest_count, group_->uses_shared_memory, group_.get()));
  }

  template <class T>
  request start_send(view<const T> data, int to, int tag) {
    return mpi_detail::start_send(*group_, data, to, tag);
  }
  template <class T>
  request start_receive(view<T> data, int from, int tag) {
    return mpi_detail::start_receive(*group_, data, from, tag);
  }

  // Messages of device memory, straight from and to it. There are no collectives of it: Open MPI has no nonblocking reductions there and
  // sums in host memory in blocking ones (parallel/direct_exchange.hpp builds what a trainer needs). What the device still has to do for
  // the memory must be done before a send, and reads of it must be over before a receive: MPI knows no streams.
  template <class T, memory_space Space>
    requires(!Space::host_accessible)
  request start_send(view<const T, Space> data, int to, int tag) {
    require_device_memory();
    return mpi_detail::start_send(*group_, view<const T>(data.data(), data.size()), to, tag);
  }
  template <class T, memory_space Space>
    requires(!Space::host_accessible)
  request start_receive(view<T, Space> data, int from, int tag) {
    require_device_memory();
    return mpi_detail::start_receive(*group_, view<T>(data.data(), data.size()), from, tag);
  }

  request start_barrier() {
    if (group_->shares(1)) return near<std::byte>(collective::barrier, {}, {}, 0);
    return mpi_detail::start_barrier(*group_);
  }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    if (group_->shares(sizeof(T))) return near<T>(collective::broadcast, data, data, data.size(), root);
    return mpi_detail::start_broadcast(*group_, data, root);
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op, int root) {
    if (group_->shares(sizeof(T))) return near<T, Op>(collective::reduce, in, out, in.size(), root);
    return mpi_detail::start_reduce<T, Op>(*group_, in, out, root);
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op) {
    if (group_->shares(sizeof(T))) return near<T, Op>(collective::all_reduce, in, out, in.size());
    return mpi_detail::start_all_reduce<T, Op>(*group_, in, out);
  }
  // The blocking form, beside start and wait: Open MPI 4.1 takes a faster algorithm here for long operands in place.
  template <class T, class Op>
  void all_reduce(view<const T> in, view<T> out, Op) {
    if (group_->shares(sizeof(T))) near<T, Op>(collective::all_reduce, in, out, in.size()).wait();
    else mpi_detail::all_reduce<T, Op>(*group_, in, out);
  }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op) {
    if (group_->shares(sizeof(T))) return near<T, Op>(collective::reduce_scatter, in, out, out.size());
    return mpi_detail::start_reduce_scatter<T, Op>(*group_, in, out);
  }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) {
    if (group_->shares(sizeof(T))) return near<T>(collective::all_gather, in, out, in.size());
    return mpi_detail::start_all_gather(*group_, in, out);
  }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    if (group_->shares(sizeof(T))) return near<T>(collective::all_gather_v, in, out, out.size(), -1, counts);
    return mpi_detail::start_all_gather_v(*group_, in, out, counts);
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) {
    if (group_->shares(sizeof(T))) return near<T>(collective::gather, in, out, in.size(), root);
    return mpi_detail::start_gather(*group_, in, out, root);
  }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) {
    if (group_->shares(sizeof(T))) return near<T>(collective::scatter, in, out, out.size(), root);
    return mpi_detail::start_scatter(*group_, in, out, root);
  }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) {
    if (group_->shares(sizeof(T))) return near<T>(collective::all_to_all, in, out, in.size() / std::size_t(size()));
    return mpi_detail::start_all_to_all(*group_, in, out);
  }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    return mpi_detail::start_all_to_all_v(*group_, in, send, out, receive);
  }

 private:
  void require_device_memory() const {
    if (!reaches_device_memory())
      throw usage_error(group_->where(), "a message of device memory", "an MPI that is CUDA-aware (or ENTRAIN_CUDA_AWARE_MPI=1, if it is and does not say so)", "one that takes host memory");
  }
  template <class T, class Op = no_operation>
  request near(collective kind, view<const T> in, view<T> out, std::size_t count, int root = -1, std::span<const std::size_t> counts = {}) {
    return mpi_detail::start_shared<T, Op>(*group_, kind, in, out, count, root, counts);
  }

  explicit mpi(std::unique_ptr<mpi_detail::group> part) : group_(std::move(part)) {}
  static std::unique_ptr<mpi_detail::group> duplicate(MPI_Comm existing, const mpi_options& options) {
    if (!mpi_detail::running()) throw usage_error("comm::mpi", "made from an MPI_Comm while MPI is not running");
    MPI_Comm ours;
    if (MPI_Comm_dup(existing, &ours) != MPI_SUCCESS) throw communication_error("comm::mpi", "MPI_Comm_dup failed");
    return std::make_unique<mpi_detail::group>(ours, options.largest_count, options.shared_memory);
  }

  std::unique_ptr<mpi_detail::session> session_;  // before the group: MPI ends after it
  std::unique_ptr<mpi_detail::group> group_;      // its address is what requests know
};

inline std::string_view mpi::native_name(collective kind, std::size_t) const {
  if (shares_memory() && kind != collective::all_to_all_v) return "shared memory";
  constexpr std::string_view names[] = {"MPI_Ibarrier", "MPI_Ibcast", "MPI_Ireduce", "MPI_Iallreduce", "MPI_Ireduce_scatter_block",
                                        "MPI_Iallgather", "MPI_Iallgatherv", "MPI_Igather", "MPI_Iscatter", "MPI_Ialltoall",
                                        "MPI_Isend and MPI_Irecv"};
  return names[int(kind)];
}

}  // namespace entrain::comm
