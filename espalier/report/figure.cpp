// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/figure.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace espalier {

namespace {

/// An upper estimate of the width of one code point that begins with this byte, of the text's size.
double advance(unsigned char byte) {
  constexpr std::string_view kNarrow = "iljI.,:;'|! ";
  constexpr std::string_view kSlim = "tfr()[]/-";
  constexpr std::string_view kWide = "mwMWOQGD@%&+=<>#~";
  const auto is_of = [&](std::string_view set) {
    return set.find(static_cast<char>(byte)) != std::string_view::npos;
  };
  if ((byte & 0xC0) == 0x80) return 0.0;  // goes on with the code point before
  if (byte >= 0xE3) return 1.0;           // perhaps an ideograph
  if (is_of(kNarrow)) return 0.34;
  if (is_of(kSlim)) return 0.42;
  return is_of(kWide) ? 0.95 : 0.64;
}

}  // namespace

std::span<const std::string_view> viridis() {
  static constexpr std::array<std::string_view, 9> kColours = {"#440154", "#472d7b", "#3b528b",
                                                               "#2c728e", "#21918c", "#28ae80",
                                                               "#5ec962", "#addc30", "#fde725"};
  return kColours;
}

std::span<const std::string_view> removal_shades() {
  static constexpr std::array<std::string_view, 5> kColours = {"#e3e6e9", "#b2bfcd", "#8199b1",
                                                               "#507395", "#1f4e79"};
  return kColours;
}

std::string palette_command(std::span<const std::string_view> colours) {
  std::string stops;
  for (std::size_t i = 0; i < colours.size(); ++i) {
    stops += fmt::format("{}{} '{}'", i == 0 ? "" : ", ", i, colours[i]);
  }
  return fmt::format("set palette defined ({})\n", stops);
}

std::string gnuplot_string(std::string_view text) {
  std::string result = "'";
  for (const char byte : text) {
    if (byte == '\'') {
      result += "’";
    } else {
      result += static_cast<unsigned char>(byte) < 0x20 || byte == 0x7F ? ' ' : byte;
    }
  }
  return result + "'";
}

double text_width(std::string_view text, double size) {
  double width = 0.0;
  for (const char byte : text) width += advance(static_cast<unsigned char>(byte));
  return width * size;
}

std::string shortened(std::string_view text, double width, double size) {
  std::string head(text);
  std::string tail;
  const auto drop_last = [](std::string& from) {
    while (!from.empty() && (static_cast<unsigned char>(from.back()) & 0xC0) == 0x80) {
      from.pop_back();
    }
    if (!from.empty()) from.pop_back();
  };
  const auto drop_first = [](std::string& from) {
    do {
      from.erase(0, 1);
    } while (!from.empty() && (static_cast<unsigned char>(from.front()) & 0xC0) == 0x80);
  };
  if (text_width(text, size) <= width) return head;
  tail = head;
  while (text_width(head, size) > width / 2) drop_last(head);
  while (!tail.empty() && text_width(fmt::format("{}…{}", head, tail), size) > width)
    drop_first(tail);
  return head + "…" + tail;
}

std::string margin_commands(const Figure& figure, const PlotArea& area) {
  return fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\n"
      "set tmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n",
      area.left / figure.width, area.right / figure.width, 1.0 - area.top / figure.height,
      1.0 - area.bottom / figure.height);
}

std::string label_command(const Figure& figure, const Label& label) {
  return fmt::format(
      "set label {} at screen {:.5f},{:.5f} {}{} font '{}{},{}' textcolor rgb '{}'\n",
      gnuplot_string(label.text), label.x / figure.width, 1.0 - label.y / figure.height,
      label.align, label.upright ? " rotate by 90" : "", "DejaVu Sans", label.bold ? ":Bold" : "",
      label.size, label.colour);
}

std::int64_t layer_step(std::int64_t layers, double width) {
  // A label of two digits and the space beside it.
  const double label = 2.2 * kTextSize;
  for (std::int64_t decade = 1;; decade *= 10) {
    for (const std::int64_t factor : {1, 2, 5}) {
      const std::int64_t step = factor * decade;
      if (static_cast<double>(step) * width /
              static_cast<double>(std::max<std::int64_t>(layers, 1)) >=
          label) {
        return step;
      }
    }
  }
}

std::string layer_axis_commands(const Figure& figure, const PlotArea& area, std::int64_t layers) {
  return fmt::format(
             "set xrange [-0.5:{}.5]\nset xtics 0,{} scale 0 offset 0,0.5 textcolor rgb '{}'\n",
             layers - 1, layer_step(layers, area.right - area.left), kInk) +
         label_command(figure, {.text = "decoder layer",
                                .x = (area.left + area.right) / 2,
                                .y = area.bottom + 21.0,
                                .align = "center"});
}

double tic_step(double width, int most) {
  // The tolerance lets a width of 0.3 hold three steps of 0.1.
  const double least = width / most * (1 - 1e-9);
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) return factor * power;
  }
  return 10.0 * power;
}

std::string tic_list(double low, double high, double step, std::string_view before_first) {
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  std::string tics;
  const std::int64_t last = std::llround(std::floor(high / step + 1e-9));
  for (std::int64_t i = std::llround(std::ceil(low / step - 1e-9)); i <= last; ++i) {
    const std::string number = fmt::format("{:.{}f}", static_cast<double>(i) * step, decimals);
    tics += tics.empty() ? fmt::format("'{}{}' {}", before_first, number, number)
                         : fmt::format(", '{}' {}", number, number);
  }
  return fmt::format("({})", tics);
}

std::string axis_commands(char axis, std::span<const double> values, int most_tics) {
  const auto [least, most] = std::ranges::minmax(values);
  const double room = most > least ? 0.1 * (most - least) : 0.5;
  const double low = least - room;
  const double high = most + room;
  return fmt::format("set {0}range [{1}:{2}]\nset {0}tics {3} scale 0.4 offset {4} font ',{5}'\n",
                     axis, low, high, tic_list(low, high, tic_step(high - low, most_tics)),
                     axis == 'x' ? "0,0.5" : "0.5,0", kSmallTextSize);
}

std::string layer_list(std::span<const std::int64_t> layers) {
  return layers.empty() ? "none" : fmt::format("{}", fmt::join(layers, ", "));
}

std::string percent(double share) {
  const double rounded = std::round(100.0 * share);
  if (rounded <= 0.0 && share > 0.0) return "<1%";
  if (rounded >= 100.0 && share < 1.0) return ">99%";
  return fmt::format("{:.0f}%", rounded);
}

}  // namespace espalier
