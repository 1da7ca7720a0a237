// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace espalier {

std::string human_seconds(double seconds) {
  const auto whole = static_cast<long>(std::lround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

ProgressLine::ProgressLine(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (open_) std::fputc('\n', stderr);
}

void ProgressLine::show(const std::string& text, bool last) {
  using std::chrono::steady_clock;
  if (quiet_) return;
  const auto now = steady_clock::now();
  const auto pause = std::chrono::milliseconds(terminal_ ? 100 : 10'000);
  if (!last && shown_ && now - *shown_ < pause) return;
  shown_ = now;
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
    open_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

}  // namespace espalier
