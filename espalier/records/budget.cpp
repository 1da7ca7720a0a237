// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/budget.h"

#include <algorithm>
#include <numeric>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr std::size_t kMostDigits = 9;  // so that no product below leaves 64 bits
constexpr std::string_view kLayers = " layers";
constexpr std::string_view kOneLayer = " layer";

/// The number that a text of one to nine digits is, or -1.
std::int64_t read_digits(std::string_view text) {
  if (text.empty() || text.size() > kMostDigits) return -1;
  std::int64_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return -1;
    number = 10 * number + (digit - '0');
  }
  return number;
}

Budget in_lowest_terms(std::int64_t numerator, std::int64_t denominator) {
  const std::int64_t divisor = std::gcd(numerator, denominator);
  return {numerator / divisor, denominator / divisor};
}

std::int64_t power_of_ten(std::size_t exponent) {
  std::int64_t power = 1;
  for (std::size_t i = 0; i < exponent; ++i) power *= 10;
  return power;
}

/// The fraction that "12.5" is; its denominator is 0 if the text is no decimal number.
Budget read_decimal(std::string_view text) {
  const std::size_t point = text.find('.');
  const std::int64_t whole = read_digits(text.substr(0, point));
  if (whole < 0 || point == std::string_view::npos) return {whole, whole < 0 ? 0 : 1};
  const std::string_view behind = text.substr(point + 1);
  const std::int64_t part = read_digits(behind);
  if (part < 0) return {0, 0};
  const std::int64_t denominator = power_of_ten(behind.size());
  return in_lowest_terms(whole * denominator + part, denominator);
}

/// A fraction of any size; its denominator is 0 if the text is none.
Budget read_fraction(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const std::int64_t numerator = read_digits(text.substr(0, slash));
    const std::int64_t denominator = read_digits(text.substr(slash + 1));
    if (numerator < 0 || denominator <= 0) return {0, 0};
    return in_lowest_terms(numerator, denominator);
  }
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  const Budget number = read_decimal(text);
  if (!percent || number.denominator == 0) return number;
  return in_lowest_terms(number.numerator, number.denominator * 100);
}

}  // namespace

Budget parse_budget(std::string_view text) {
  const Budget budget = read_fraction(text);
  require(
      budget.denominator > 0,
      "budget {}: wanted a share such as 25%, 0.25 or 1/4, or --remove K for a number of layers",
      text);
  require(0 < budget.numerator && budget.numerator < budget.denominator,
          "budget {}: wanted more than none and less than all of the prunable layers", text);
  return budget;
}

Budget layer_budget(std::int64_t layers) { return {layers, 0}; }

std::string to_string(const Budget& budget) {
  if (budget.denominator == 0) {
    return fmt::format("{}{}", budget.numerator, budget.numerator == 1 ? kOneLayer : kLayers);
  }
  const std::int64_t scale = power_of_ten(kMostDigits);
  const auto [numerator, denominator] = in_lowest_terms(budget.numerator, budget.denominator);
  if (scale * 100 % denominator != 0) return fmt::format("{}/{}", numerator, denominator);
  const std::int64_t percents = numerator * (scale * 100 / denominator);
  std::string decimals = fmt::format("{:09}", percents % scale);
  decimals.erase(decimals.find_last_not_of('0') + 1);
  return fmt::format("{}{}{}%", percents / scale, decimals.empty() ? "" : ".", decimals);
}

Budget budget_of(std::string_view text, std::string_view place) {
  for (const std::string_view unit : {kLayers, kOneLayer}) {
    if (!text.ends_with(unit)) continue;
    const std::int64_t layers = read_digits(text.substr(0, text.size() - unit.size()));
    require(layers > 0, "{}: wanted a number of layers, found {}", place, text);
    return layer_budget(layers);
  }
  try {
    return parse_budget(text);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", place, error.what()));
  }
}

std::int64_t layers_to_remove(const Budget& budget, std::int64_t prunable) {
  const std::int64_t k =
      budget.denominator == 0 ? budget.numerator : budget.numerator * prunable / budget.denominator;
  require(k > 0,
          "budget {}: removes none of {} prunable layers; the smallest that removes one is "
          "1/{}",
          to_string(budget), prunable, std::max<std::int64_t>(prunable, 1));
  require(k <= prunable, "budget {}: only {} layers are prunable; ask for fewer, or protect fewer",
          to_string(budget), prunable);
  return k;
}

}  // namespace espalier
