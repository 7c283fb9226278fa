// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

#include "cudnn.h"

// The part of cuDNN's front end that the library calls: graphs of one scaled-dot-product attention, forward or backward, computed
// plainly in double from the dims and strides that the tensors were given. It refuses what the front end refuses (version 1.32), and
// more: an attention that is not causal, an unstated scale, a backward pass that is not deterministic; steps out of order; a pointer
// that is missing, not aligned, or one too many. It spoils the workspace, which is as large as the front end's on sm_90.

namespace cudnn_frontend {

enum class error_code_t { OK, ATTRIBUTE_NOT_SET, INVALID_VARIANT_PACK, GRAPH_NOT_SUPPORTED, GRAPH_EXECUTION_FAILED, HEURISTIC_QUERY_FAILED, CUDA_API_FAILED, INVALID_CUDA_DEVICE, HANDLE_ERROR };
struct [[nodiscard]] error_object {
  error_code_t code = error_code_t::OK;
  std::string err_msg;
  bool is_good() const { return code == error_code_t::OK; }
  bool is_bad() const { return !is_good(); }
};
using error_t = error_object;

enum class DataType_t { NOT_SET, FLOAT, HALF, BFLOAT16 };
enum class HeurMode_t { A, B, FALLBACK };
enum class DiagonalAlignment_t { TOP_LEFT, BOTTOM_RIGHT };

namespace graph {

struct Tensor_attributes {
  using ints = std::vector<std::int64_t>;
  std::string name;
  ints dim, stride;
  std::optional<std::int64_t> uid;
  DataType_t type = DataType_t::NOT_SET;
  bool output = false;
  Tensor_attributes& set_name(const std::string& v) { return name = v, *this; }
  Tensor_attributes& set_dim(const ints& v) { return dim = v, *this; }
  Tensor_attributes& set_stride(const ints& v) { return stride = v, *this; }
  Tensor_attributes& set_uid(std::int64_t v) { return uid = v, *this; }
  Tensor_attributes& set_data_type(DataType_t v) { return type = v, *this; }
  Tensor_attributes& set_output(bool v) { return output = v, *this; }
};

template <class Derived>
struct attention_options {
  std::optional<float> scale;
  std::optional<int> right_bound;
  std::optional<DiagonalAlignment_t> alignment;
  Derived& self() { return static_cast<Derived&>(*this); }
  Derived& set_name(const std::string&) { return self(); }
  Derived& set_attn_scale(float v) { return scale = v, self(); }
  Derived& set_diagonal_alignment(DiagonalAlignment_t v) { return alignment = v, self(); }
  Derived& set_diagonal_band_right_bound(int v) { return right_bound = v, self(); }
};
struct SDPA_attributes : attention_options<SDPA_attributes> {
  bool statistics = false;
  SDPA_attributes& set_generate_stats(bool v) { return statistics = v, *this; }
};
struct SDPA_backward_attributes : attention_options<SDPA_backward_attributes> {
  bool deterministic = false;
  SDPA_backward_attributes& set_deterministic_algorithm(bool v) { return deterministic = v, *this; }
};

class Graph {
  using tensor_pointer = std::shared_ptr<Tensor_attributes>;
  enum role { q, k, v, y, sums, dy, dq, dk, dv };
  enum stage { described, validated, lowered, searched, checked, built };

 public:
  Graph& set_io_data_type(DataType_t type) { return io_ = type, *this; }
  Graph& set_intermediate_data_type(DataType_t type) { return intermediate_ = type, *this; }
  Graph& set_compute_data_type(DataType_t type) { return compute_ = type, *this; }
  tensor_pointer tensor(const Tensor_attributes& given) { return std::make_shared<Tensor_attributes>(given); }

  std::array<tensor_pointer, 2> sdpa(tensor_pointer q_, tensor_pointer k_, tensor_pointer v_, SDPA_attributes how) {
    backward_ = false, right_ = how.statistics && take(how);
    all_[q] = q_, all_[k] = k_, all_[v] = v_, all_[y] = tensor({}), all_[sums] = tensor({});
    return {all_[y], all_[sums]};
  }
  std::array<tensor_pointer, 3> sdpa_backward(tensor_pointer q_, tensor_pointer k_, tensor_pointer v_, tensor_pointer y_, tensor_pointer dy_, tensor_pointer sums_, SDPA_backward_attributes how) {
    backward_ = true, right_ = how.deterministic && take(how);
    all_[q] = q_, all_[k] = k_, all_[v] = v_, all_[y] = y_, all_[dy] = dy_, all_[sums] = sums_;
    all_[dq] = tensor({}), all_[dk] = tensor({}), all_[dv] = tensor({});
    return {all_[dq], all_[dk], all_[dv]};
  }

  error_t validate() {
    if (!right_ || intermediate_ != DataType_t::FLOAT || compute_ != DataType_t::FLOAT || (io_ != DataType_t::HALF && io_ != DataType_t::BFLOAT16))
      return {error_code_t::ATTRIBUTE_NOT_SET, "an attribute is not set or not known here"};
    const auto& dim = all_[q]->dim;
    if (dim.size() != 4) return {error_code_t::ATTRIBUTE_NOT_SET, "The dim for Q is invalid"};
    if (dim[3] % 8 != 0 || dim[3] > 128) return {error_code_t::GRAPH_NOT_SUPPORTED, "hidden_dim should be multiple of 8"};
    if (backward_ && dim[2] == 1) return {error_code_t::GRAPH_NOT_SUPPORTED, "s_q = s_kv = 1 is not supported"};
    std::map<std::int64_t, int> names;
    for (const auto& [which, t] : all_) {
      const bool statistics = which == sums, produced = backward_ ? which >= dq : which == y || which == sums;
      if (!t->uid || ++names[*t->uid] > 1 || t->output != produced) return {error_code_t::ATTRIBUTE_NOT_SET, "a tensor without its own uid, or no output"};
      if (t->type != (statistics ? DataType_t::FLOAT : DataType_t::NOT_SET)) return {error_code_t::GRAPH_NOT_SUPPORTED, "The Stats output of sdpa must be an FP32 tensor."};
      if (t->dim != Tensor_attributes::ints{dim[0], dim[1], dim[2], statistics ? 1 : dim[3]}) return {error_code_t::GRAPH_NOT_SUPPORTED, "dims differ"};
      if (t->stride.size() != 4 || t->stride[3] != 1) return {error_code_t::GRAPH_NOT_SUPPORTED, "The stride for the last dimension should be 1"};
      if (statistics && t->stride != Tensor_attributes::ints{dim[1] * dim[2], dim[2], 1, 1}) return {error_code_t::GRAPH_NOT_SUPPORTED, "Stats must be a packed BHSD tensor"};
      for (int i = 0; i < 3 && !statistics; ++i)
        if (t->stride[std::size_t(i)] % 8 != 0) return {error_code_t::GRAPH_NOT_SUPPORTED, "a stride is no multiple of 16 bytes"};
    }
    return advance(described);
  }
  error_t build_operation_graph(cudnnHandle_t handle) { return handle ? advance(validated) : error_t{error_code_t::HANDLE_ERROR, "no handle"}; }
  error_t create_execution_plans(const std::vector<HeurMode_t>& modes) { return modes.empty() ? error_t{error_code_t::HEURISTIC_QUERY_FAILED, "no mode"} : advance(lowered); }
  error_t check_support() {
    const char* why = entrain::emulated::cudnn().refusal;
    return why ? error_t{error_code_t::GRAPH_NOT_SUPPORTED, why} : advance(searched);
  }
  error_t build_plans() {
    if (const int code = entrain::emulated::cudnn().build_failure) return {error_code_t(code), "provoked"};
    ++entrain::emulated::cudnn().built;
    return advance(checked);
  }
  error_t get_workspace_size(std::int64_t& bytes) const {
    const auto& d = all_.at(q)->dim;
    bytes = (backward_ ? d[0] * d[1] * ((d[2] + 63) / 64 * 64) * ((d[2] + 127) / 128 * 128) * 2 : 0) + entrain::emulated::cudnn().more_workspace;
    return {};
  }
  error_t get_plan_name(std::string& name) const { return name = backward_ ? "emulated_backward" : "emulated_forward", error_t{}; }

  error_t execute(cudnnHandle_t handle, std::unordered_map<std::int64_t, void*>& pointers, void* workspace) const {
    if (stage_ != built || !handle || !handle->stream) return {error_code_t::GRAPH_EXECUTION_FAILED, "not built, or no stream"};
    if (entrain::emulated::cudnn().no_execution) return {error_code_t::GRAPH_EXECUTION_FAILED, "provoked"};
    std::int64_t bytes = 0;
    if (get_workspace_size(bytes).is_bad() || (bytes > 0 && !workspace)) return {error_code_t::INVALID_VARIANT_PACK, "no workspace"};
    if (pointers.size() != all_.size()) return {error_code_t::INVALID_VARIANT_PACK, "pointers of other tensors"};
    places at;
    for (const auto& [which, t] : all_) {
      const auto found = pointers.find(*t->uid);
      if (found == pointers.end() || !found->second) return {error_code_t::INVALID_VARIANT_PACK, "a tensor without a pointer"};
      if (reinterpret_cast<std::uintptr_t>(found->second) % 16 != 0) return {error_code_t::INVALID_VARIANT_PACK, "device pointer is not aligned"};
      at[which] = found->second;
    }
    entrain::emulated::submit(handle->stream, entrain::emulated::node_kind::kernel, this, [this, at, workspace, bytes] { return run(at, workspace, bytes); });
    return {};
  }

 private:
  using places = std::array<void*, 9>;
  using rows = std::vector<double>;

  template <class Options>
  bool take(const Options& how) {
    if (!how.scale || how.right_bound != 0 || how.alignment != DiagonalAlignment_t::TOP_LEFT) return false;
    return scale_ = *how.scale, true;
  }
  error_t advance(stage from) {
    if (stage_ != from) return {error_code_t::GRAPH_NOT_SUPPORTED, "a step out of order"};
    return stage_ = stage(from + 1), error_t{};
  }
  // One head as a dense [length, columns] matrix, and back.
  template <class F>
  void each(role which, std::int64_t b, std::int64_t h, F&& f) const {
    const auto& t = *all_.at(which);
    for (std::int64_t i = 0; i < t.dim[2]; ++i)
      for (std::int64_t c = 0; c < t.dim[3]; ++c) f(std::size_t(i * t.dim[3] + c), std::size_t(b * t.stride[0] + h * t.stride[1] + i * t.stride[2] + c));
  }
  rows read(const places& at, role which, std::int64_t b, std::int64_t h) const {
    rows out(std::size_t(all_.at(which)->dim[2] * all_.at(which)->dim[3]));
    each(which, b, h, [&](std::size_t to, std::size_t from) {
      if (which == sums) out[to] = static_cast<const float*>(at[which])[from];
      else out[to] = io_ == DataType_t::HALF ? float(static_cast<const entrain::binary16*>(at[which])[from]) : float(static_cast<const entrain::bfloat16*>(at[which])[from]);
    });
    return out;
  }
  void write(const places& at, role which, std::int64_t b, std::int64_t h, const rows& values) const {
    each(which, b, h, [&](std::size_t from, std::size_t to) {
      const float value = float(values[from]);
      if (which == sums) static_cast<float*>(at[which])[to] = value;
      else if (io_ == DataType_t::HALF) static_cast<entrain::binary16*>(at[which])[to] = entrain::binary16(value);
      else static_cast<entrain::bfloat16*>(at[which])[to] = entrain::bfloat16(value);
    });
  }
  bool run(const places& at, void* workspace, std::int64_t bytes) const {
    if (bytes > 0) std::memset(workspace, 0xff, std::size_t(bytes));
    const auto& d = all_.at(q)->dim;
    for (std::int64_t b = 0; b < d[0]; ++b)
      for (std::int64_t h = 0; h < d[1]; ++h) backward_ ? run_backward(at, b, h) : run_forward(at, b, h);
    ++(backward_ ? entrain::emulated::cudnn().backward_runs : entrain::emulated::cudnn().forward_runs);
    return true;
  }
  static double dot(const rows& a, std::size_t i, const rows& b, std::size_t j, std::size_t d) {
    double sum = 0;
    for (std::size_t c = 0; c < d; ++c) sum += a[i * d + c] * b[j * d + c];
    return sum;
  }
  static void add(rows& to, std::size_t i, double factor, const rows& from, std::size_t j, std::size_t d) {
    for (std::size_t c = 0; c < d; ++c) to[i * d + c] += factor * from[j * d + c];
  }
  void run_forward(const places& at, std::int64_t b, std::int64_t h) const {
    const rows Q = read(at, q, b, h), K = read(at, k, b, h), V = read(at, v, b, h);
    const std::size_t length = std::size_t(all_.at(q)->dim[2]), d = std::size_t(all_.at(q)->dim[3]);
    rows Y(length * d), S(length);
    for (std::size_t i = 0; i < length; ++i) {
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t j = 0; j <= i; ++j) most = std::fmax(most, scale_ * dot(Q, i, K, j, d));
      for (std::size_t j = 0; j <= i; ++j) sum += std::exp(scale_ * dot(Q, i, K, j, d) - most);
      S[i] = most + std::log(sum);
      for (std::size_t j = 0; j <= i; ++j) add(Y, i, std::exp(scale_ * dot(Q, i, K, j, d) - S[i]), V, j, d);
    }
    write(at, y, b, h, Y), write(at, sums, b, h, S);
  }
  void run_backward(const places& at, std::int64_t b, std::int64_t h) const {
    const rows Q = read(at, q, b, h), K = read(at, k, b, h), V = read(at, v, b, h), Y = read(at, y, b, h), dY = read(at, dy, b, h), S = read(at, sums, b, h);
    const std::size_t length = S.size(), d = std::size_t(all_.at(q)->dim[3]);
    rows dQ(length * d), dK(length * d), dV(length * d);
    for (std::size_t i = 0; i < length; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        const double p = std::exp(scale_ * dot(Q, i, K, j, d) - S[i]), ds = scale_ * p * (dot(dY, i, V, j, d) - dot(dY, i, Y, i, d));
        add(dV, j, p, dY, i, d), add(dQ, i, ds, K, j, d), add(dK, j, ds, Q, i, d);
      }
    write(at, dq, b, h, dQ), write(at, dk, b, h, dK), write(at, dv, b, h, dV);
  }

  std::map<role, tensor_pointer> all_;
  DataType_t io_ = DataType_t::NOT_SET, intermediate_ = DataType_t::NOT_SET, compute_ = DataType_t::NOT_SET;
  double scale_ = 0;
  bool backward_ = false, right_ = false;
  stage stage_ = described;
};

}  // namespace graph
}  // namespace cudnn_frontend
