// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <vector>

namespace espalier {

/// A point; y grows downward.
struct Point {
  double x;
  double y;
  bool operator==(const Point&) const = default;
};

/// A step of an outline: to where, and for a curve by which two control points.
struct OutlineStep {
  enum class Kind { Move, Line, Curve, Close };
  Kind kind;
  std::array<Point, 3> points;  ///< one of a move or line, three of a curve, none of a close
  bool operator==(const OutlineStep&) const = default;
};

/// The edge of an area, as steps; by the nonzero rule.
using Outline = std::vector<OutlineStep>;

/// A rectangle along the axes.
struct Box {
  double left;
  double top;
  double right;
  double bottom;
};

/// The number of points that a step has.
std::size_t point_count(OutlineStep::Kind kind);

/// The smallest box around all points, those that control curves included. The outline has some.
Box bounds_of(const Outline& outline);

/// Turns by an angle around the origin, clockwise on the screen.
Outline rotated(Outline outline, double degrees);

/// Multiplies by a factor, then moves.
Outline scaled_and_moved(Outline outline, double factor, Point by);

/// Adds a rectangle to an outline.
void add_box(Outline& outline, const Box& box);

}  // namespace espalier
