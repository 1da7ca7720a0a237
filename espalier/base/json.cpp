// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxNesting = 100;

/// An iterator that tells where the parser is; nlohmann's events do not.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** latest;

  reference operator*() const { return *at; }
  Cursor& operator++() {
    *latest = ++at;
    return *this;
  }
  Cursor operator++(int) {
    const Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at == other.at; }
  bool operator!=(const Cursor& other) const { return at != other.at; }
};

/// Builds the document from nlohmann's events, refusing what nlohmann lets pass.
class StrictBuilder final : public nlohmann::json_sax<json> {
 public:
  StrictBuilder(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  json build() {
    const std::size_t nul = text_.find('\0');
    // nlohmann takes a NUL for the end of the text.
    if (nul != std::string_view::npos) refuse(nul, "a NUL byte");
    latest_ = text_.data();
    const char* const end = text_.data() + text_.size();
    json::sax_parse(Cursor{text_.data(), &latest_}, Cursor{end, &latest_}, this);
    return std::move(root_);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [place, inserted] = open_.back()->get_ref<json::object_t&>().emplace(name, nullptr);
    if (!inserted) refuse(here(), fmt::format("the key \"{}\" is there twice", name));
    value_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." -> "..."
    std::string reason = error.what();
    const std::size_t column = reason.find("column ");
    const std::size_t start = reason.find(": ", column == std::string::npos ? 0 : column);
    if (start != std::string::npos) reason = reason.substr(start + 2);
    refuse(position == 0 ? here() : position - 1, reason);
  }

 private:
  [[nodiscard]] std::size_t here() const {
    const auto read = static_cast<std::size_t>(latest_ - text_.data());
    return read == 0 ? 0 : read - 1;
  }

  [[noreturn]] void refuse(std::size_t offset, std::string_view reason) const {
    const std::string_view before = text_.substr(0, std::min(offset, text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    throw InputError(fmt::format("{}: line {}, column {}: {}", source_, line,
                                 before.size() - line_start + 1, reason));
  }

  json* place(json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& list = open_.back()->get_ref<json::array_t&>();
      list.push_back(std::move(value));
      return &list.back();
    }
    *value_ = std::move(value);
    return value_;
  }

  bool add(json&& value) {
    place(std::move(value));
    return true;
  }

  bool open(json&& container) {
    if (open_.size() == kMaxNesting) {
      refuse(here(), fmt::format("nested deeper than {} levels", kMaxNesting));
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  std::string_view source_;
  const char* latest_ = nullptr;
  json root_;
  std::vector<json*> open_;  // the containers around the next value; a parent does not move
  json* value_ = nullptr;    // where the value of the last key goes
};

/// A value as it is shown in an error: short, whatever the file holds.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 80;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

[[noreturn]] void refuse(const std::string& place, std::string_view key, std::string_view wanted,
                         const json& found) {
  throw InputError(fmt::format("{}: {}: wanted {}, found {}", place, key, wanted, shown(found)));
}

bool is_int64(const json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() ||
         value.get<std::uint64_t>() <=
             static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

template <typename Number>
std::vector<Number> list_of(const JsonObject& object, std::string_view key, std::string_view wanted,
                            bool (*fits)(const json&)) {
  const json& value = object.at(key);
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), fits)) {
    refuse(object.place(), key, wanted, value);
  }
  return value.get<std::vector<Number>>();
}

}  // namespace

json parse_json(std::string_view text, std::string_view source) {
  return StrictBuilder(text, source).build();
}

json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

std::string differing_keys(const nlohmann::json& first, const nlohmann::json& second) {
  std::string keys;
  for (const auto& [key, value] : first.items()) {
    if (!second.contains(key) || second[key] != value) keys += (keys.empty() ? "" : ", ") + key;
  }
  return keys;
}

JsonObject::JsonObject(const json& value, std::string place)
    : value_(&value), place_(std::move(place)) {
  require(value.is_object(), "{}: wanted an object, found {}", place_, shown(value));
}

bool JsonObject::has(std::string_view key) const {
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

const json& JsonObject::at(std::string_view key) const {
  const auto found = value_->find(key);
  require(found != value_->end(), "{}: the key \"{}\" is missing", place_, key);
  read_.emplace(key);
  return *found;
}

JsonObject JsonObject::object(std::string_view key) const {
  return {at(key), fmt::format("{}: {}", place_, key)};
}

std::int64_t JsonObject::integer(std::string_view key) const {
  const json& value = at(key);
  if (!is_int64(value)) refuse(place_, key, "an integer", value);
  return value.get<std::int64_t>();
}

double JsonObject::number(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_number()) refuse(place_, key, "a number", value);
  return value.get<double>();
}

bool JsonObject::boolean(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_boolean()) refuse(place_, key, "true or false", value);
  return value.get<bool>();
}

std::string JsonObject::string(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_string()) refuse(place_, key, "a text", value);
  return value.get<std::string>();
}

std::vector<std::int64_t> JsonObject::integers(std::string_view key) const {
  return list_of<std::int64_t>(*this, key, "a list of integers", is_int64);
}

std::vector<double> JsonObject::numbers(std::string_view key) const {
  return list_of<double>(*this, key, "a list of numbers",
                         [](const json& value) { return value.is_number(); });
}

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  const json& list = at(key);
  if (!list.is_array()) refuse(place_, key, "a list", list);
  std::vector<JsonObject> elements;
  for (std::size_t i = 0; i < list.size(); ++i) {
    elements.emplace_back(list[i], fmt::format("{}: {}[{}]", place_, key, i));
  }
  return elements;
}

void JsonObject::ignore(std::initializer_list<std::string_view> keys) const {
  read_.insert(keys.begin(), keys.end());
}

void JsonObject::refuse_unread() const {
  std::string unread;
  for (const auto& item : value_->items()) {
    if (item.value().is_null() || read_.contains(item.key())) continue;
    unread += fmt::format("{}\"{}\"", unread.empty() ? "" : ", ", item.key());
  }
  require(unread.empty(), "{}: unknown keys, which may change the computation: {}", place_, unread);
}

}  // namespace espalier
