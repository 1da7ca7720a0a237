// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/hsic.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "espalier/base/error.h"

namespace espalier {

namespace {

at::Tensor kernel_of(const at::Tensor& x) {
  const auto wide = x.to(at::kDouble);
  // Shifting all rows changes nothing of HSIC_1, but keeps the products small.
  const auto centred = wide - wide.mean(0, /*keepdim=*/true);
  auto kernel = centred.matmul(centred.t());
  kernel.fill_diagonal_(0.0);
  return kernel;
}

double hsic_of(const at::Tensor& k, const at::Tensor& l) {
  const auto n = static_cast<double>(k.size(0));
  const double trace = (k * l).sum().item<double>();  // both are symmetric
  const auto rows_k = k.sum(1);
  const auto rows_l = l.sum(1);
  const double product = rows_k.dot(rows_l).item<double>();  // 1'KL1
  const double sums = rows_k.sum().item<double>() * rows_l.sum().item<double>();
  return (trace + sums / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * product) / (n * (n - 3));
}

}  // namespace

double unbiased_hsic(const at::Tensor& x, const at::Tensor& y) {
  assume(x.size(0) == y.size(0) && x.size(0) >= HsicBlocks::kFewestSamples,
         "HSIC_1 wants four samples");
  return hsic_of(kernel_of(x), kernel_of(y));
}

HsicBlocks::HsicBlocks(const std::filesystem::path& file, std::int64_t layers,
                       std::int64_t hidden_size)
    : path_(file),
      descriptor_(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)),
      layers_(layers),
      hidden_size_(hidden_size) {
  require(descriptor_ >= 0, "{}: {}", path_.string(), std::strerror(errno));
}

HsicBlocks::~HsicBlocks() { close(descriptor_); }

std::int64_t HsicBlocks::offset(std::int64_t subtask, std::int64_t slot, std::int64_t layer) const {
  const std::int64_t row = (subtask * kBlockSamples + slot) * layers_ + layer;
  return row * 2 * hidden_size_ * static_cast<std::int64_t>(sizeof(float));
}

void HsicBlocks::add(std::int64_t subtask, std::int64_t number, std::span<const float> pooled,
                     ProbeSums& sums) {
  const std::int64_t slot = number % kBlockSamples;
  std::int64_t at = offset(subtask, slot, 0);
  for (auto rest = std::as_bytes(pooled); !rest.empty();) {
    const ssize_t written = pwrite(descriptor_, rest.data(), rest.size(), at);
    if (written < 0 && errno == EINTR) continue;
    require(written > 0, "{}: {}", path_.string(), std::strerror(errno));
    rest = rest.subspan(static_cast<std::size_t>(written));
    at += written;
  }
  if (slot + 1 == kBlockSamples) add_block(subtask, kBlockSamples, sums);
}

void HsicBlocks::finish(ProbeSums& sums) const {
  for (std::size_t g = 0; g < sums.count.size(); ++g) {
    const std::int64_t rest = sums.count[g] % kBlockSamples;
    if (rest >= kFewestSamples) add_block(static_cast<std::int64_t>(g), rest, sums);
  }
}

void HsicBlocks::sync() const {
  require(fdatasync(descriptor_) == 0, "{}: {}", path_.string(), std::strerror(errno));
}

void HsicBlocks::add_block(std::int64_t subtask, std::int64_t samples, ProbeSums& sums) const {
  const auto pooled = at::empty({samples, 2, hidden_size_}, at::kFloat);
  const auto row_bytes = static_cast<std::size_t>(2 * hidden_size_) * sizeof(float);
  for (std::int64_t layer = 0; layer < layers_; ++layer) {
    auto* to = pooled.mutable_data_ptr<float>();
    for (std::int64_t slot = 0; slot < samples; ++slot, to += 2 * hidden_size_) {
      const ssize_t found = pread(descriptor_, to, row_bytes, offset(subtask, slot, layer));
      require(found == static_cast<ssize_t>(row_bytes), "{}: truncated at sample {} of subtask {}",
              path_.string(), slot, subtask);
    }
    const auto x = kernel_of(pooled.select(1, 0));
    const auto y = kernel_of(pooled.select(1, 1));
    const auto place = static_cast<std::size_t>(subtask * layers_ + layer);
    const auto weight = static_cast<double>(samples);
    sums.hsic_xy[place] += weight * hsic_of(x, y);
    sums.hsic_xx[place] += weight * hsic_of(x, x);
    sums.hsic_yy[place] += weight * hsic_of(y, y);
  }
}

}  // namespace espalier
