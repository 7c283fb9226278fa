// SPDX-License-Identifier: Apache-2.0

// Whatever bytes come as an IDX file, plain or gzip, the reader gives images or throws file_error.
//
//   clang++ -std=c++20 -O1 -g -Iinclude -DENTRAIN_WITH_ZLIB=1 -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_idx.cpp -lz -o fuzz_idx
//   ./fuzz_idx -max_total_time=60 -rss_limit_mb=512
//
// The first byte of an input says how many of the following ones are the label file.

#include <cstddef>
#include <cstdint>
#include <string>

#include <entrain/data/idx.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t label_bytes = std::min<std::size_t>(input[0], size - 1);
  const auto* bytes = reinterpret_cast<const char*>(input) + 1;
  namespace data = entrain::data;
  try {
    const data::read_limits limits{.bytes = 1 << 24};
    const auto d =
        data::detail::read_idx_images(data::detail::source("images", std::string(bytes + label_bytes, size - 1 - label_bytes), limits),
                                      data::detail::source("labels", std::string(bytes, label_bytes), limits), {});
    entrain::labelled_batch batch;
    const std::uint64_t ends[] = {0, d.size() - 1};
    if (d.size() > 0) d.fill(ends, batch);
  } catch (const entrain::file_error&) {}
  return 0;
}
