// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// Parses a JSON text strictly: UTF-8, no comments, no duplicate keys, nesting of at most 100.
///
/// \param source       what to call it in errors, e.g. a file's path
/// \throws InputError  naming source, line and column, and what is wrong there
nlohmann::json parse_json(std::string_view text, std::string_view source);

/// Reads and parses a file; its path is the source.
nlohmann::json read_json(const std::filesystem::path& path);

/// The keys in which two objects differ, "a, b"; empty where they are equal.
std::string differing_keys(const nlohmann::json& first, const nlohmann::json& second);

/// A JSON object that is read key by key: it knows its place for errors, and at the end it can
/// say which keys nobody asked for. Holds pointers only; the json must outlive it.
class JsonObject {
 public:
  /// \param place        e.g. "config.json: text_config"
  /// \throws InputError  if `value` is not an object
  JsonObject(const nlohmann::json& value, std::string place);

  [[nodiscard]] bool has(std::string_view key) const;  ///< present, and not null
  /// The value as it stands; marks the key as read. \throws InputError if it is missing
  [[nodiscard]] const nlohmann::json& at(std::string_view key) const;
  [[nodiscard]] JsonObject object(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] double number(std::string_view key) const;
  [[nodiscard]] bool boolean(std::string_view key) const;
  [[nodiscard]] std::string string(std::string_view key) const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key) const;
  [[nodiscard]] std::vector<double> numbers(std::string_view key) const;
  /// The elements of a list of objects; each knows its place, e.g. "probe.json: domains[0]".
  [[nodiscard]] std::vector<JsonObject> objects(std::string_view key) const;

  /// Marks keys that cannot matter to the computation as read.
  void ignore(std::initializer_list<std::string_view> keys) const;
  /// A key that is null says nothing and is let pass.
  /// \throws InputError naming the keys that nobody has read or ignored
  void refuse_unread() const;
  [[nodiscard]] const std::string& place() const { return place_; }

 private:
  const nlohmann::json* value_;
  std::string place_;
  mutable std::set<std::string, std::less<>> read_;
};

}  // namespace espalier
