// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/small_float.hpp>
#include <entrain/device/compress/cast.cuh>
#include <entrain/device/compress/dragonn.cuh>
#include <entrain/device/compress/qsgd.cuh>
#include <entrain/device/compress/random_k.cuh>
#include <entrain/device/compress/sign.cuh>
#include <entrain/device/compress/terngrad.cuh>
#include <entrain/device/compress/top_k.cuh>

#include "cub_peers.cuh"
#include "measure.cuh"

// Compressors on the device at 16 M values of fp32, against a copy of the bytes that their own comments say. Selections also by themselves:
// bench/device/top_k.sh sets them against torch.topk.
//
//   compress [--rounds N]    prints value <compressor>_encode_share_of_copy <x>, ..._decode_add_share_of_copy, ..._encode_us, and ratios against CUB
//   compress --serve         takes turns with another program: lines "<compressor>" in, "seconds <to encode>" out, "quit"
//   compress --check         tiny sizes: shows that all of it runs, times mean nothing

namespace {

using namespace bench;

struct item {
  std::string name;
  double encode_bytes, decode_bytes;  // all of it; 0: not a matter of bandwidth
  std::function<void(int)> encode, decode;
};

class compressors {
 public:
  // sets: vectors of n values, so that a call finds nothing in the cache that the one before has read.
  compressors(card& c, std::size_t n, int sets) : card_(c), n_(n), sets_(sets), values_(c.random<float>(n * std::size_t(sets), 1e-3)), sums_(n * std::size_t(sets)), found_(1) {
    add("cast_bf16", compress::cast<bfloat16>{}, 6, 10);
    add("cast_f16", compress::cast<float16>{}, 6, 10);
    add("cast_e4m3", compress::cast<float8_e4m3>{}, 5, 9);
    add("stochastic_cast_bf16", compress::stochastic_cast<bfloat16>{}, 6, 10);
    add("sign", compress::sign{}, 4.125, 8.125);
    add("qsgd", compress::qsgd{}, 4.75, 8.75);
    add("terngrad", compress::terngrad{}, 8.25, 8.25);
    add("random_k", compress::random_k{.ratio = 0.01}, 0, 0);
    add("top_k", compress::top_k{.ratio = 0.01}, 20, 0);
    add("sampled_top_k", compress::sampled_top_k{.ratio = 0.01}, 8, 0);
    add("dragonn", compress::dragonn{.ratio = 0.01}, 4.32, 0);
  }

  int sets() const { return sets_; }
  const float* values(int set) const { return values_.data() + std::size_t(set) * n_; }
  const std::vector<item>& items() const { return items_; }

 private:
  template <class C>
  void add(const char* name, const C& compressor, double encode_bytes, double decode_bytes) {
    using wire_type = compress::wire_of<C, float>;
    const std::size_t stride = (compressor.template wire_count<float>(n_) + 255) / 256 * 256;  // each wire at a multiple of 256 bytes
    device_memory<wire_type>& wire = keep<device_memory<wire_type>>(stride * std::size_t(sets_));
    item made{name, encode_bytes * double(n_), decode_bytes * double(n_), {}, {}};
    const auto from = [this](int i) { return static_cast<const float*>(values_.data()) + std::size_t(i) * n_; };
    const auto to = [this](int i) { return sums_.data() + std::size_t(i) * n_; };
    const auto on_wire = [&wire, stride](int i) { return wire.data() + std::size_t(i) * stride; };
    constexpr bool sparse = requires(const device::compress_scratch& s) { encode(card_.queue(), compressor, where_, s, from(0), n_, on_wire(0), found_.data()); };
    constexpr bool scratches = requires { compress::scratch_bytes<float>(compressor, n_); };
    if constexpr (scratches) {
      const auto& scratch = keep<device::compress_scratch>(std::max<std::size_t>(compress::scratch_bytes<float>(compressor, n_), 1));
      made.encode = [=, this, &scratch](int i) {
        if constexpr (sparse) encode(card_.queue(), compressor, where_, scratch, from(i), n_, on_wire(i), found_.data());
        else encode(card_.queue(), compressor, where_, scratch, from(i), n_, on_wire(i));
      };
    } else {
      made.encode = [=, this](int i) { encode(card_.queue(), compressor, where_, from(i), n_, on_wire(i)); };
    }
    if constexpr (!sparse) made.decode = [=, this](int i) { decode_add(card_.queue(), compressor, where_, static_cast<const wire_type*>(on_wire(i)), to(i), n_, 1e-3f); };
    items_.push_back(std::move(made));
  }
  // What lives as long as this.
  template <class M>
  M& keep(std::size_t size) {
    auto made = std::make_shared<M>(size);
    kept_.push_back(made);
    return *made;
  }

  card& card_;
  std::size_t n_;
  int sets_;
  device_memory<float> values_, sums_;
  device_memory<std::uint32_t> found_;
  compress::context where_;
  std::vector<std::shared_ptr<void>> kept_;
  std::vector<item> items_;
};

void report_all(card& c, const compressors& all) {
  for (const item& one : all.items()) {
    const timing encoding = one.encode_bytes > 0 ? c.report(one.name + "_encode", one.encode_bytes, all.sets(), one.encode) : c.in_turns(all.sets(), one.encode);
    print_value(one.name + "_encode_us", encoding.seconds * 1e6);
    if (one.decode_bytes > 0) (void)c.report(one.name + "_decode_add", one.decode_bytes, all.sets(), one.decode);
  }
}

#if defined(__CUDACC__)
// Exact selection against sorting with CUB, and dragonn, which finds its threshold itself, against CUB's selection with one that is given.
void against_cub(card& c, const compressors& all, std::size_t n) {
  cub_selections cub(c, n);
  const auto seconds = [&](const char* name) {
    const auto one = std::find_if(all.items().begin(), all.items().end(), [&](const item& i) { return i.name == name; });
    return c.in_turns(all.sets(), one->encode).seconds;
  };
  const double sorting = c.in_turns(all.sets(), [&](int i) { cub.top_k(all.values(i)); }).seconds;
  const double selecting = c.in_turns(all.sets(), [&](int i) { cub.above(all.values(i), 2.6e-3f); }).seconds;  // about 1 %
  print_value("cub_sort_us", sorting * 1e6), print_value("cub_select_us", selecting * 1e6);
  std::printf("ratio top_k_vs_cub_sort %.3g\n", sorting / seconds("top_k"));
  std::printf("ratio sampled_top_k_vs_cub_sort %.3g\n", sorting / seconds("sampled_top_k"));
  std::printf("ratio dragonn_vs_cub_select %.3g\n", selecting / seconds("dragonn"));
}
#endif

int serve(card& c, const compressors& all) {
  std::printf("ready\n"), std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    const auto one = std::find_if(all.items().begin(), all.items().end(), [&](const item& i) { return i.name == line; });
    if (one == all.items().end()) return std::fprintf(stderr, "no compressor is named '%s'\n", line.c_str()), 2;
    std::printf("seconds %.9g\n", c.in_turns(all.sets(), one->encode).seconds), std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int arguments, char** given) try {
  int rounds = 20;
  bool checks = false, serves = false;
  for (int i = 1; i < arguments; ++i) {
    if (std::strcmp(given[i], "--check") == 0) checks = true;
    else if (std::strcmp(given[i], "--serve") == 0) serves = true;
    else if (std::strcmp(given[i], "--rounds") == 0 && i + 1 < arguments) rounds = std::atoi(given[++i]);
    else return std::fprintf(stderr, "compress takes --check, --serve and --rounds N, not '%s'\n", given[i]), 2;
  }
  card c(checks ? std::size_t(1) << 16 : std::size_t(2) << 30, checks ? 1 : std::max(rounds, 1));
  const std::size_t n = checks ? 5000 : std::size_t(1) << 24;
  const compressors all(c, n, checks ? 2 : 8);
  c.queue().wait();
  if (serves) return serve(c, all);
  report_all(c, all);
#if defined(__CUDACC__)
  against_cub(c, all, n);
#endif
  c.queue().wait();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
