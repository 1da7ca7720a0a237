// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/outline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace espalier {

namespace {

template <typename Change>
Outline with_points(Outline outline, const Change& change) {
  for (OutlineStep& step : outline) {
    for (std::size_t i = 0; i < point_count(step.kind); ++i)
      step.points[i] = change(step.points[i]);
  }
  return outline;
}

}  // namespace

std::size_t point_count(OutlineStep::Kind kind) {
  switch (kind) {
    case OutlineStep::Kind::Move:
    case OutlineStep::Kind::Line:
      return 1;
    case OutlineStep::Kind::Curve:
      return 3;
    case OutlineStep::Kind::Close:
      return 0;
  }
  return 0;
}

Box bounds_of(const Outline& outline) {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  Box box{.left = kFar, .top = kFar, .right = -kFar, .bottom = -kFar};
  for (const OutlineStep& step : outline) {
    for (std::size_t i = 0; i < point_count(step.kind); ++i) {
      box.left = std::min(box.left, step.points[i].x);
      box.right = std::max(box.right, step.points[i].x);
      box.top = std::min(box.top, step.points[i].y);
      box.bottom = std::max(box.bottom, step.points[i].y);
    }
  }
  return box;
}

Outline rotated(Outline outline, double degrees) {
  const double angle = degrees * std::numbers::pi / 180.0;
  const double cosine = std::cos(angle);
  const double sine = std::sin(angle);
  return with_points(std::move(outline), [=](Point p) {
    return Point{.x = cosine * p.x - sine * p.y, .y = sine * p.x + cosine * p.y};
  });
}

Outline scaled_and_moved(Outline outline, double factor, Point by) {
  return with_points(std::move(outline), [=](Point p) {
    return Point{.x = factor * p.x + by.x, .y = factor * p.y + by.y};
  });
}

void add_box(Outline& outline, const Box& box) {
  using Kind = OutlineStep::Kind;
  outline.push_back({.kind = Kind::Move, .points = {{{box.left, box.top}}}});
  outline.push_back({.kind = Kind::Line, .points = {{{box.right, box.top}}}});
  outline.push_back({.kind = Kind::Line, .points = {{{box.right, box.bottom}}}});
  outline.push_back({.kind = Kind::Line, .points = {{{box.left, box.bottom}}}});
  outline.push_back({.kind = Kind::Close});
}

}  // namespace espalier
