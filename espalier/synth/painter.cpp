// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/painter.h"

#include <cairo.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>
#include <new>
#include <numbers>
#include <tuple>

#include "espalier/base/error.h"
#include "espalier/synth/outline.h"

namespace espalier {

namespace {

constexpr double kMarginPixels = 2.0;

/// A picture under cairo's pen, in units of scale 1.
class Canvas {
 public:
  Canvas(Size size, int scale)
      : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, size.width * scale,
                                            size.height * scale)),
        pen_(cairo_create(surface_)) {
    cairo_scale(pen_, scale, scale);
    cairo_set_antialias(pen_, CAIRO_ANTIALIAS_GRAY);
  }
  ~Canvas() {
    cairo_destroy(pen_);
    cairo_surface_destroy(surface_);
  }
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  [[nodiscard]] cairo_t* pen() const { return pen_; }

  /// The pixels; the pen has done its work.
  [[nodiscard]] Image image() const {
    if (cairo_status(pen_) != CAIRO_STATUS_SUCCESS) throw std::bad_alloc();
    cairo_surface_flush(surface_);
    Image image{.width = cairo_image_surface_get_width(surface_),
                .height = cairo_image_surface_get_height(surface_)};
    image.rgb.resize(static_cast<std::size_t>(image.width) *
                     static_cast<std::size_t>(image.height) * 3);
    const unsigned char* row = cairo_image_surface_get_data(surface_);
    std::uint8_t* to = image.rgb.data();
    for (int y = 0; y < image.height; ++y, row += cairo_image_surface_get_stride(surface_)) {
      const auto* pixels = reinterpret_cast<const std::uint32_t*>(row);
      for (int x = 0; x < image.width; ++x) {
        for (const int shift : {16, 8, 0}) *to++ = static_cast<std::uint8_t>(pixels[x] >> shift);
      }
    }
    return image;
  }

 private:
  cairo_surface_t* surface_;
  cairo_t* pen_;
};

void set_colour(cairo_t* pen, const Colour& colour) {
  cairo_set_source_rgb(pen, colour.red, colour.green, colour.blue);
}

void fill(cairo_t* pen, const Outline& outline) {
  for (const auto& [kind, p] : outline) {
    switch (kind) {
      case OutlineStep::Kind::Move:
        cairo_move_to(pen, p[0].x, p[0].y);
        break;
      case OutlineStep::Kind::Line:
        cairo_line_to(pen, p[0].x, p[0].y);
        break;
      case OutlineStep::Kind::Curve:
        cairo_curve_to(pen, p[0].x, p[0].y, p[1].x, p[1].y, p[2].x, p[2].y);
        break;
      case OutlineStep::Kind::Close:
        cairo_close_path(pen);
        break;
    }
  }
  cairo_fill(pen);
}

/// A sign of ASCII as it is printed.
std::string in_print(char sign) {
  if (sign == '-') return "\u2212";
  if (sign == '*') return "\u00d7";
  return {sign};
}

/// Adds a text whose middle is at a point, at most so wide.
void add_text(Outline& outline, Outline text, Point middle, double em, double most_wide) {
  const Box box = bounds_of(text);
  const double factor = std::min(em, most_wide / (box.right - box.left));
  const Point by{.x = middle.x - factor * (box.left + box.right) / 2.0,
                 .y = middle.y - factor * (box.top + box.bottom) / 2.0};
  const Outline moved = scaled_and_moved(std::move(text), factor, by);
  outline.insert(outline.end(), moved.begin(), moved.end());
}

/// Two rows of two cells in a frame, and below what is to be added up; in units of the em.
Outline outline_of_table(const Problem& problem, std::size_t face, const Typesetter& typesetter) {
  constexpr double kWide = 1.7;
  constexpr double kHigh = 1.1;
  constexpr double kLine = 0.07;
  Outline outline;
  for (int i = 0; i <= 2; ++i) {
    add_box(outline, {.left = i * kWide - kLine / 2.0,
                      .top = -kLine / 2.0,
                      .right = i * kWide + kLine / 2.0,
                      .bottom = 2.0 * kHigh + kLine / 2.0});
    add_box(outline, {.left = 0.0,
                      .top = i * kHigh - kLine / 2.0,
                      .right = 2.0 * kWide,
                      .bottom = i * kHigh + kLine / 2.0});
  }
  for (int cell = 0; cell < 4; ++cell) {
    const int row = cell / 2;
    const Point middle{.x = (cell % 2 + 0.5) * kWide, .y = (row + 0.5) * kHigh};
    const int number = problem.numbers.at(static_cast<std::size_t>(cell));
    add_text(outline, typesetter.set(face, std::to_string(number)), middle, 1.0, kWide);
  }
  add_text(outline, typesetter.set(face, "sum " + problem.form),
           {.x = kWide, .y = 2.0 * kHigh + 0.55}, 0.85, 2.0 * kWide);
  return outline;
}

/// With spaces around the signs only where it stays as large as asked: small text is hard to read.
Outline outline_of_line(const Problem& problem, ProblemStyle style, const Typesetter& typesetter,
                        Size size) {
  Outline wide = typesetter.set(style.face, drawn_text(problem, style));
  const Box box = bounds_of(wide);
  if (style.em_pixels * (box.right - box.left) <= size.width - 2.0 * kMarginPixels) return wide;
  style.spaces = false;
  return typesetter.set(style.face, drawn_text(problem, style));
}

/// Turns, and makes it as large as asked or as large as it fits, somewhere in the picture.
Outline placed(Outline outline, const ProblemStyle& style, Size size) {
  outline = rotated(std::move(outline), style.degrees);
  const Box box = bounds_of(outline);
  const double room_x = size.width - 2.0 * kMarginPixels;
  const double room_y = size.height - 2.0 * kMarginPixels;
  const double wide = box.right - box.left;
  const double high = box.bottom - box.top;
  const double factor = std::min({style.em_pixels, room_x / wide, room_y / high});
  const Point by{.x = kMarginPixels + style.x * (room_x - factor * wide) - factor * box.left,
                 .y = kMarginPixels + style.y * (room_y - factor * high) - factor * box.top};
  return scaled_and_moved(std::move(outline), factor, by);
}

/// A regular shape around a middle, its first corner on top.
void add_polygon(cairo_t* pen, Point middle, double radius, int corners) {
  for (int i = 0; i < corners; ++i) {
    const double angle = 2.0 * std::numbers::pi * i / corners;
    cairo_line_to(pen, middle.x + radius * std::sin(angle), middle.y - radius * std::cos(angle));
  }
  cairo_close_path(pen);
}

void draw_object(cairo_t* pen, const SceneObject& object) {
  const double picture = kSceneSize.width;
  const Point middle{.x = object.x * picture, .y = object.y * picture};
  const double radius = radius_of(object) * picture;
  const double side = std::sqrt(object.area) * picture;  // of a square of that area
  const std::string_view shape = kShapes.at(object.shape).one;
  if (shape == "circle") {
    cairo_arc(pen, middle.x, middle.y, radius, 0.0, 2.0 * std::numbers::pi);
  } else if (shape == "square") {
    cairo_rectangle(pen, middle.x - side / 2.0, middle.y - side / 2.0, side, side);
  } else if (shape == "triangle") {
    add_polygon(pen, middle, radius, 3);
  } else {
    const double arm = side / std::sqrt(5.0);
    cairo_rectangle(pen, middle.x - 1.5 * arm, middle.y - 0.5 * arm, 3.0 * arm, arm);
    cairo_rectangle(pen, middle.x - 0.5 * arm, middle.y - 1.5 * arm, arm, 3.0 * arm);
  }
  cairo_fill(pen);
}

void paint_background(cairo_t* pen, const SceneStyle& style) {
  const double middle = kSceneSize.width / 2.0;
  const double x = middle * std::cos(style.direction);
  const double y = middle * std::sin(style.direction);
  cairo_pattern_t* pattern =
      cairo_pattern_create_linear(middle - x, middle - y, middle + x, middle + y);
  const auto& [from, to] = std::tie(style.background_from, style.background_to);
  cairo_pattern_add_color_stop_rgb(pattern, 0.0, from.red, from.green, from.blue);
  cairo_pattern_add_color_stop_rgb(pattern, 1.0, to.red, to.green, to.blue);
  cairo_set_source(pen, pattern);
  cairo_paint(pen);
  cairo_pattern_destroy(pattern);
}

}  // namespace

Size picture_size(ProblemKind kind) {
  if (kind == ProblemKind::Table) return {.width = 64, .height = 64};
  return {.width = 128, .height = 32};
}

std::string drawn_text(const Problem& problem, const ProblemStyle& style) {
  const bool comparison = problem.kind == ProblemKind::Comparison;
  const bool equation = problem.kind == ProblemKind::Unknown;
  std::string expression = expression_of(problem);
  if (!comparison && !equation) expression += style.ending;
  if (const auto factor = expression.find("*x"); factor != std::string::npos) {
    expression.erase(factor, 1);
  }
  // Without its spaces "37?52" would not be read as a comparison.
  const std::string_view space = style.spaces || comparison ? " " : "";
  std::string text;
  for (const char sign : expression) {
    const bool joins = std::string_view("+-*=").find(sign) != std::string_view::npos;
    const std::string_view around = joins || (comparison && sign == '?') ? space : "";
    text += around;
    text += in_print(sign);
    text += around;
  }
  return text;
}

Image draw(const Problem& problem, const ProblemStyle& style, const Typesetter& typesetter,
           int scale) {
  const Size size = picture_size(problem.kind);
  const Outline outline = problem.kind == ProblemKind::Table
                              ? outline_of_table(problem, style.face, typesetter)
                              : outline_of_line(problem, style, typesetter, size);
  const Canvas canvas(size, scale);
  set_colour(canvas.pen(), style.paper);
  cairo_paint(canvas.pen());
  set_colour(canvas.pen(), style.ink);
  fill(canvas.pen(), placed(outline, style, size));
  return canvas.image();
}

Image draw(const Scene& scene, const SceneStyle& style, int scale) {
  const Canvas canvas(kSceneSize, scale);
  paint_background(canvas.pen(), style);
  for (std::size_t i = 0; i < scene.objects.size(); ++i) {
    set_colour(canvas.pen(), style.objects.at(i));
    draw_object(canvas.pen(), scene.objects[i]);
  }
  return canvas.image();
}

void add_noise(Image& image, double deviation, Random& random) {
  std::array<int, 65> by_heads{};  // what 0 to 64 heads add
  for (int heads = 0; heads <= 64; ++heads) {
    by_heads[static_cast<std::size_t>(heads)] =
        static_cast<int>(std::lround((heads - 32) * deviation / 4.0));
  }
  for (std::uint8_t& channel : image.rgb) {
    const auto heads = static_cast<std::size_t>(std::popcount(random.next()));
    channel = static_cast<std::uint8_t>(std::clamp(channel + by_heads[heads], 0, 255));
  }
}

}  // namespace espalier
