// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/sparse_all_reduce.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/parallel/routes/gathered.hpp>
#include <entrain/parallel/routes/sparse_way.hpp>

// (index, value) payloads, by one of three ways that is chosen for each message before the first step (compress/way.hpp):
//
//   gather   as gathered.hpp: k entries to every rank
//   sparse   merged pair by pair (SparCML), whole vectors where those are shorter
//   dense    scattered into zeros, then an all-reduce of all values
//
// Bytes: k entries; or what the streams have, at most the dense values a transfer; or the dense values. Memory beyond the gathered
// wire: one dense vector a message, or the streams' three.

namespace entrain::parallel::routes {

template <class T, class Communicator, class Compressor, class Space = host_space>
class sparse : public gathered<T, Communicator, Compressor, Space> {
  using base = gathered<T, Communicator, Compressor, Space>;
  using request = typename packed<T, Communicator, Compressor>::request;
  static constexpr bool merges = compress::is_ascending<Compressor>;

 public:
  using typename base::wire_type;
  using base::base;

  // Before the first step; the same on every rank, since it follows from the profile that ranks share.
  void choose_ways() {
    std::vector<std::size_t> merged;
    for (std::size_t m = 0; m < this->messages_.size(); ++m) {
      own_message mine;
      for (const std::size_t i : this->messages_[m].blocks) mine.values += this->layout_[i].count;
      mine.choice = cheapest_way(this->comm_, mine.values, this->messages_[m].count, sizeof(T), merges, compress::is_variable<Compressor>, compress::way_of(this->compressor_));
      mine.way = mine.choice.chosen;
      if (mine.way == compress::way::sparse && !merges)
        throw usage_error("compress::travel", "this compressor's indices do not ascend, so that they cannot be merged", "way::gather or way::dense", "way::sparse");
      if (mine.way == compress::way::sparse) mine.stream.reset(mine.values), merged.push_back(mine.values);
      if (mine.way == compress::way::dense) mine.dense = buffer<T, Space>(mine.values);
      own_.push_back(std::move(mine));
    }
    if constexpr (merges) comm::reserve_sparse_all_reduces<Communicator, T>(merged);
  }
  std::string explain(std::size_t m) const { return explained(own_[m].choice, own_[m].values, this->messages_[m].count, compress::way_of(this->compressor_)); }

  void start(std::size_t m, std::span<T> gradient) {
    auto& mine = own_[m];
    if (mine.way == compress::way::gather) return base::start(m, gradient);
    if (mine.way == compress::way::dense) return start_dense(m);
    if constexpr (merges) {
      mine.stream.clear();
      std::size_t at = 0;
      for (std::size_t b = 0; b < this->messages_[m].blocks.size(); ++b) {
        mine.stream.append(comm::sparse_entries<T>(filled(m, b)), at);
        at += this->layout_[this->messages_[m].blocks[b]].count;
      }
      mine.pending = comm::start_sparse_all_reduce(this->comm_, mine.stream);
    }
  }
  void advance(std::size_t m, int stage, std::span<T> gradient) {
    if (own_[m].way == compress::way::gather) base::advance(m, stage, gradient);
  }
  void test(std::size_t m) {
    if (own_[m].way == compress::way::sparse) own_[m].pending.test();
    else base::test(m);
  }
  void wait(std::size_t m) {
    if (own_[m].way != compress::way::sparse) return base::wait(m);
    own_[m].pending.wait();
    own_[m].pending = {};  // its memory serves the next
  }

  void decode(std::size_t m, const compress::context& where, std::span<T> gradient, T scale) {
    auto& mine = own_[m];
    if (mine.way == compress::way::gather) return base::decode(m, where, gradient, scale);
    std::size_t at = 0, entry = 0;
    for (const std::size_t i : this->messages_[m].blocks) {
      const auto out = this->values(i, gradient);
      if (mine.way == compress::way::dense || mine.stream.dense()) {
        const T* from = (mine.way == compress::way::dense ? mine.dense.data() : std::as_const(mine.stream).values()) + at;
        for (std::size_t k = 0; k < out.size(); ++k) out[k] = scale * from[k];
      } else {
        std::fill(out.begin(), out.end(), T(0));
        for (; entry < mine.stream.count() && mine.stream.index(entry) < at + out.size(); ++entry) out[mine.stream.index(entry) - at] = scale * mine.stream.value(entry);
      }
      at += out.size();
    }
  }

  void plan_of(std::size_t m, plan& p) const {
    switch (own_[m].way) {
      case compress::way::dense: p.push_back({"all_reduce", "gradient", sizeof(T), own_[m].values}); break;
      case compress::way::sparse: p.push_back({"sparse_all_reduce", "gradient", sizeof(wire_type), this->messages_[m].count, -1, true}); break;
      default: base::plan_of(m, p);
    }
  }

 protected:
  std::span<const wire_type> filled(std::size_t m, std::size_t b) const {
    const auto& at = this->messages_[m];
    return {this->wire_.data() + this->offset_[at.blocks[b]], at.filled[b]};
  }
  void start_dense(std::size_t m) {
    auto& mine = own_[m];
    std::fill(mine.dense.begin(), mine.dense.end(), T(0));
    std::size_t at = 0;
    for (std::size_t b = 0; b < this->messages_[m].blocks.size(); ++b) {
      const std::size_t i = this->messages_[m].blocks[b], n = this->layout_[i].count;
      this->compressor_.decode_add({}, filled(m, b), mine.dense.span().subspan(at, n), T(1));
      at += n;
    }
    this->messages_[m].pending = comm::start_all_reduce(this->comm_, view<const T>(mine.dense.data(), mine.values), view<T>(mine.dense.data(), mine.values), comm::sum{});
  }

  struct own_message {
    compress::way way = compress::way::gather;
    compress::sparse_choice choice;
    std::size_t values = 0;
    buffer<T, Space> dense;
    comm::sparse_stream<T> stream;
    comm::sparse_all_reduce_request<Communicator, T> pending{};
  };
  std::vector<own_message> own_;
};

}  // namespace entrain::parallel::routes
