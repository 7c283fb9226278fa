// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/data/detail/corpus.hpp>

// Text for language models, a token a byte: a file, or all files of a folder in the sorted order of their paths.
//
//   data::bytes text{"input.txt", {.context = 64, .vocabulary = data::vocabulary::distinct}};
//   auto [train, validation] = text.split(0.9);
//   auto exact = validation.with_stride(64);   // every token of the text predicted at most once
//
// Sample i is the window of context + 1 bytes that begins at byte i * stride: the first `context` are the inputs, each
// one's successor its target. Bytes at the end that fill no window are left out. Folders: hidden entries and symbolic
// links are skipped, and so are files that look binary (a zero byte among the first 8192), unless .binary is set. Every
// rank must see the same files. Copies, splits and strides share the text.

namespace entrain::data {

enum class vocabulary {
  full,      // 256 tokens: a token is its byte
  distinct,  // the v bytes that occur, numbered 0 .. v - 1 in ascending order (nanoGPT's character level)
};

struct bytes_options {
  std::size_t context = 64;  // tokens a sample
  std::size_t stride = 1;    // bytes from one sample to the next
  data::vocabulary vocabulary = data::vocabulary::full;
  std::vector<std::string> extensions = {};           // of a folder's files, such as ".txt"; empty takes all
  bool binary = false;                                // also a folder's binary files
  std::uint64_t size_limit = std::uint64_t{1} << 30;  // bytes in all; more is an error
};

class bytes {
 public:
  using batch_type = token_batch;

  explicit bytes(const std::filesystem::path& file_or_folder, const bytes_options& options = {})
      : bytes(detail::read_corpus(file_or_folder, options.extensions, options.binary, options.size_limit), options,
              file_or_folder.string()) {}

  // The text itself rather than a path.
  static bytes from_string(std::string text, const bytes_options& options = {}) {
    return bytes(std::move(text), options, "data::bytes::from_string");
  }

  std::uint64_t size() const { return length_ < context_ + 1 ? 0 : (length_ - context_ - 1) / stride_ + 1; }
  std::size_t context() const { return context_; }
  std::size_t stride() const { return stride_; }
  std::uint64_t length() const { return length_; }  // bytes of text
  std::size_t vocabulary_size() const { return table_->size; }

  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    batch.resize(indices.size(), context_);
    const auto samples = size();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] >= samples)
        throw usage_error("data::bytes::fill", "no such sample", entrain::detail::text("index < ", samples),
                          entrain::detail::text(indices[i]));
      const auto* from = reinterpret_cast<const std::uint8_t*>(table_->tokens.data()) + first_ + indices[i] * stride_;
      std::copy_n(from, context_, batch.inputs.begin() + std::ptrdiff_t(i * context_));
      std::copy_n(from + 1, context_, batch.targets.begin() + std::ptrdiff_t(i * context_));
    }
  }

  // The first `fraction` of the text and the rest, with one vocabulary.
  std::pair<bytes, bytes> split(double fraction) const {
    if (!(fraction >= 0 && fraction <= 1))
      throw usage_error("data::bytes::split", "the fraction makes no sense", "0 to 1", entrain::detail::text(fraction));
    const auto cut = std::min(length_, std::uint64_t(fraction * double(length_)));
    std::pair<bytes, bytes> parts{*this, *this};
    parts.first.length_ = cut;
    parts.second.first_ += cut;
    parts.second.length_ -= cut;
    return parts;
  }
  bytes with_stride(std::size_t stride) const {
    bytes out = *this;
    out.stride_ = at_least_one(stride, "stride");
    return out;
  }
  bytes with_context(std::size_t context) const {
    bytes out = *this;
    out.context_ = at_least_one(context, "context");
    return out;
  }

  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> out;
    out.reserve(text.size());
    for (const char c : text) {
      const auto token = table_->token_of[std::uint8_t(c)];
      if (token < 0)
        throw usage_error("data::bytes::encode", "a byte is not in the vocabulary", "a byte of the text",
                          entrain::detail::text("byte ", int(std::uint8_t(c))));
      out.push_back(token);
    }
    return out;
  }
  std::string decode(std::span<const std::int32_t> tokens) const {
    std::string out;
    out.reserve(tokens.size());
    for (const auto token : tokens) {
      if (token < 0 || std::size_t(token) >= table_->size)
        throw usage_error("data::bytes::decode", "no such token", entrain::detail::text("0 to ", table_->size - 1),
                          entrain::detail::text(token));
      out.push_back(char(table_->byte_of[std::size_t(token)]));
    }
    return out;
  }

 private:
  struct table {
    std::string tokens;  // the text, encoded; a token fits a byte
    std::array<std::int32_t, 256> token_of{};
    std::array<std::uint8_t, 256> byte_of{};
    std::size_t size = 0;
  };

  bytes(std::string text, const bytes_options& options, const std::string& name)
      : context_(at_least_one(options.context, "context")), stride_(at_least_one(options.stride, "stride")), length_(text.size()) {
    if (length_ < context_ + 1)
      throw file_error(name, "the text is too short for one sample", detail::in_bytes(context_ + 1), detail::in_bytes(length_));
    auto t = std::make_shared<table>();
    std::array<bool, 256> occurs{};
    for (const char c : text) occurs[std::uint8_t(c)] = true;
    for (std::size_t b = 0; b < 256; ++b) {
      const bool in = options.vocabulary == data::vocabulary::full || occurs[b];
      t->token_of[b] = in ? std::int32_t(t->size) : -1;
      if (in) t->byte_of[t->size++] = std::uint8_t(b);
    }
    for (char& c : text) c = char(t->token_of[std::uint8_t(c)]);
    t->tokens = std::move(text);
    table_ = std::move(t);
  }

  static std::size_t at_least_one(std::size_t value, const char* what) {
    if (value == 0 || value > (std::size_t{1} << 40))
      throw usage_error("data::bytes", std::string("the ") + what + " makes no sense", "at least 1", entrain::detail::text(value));
    return value;
  }

  std::shared_ptr<const table> table_;
  std::size_t context_, stride_;
  std::uint64_t first_ = 0, length_;
};

}  // namespace entrain::data
