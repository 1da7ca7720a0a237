// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string parse_error(std::string_view text) {
  return input_error([&] { parse_json(text, "f.json"); });
}

TEST(ParseJson, BuildsTheSameDocumentAsTheLibrary) {
  const std::string text =
      R"( {"a": [1, -2, 3.5, 1e300, true, false, null, "x\u00e9\n", [], {}, [[{"b": [{}]}]]],
           "": {"deep": {"er": [18446744073709551615, -9223372036854775808]}}, "z": "日本"} )";
  EXPECT_EQ(parse_json(text, "f.json"), json::parse(text));
  for (const char* scalar : {"1", "\"s\"", "null", " true ", "[]"}) {
    EXPECT_EQ(parse_json(scalar, "f.json"), json::parse(scalar));
  }
}

TEST(ParseJson, RefusesADuplicateKeyAndSaysWhere) {
  EXPECT_THAT(parse_error("{\"a\": 1,\n  \"b\": {\"c\": 1, \"c\": 2}}"),
              AllOf(StartsWith("f.json: line 2, column 1"), HasSubstr("\"c\" is there twice")));
  EXPECT_EQ(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "f.json").size(), 2U);
}

TEST(ParseJson, NamesLineAndColumnOfASyntaxError) {
  EXPECT_THAT(parse_error("{\n  \"a\": ?\n}"),
              AllOf(StartsWith("f.json: line 2, column 8: syntax error"), Not(HasSubstr("json."))));
  EXPECT_THAT(parse_error(""), StartsWith("f.json: line 1, column 1: "));
  EXPECT_THAT(parse_error("[1, 2"), StartsWith("f.json: line 1, column "));
}

TEST(ParseJson, RefusesWhatIsNotStrictJson) {
  for (const char* text : {"[1,]",
                           "{\"a\":1,}",
                           "// c\n1",
                           "/* c */ 1",
                           "1 2",
                           "{} x",
                           "'a'",
                           "{a: 1}",
                           "NaN",
                           "Infinity",
                           "-",
                           "01",
                           "1.",
                           "[1",
                           "\"a",
                           "\"\t\"",
                           "\"\\x\"",
                           "\"\\ud800\"",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "1e999",
                           "tru"}) {
    EXPECT_THAT(parse_error(text), StartsWith("f.json: line ")) << text;
  }
}

TEST(ParseJson, RefusesANulByteRatherThanStoppingThere) {
  using namespace std::string_view_literals;
  EXPECT_THAT(parse_error("{}\n\0{}"sv), AllOf(HasSubstr("line 2, column 1"), HasSubstr("NUL")));
}

TEST(ParseJson, TakesAHundredLevelsAndRefusesMore) {
  const auto nested = [](int levels) {
    return std::string(static_cast<std::size_t>(levels), '[') +
           std::string(static_cast<std::size_t>(levels), ']');
  };
  EXPECT_TRUE(parse_json(nested(100), "f.json").is_array());
  EXPECT_THAT(parse_error(nested(101)),
              AllOf(HasSubstr("line 1, column 101"), HasSubstr("nested deeper than 100 levels")));
  EXPECT_THAT(parse_error(nested(1'000'000)), HasSubstr("nested deeper"));
}

TEST(ReadJson, NamesTheFile) {
  const test::TemporaryDirectory folder;
  write_quickly(folder / "f.json", "[1");
  EXPECT_THAT(input_error([&] { read_json(folder / "f.json"); }),
              StartsWith((folder / "f.json").string() + ": line 1"));
  EXPECT_THAT(input_error([&] { read_json(folder / "none"); }), HasSubstr("No such file"));
}

TEST(JsonObject, ReadsEveryKindOfValue) {
  const json value = json::parse(
      R"({"i": -3, "n": 1.5, "b": true, "s": "x", "is": [1, 2], "ns": [1, 2.5], "o": {"k": 1}})");
  const JsonObject object(value, "f.json");
  EXPECT_EQ(object.integer("i"), -3);
  EXPECT_EQ(object.number("n"), 1.5);
  EXPECT_EQ(object.number("i"), -3.0);
  EXPECT_TRUE(object.boolean("b"));
  EXPECT_EQ(object.string("s"), "x");
  EXPECT_EQ(object.integers("is"), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(object.numbers("ns"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(object.object("o").integer("k"), 1);
  EXPECT_EQ(object.object("o").place(), "f.json: o");
  object.refuse_unread();
}

TEST(JsonObject, RefusesOtherKindsAndNamesPlaceWantedAndFound) {
  const json value = json::parse(
      R"({"f": 1.0, "big": 9223372036854775808, "s": "x", "l": [1, "x"], "null": null, "t": true})");
  const JsonObject object(value, "f.json");
  EXPECT_EQ(input_error([&] { static_cast<void>(object.integer("f")); }),
            "f.json: f: wanted an integer, found 1.0");
  EXPECT_THAT(input_error([&] { static_cast<void>(object.integer("big")); }),
              HasSubstr("wanted an integer, found 9223372036854775808"));
  EXPECT_THAT(input_error([&] { static_cast<void>(object.number("t")); }),
              HasSubstr("t: wanted a number, found true"));
  EXPECT_THAT(input_error([&] { static_cast<void>(object.boolean("s")); }),
              HasSubstr("s: wanted true or false, found \"x\""));
  EXPECT_THAT(input_error([&] { static_cast<void>(object.string("null")); }),
              HasSubstr("null: wanted a text, found null"));
  EXPECT_THAT(input_error([&] { static_cast<void>(object.integers("l")); }),
              HasSubstr("l: wanted a list of integers, found [1,\"x\"]"));
  EXPECT_THAT(input_error([&] { static_cast<void>(object.numbers("s")); }),
              HasSubstr("s: wanted a list of numbers, found \"x\""));
  EXPECT_EQ(input_error([&] { static_cast<void>(object.integer("none")); }),
            "f.json: the key \"none\" is missing");
  EXPECT_EQ(input_error([&] { static_cast<void>(object.object("s")); }),
            "f.json: s: wanted an object, found \"x\"");
}

TEST(JsonObject, ShowsOnlyTheStartOfALongValue) {
  const json value = {{"s", std::string(10'000, 'x')}};
  EXPECT_LT(
      input_error([&] { static_cast<void>(JsonObject(value, "f.json").integer("s")); }).size(),
      200U);
}

TEST(JsonObject, NamesTheKeysThatNobodyRead) {
  const json value = json::parse(R"({"read": 1, "ignored": 2, "null": null, "x": 3, "y": 4})");
  const JsonObject object(value, "f.json");
  static_cast<void>(object.integer("read"));
  object.ignore({"ignored", "absent"});
  EXPECT_THAT(input_error([&] { object.refuse_unread(); }),
              AllOf(StartsWith("f.json: unknown keys"), HasSubstr("\"x\", \"y\""),
                    Not(HasSubstr("read\"")), Not(HasSubstr("\"null\""))));
  EXPECT_TRUE(object.has("x"));
  EXPECT_FALSE(object.has("null"));
  EXPECT_FALSE(object.has("none"));
}

TEST(JsonObject, GivesTheObjectsOfAListWithTheirPlaces) {
  const json value =
      json::parse(R"({"list": [{"a": 1}, {"a": "x"}], "mixed": [{}, 1], "one": {}})");
  const JsonObject object(value, "f.json");
  const auto elements = object.objects("list");
  ASSERT_EQ(elements.size(), 2U);
  EXPECT_EQ(elements[0].integer("a"), 1);
  EXPECT_THAT(input_error([&] { (void)elements[1].integer("a"); }),
              StartsWith("f.json: list[1]: a: wanted an integer"));
  EXPECT_THAT(input_error([&] { (void)object.objects("mixed"); }), StartsWith("f.json: mixed[1]"));
  EXPECT_THAT(input_error([&] { (void)object.objects("one"); }), HasSubstr("one: wanted a list"));
}

}  // namespace
}  // namespace espalier
