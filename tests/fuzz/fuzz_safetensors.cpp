// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>

// libFuzzer on the safetensors reader: any bytes are either an error of type file_error or tensors that can be read in
// full. Build and run for a minute (tests/checkpoint/golden.safetensors is a good seed):
//
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Iinclude
//     tests/fuzz/fuzz_safetensors.cpp -o build/fuzz_safetensors
//   build/fuzz_safetensors -max_total_time=60 -max_len=4096 -rss_limit_mb=1500 -timeout=5 CORPUS

namespace checkpoint = entrain::checkpoint;

namespace {
void read_everything(const std::string& path) {
  const checkpoint::safetensors_file file(path);
  std::uint64_t total = 0;
  for (const auto& entry : file.tensors()) {
    std::vector<std::byte> bytes(entry.bytes());
    file.read(entry, bytes);
    total += bytes.size();
    if (file.find(entry.name) != &entry) std::abort();
  }
  if (8 + file.header_text().size() + total != file.size()) std::abort();
  checkpoint::verify_safetensors(file);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int memory = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(memory);
  if (::ftruncate(memory, 0) != 0 || ::pwrite(memory, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    read_everything(path);
  } catch (const entrain::file_error&) {
  }
  return 0;
}
