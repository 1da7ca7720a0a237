// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/conversations.h"

#include <gmock/gmock.h>

#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Role = Message::Role;

/// A folder with pictures a.png and b.png, and a file of these rows.
class Rows {
 public:
  explicit Rows(std::string_view lines) {
    write_quickly(folder_ / "a.png", "x");
    write_quickly(folder_ / "b.png", "x");
    write_quickly(folder_ / "rows.jsonl", lines);
  }

  [[nodiscard]] std::vector<Conversation> read(const ConversationOptions& options = {}) const {
    return read_conversations(folder_ / "rows.jsonl", options);
  }
  [[nodiscard]] fs::path path(const std::string& name) const { return folder_ / name; }

 private:
  TemporaryDirectory folder_;
};

Conversation read_one(std::string_view line) {
  const auto all = Rows(line).read();
  EXPECT_EQ(all.size(), 1U);
  return all.at(0);
}

/// The error of a file whose second row is this one.
std::string error_of(const std::string& row) {
  const Rows rows(R"({"messages": [{"role": "assistant", "content": "fine"}]})"
                  "\n" +
                  row);
  std::string error = input_error([&] { (void)rows.read(); });
  EXPECT_THAT(error, HasSubstr("rows.jsonl:2: "));
  return error;
}

/// The error of a row with these messages, and with more keys, e.g. `, "image": "a.png"`.
std::string error_of_messages(const std::string& messages, const std::string& keys = "") {
  return error_of(R"({"messages": [)" + messages + "]" + keys + "}");
}

const std::string kAnswer = R"({"role": "assistant", "content": "A."})";
const std::string kQuestion = R"({"role": "user", "content": "<image>?"}, )" + kAnswer;

TEST(Conversations, AreReadFromMessages) {
  const Rows rows(
      R"({"messages": [{"role": "system", "content": "Be short."},)"
      R"( {"role": "user", "content": "Is <image> like\n<image>?"},)"
      R"( {"role": "assistant", "content": "Yes.", "loss": false},)"
      R"( {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No."}],)"
      R"( "images": ["b.png", "a.png"], "source": "math/cot", "id": 17, "score": 0.5})");
  const auto all = rows.read();
  const Conversation expected{.messages = {{Role::System, {TextPart{"Be short."}}},
                                           {Role::User,
                                            {TextPart{"Is "}, ImagePart{}, TextPart{" like\n"},
                                             ImagePart{}, TextPart{"?"}}},
                                           {Role::Assistant, {TextPart{"Yes."}}},
                                           {Role::User, {TextPart{"Sure?"}}},
                                           {Role::Assistant, {TextPart{"No."}}}},
                              .labelled = {false, false, false, false, true},
                              .images = {rows.path("b.png"), rows.path("a.png")},
                              .source = "math/cot",
                              .id = "17",
                              .place = rows.path("rows.jsonl").string() + ":1"};
  EXPECT_THAT(all, ElementsAre(expected));
}

TEST(Conversations, AreReadFromListsOfParts) {
  const Rows rows(
      R"({"messages": [{"role": "user", "content": [{"type": "image"},)"
      R"( {"type": "text", "text": "an <image> tag"}, {"type": "image", "image": "b.png"},)"
      R"( {"type": "image_url", "image_url": {"url": "a.png"}}]}, )" +
      kAnswer + R"(], "image": "a.png"})");
  const auto all = rows.read();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all[0].messages[0].parts,
              ElementsAre(MessagePart(ImagePart{}), MessagePart(TextPart{"an <image> tag"}),
                          MessagePart(ImagePart{}), MessagePart(ImagePart{})));
  EXPECT_THAT(all[0].images,
              ElementsAre(rows.path("a.png"), rows.path("b.png"), rows.path("a.png")));
}

TEST(Conversations, AreReadFromLlavasForm) {
  const Conversation one =
      read_one(R"({"id": "000123", "image": "a.png", "conversations": [)"
               R"({"from": "system", "value": "S"}, {"from": "human", "value": "<image>\nWhat?"},)"
               R"( {"from": "gpt", "value": "A square."}]})");
  EXPECT_THAT(one.messages, ElementsAre(Message{Role::System, {TextPart{"S"}}},
                                        Message{Role::User, {ImagePart{}, TextPart{"\nWhat?"}}},
                                        Message{Role::Assistant, {TextPart{"A square."}}}));
  EXPECT_THAT(one.labelled, ElementsAre(false, false, true));
  EXPECT_EQ(one.id, "000123");
  EXPECT_EQ(one.source, "");
}

TEST(Conversations, MayBeTextOnlyAndHaveKeysThatAreNullOrEmpty) {
  const Conversation one = read_one(R"({"messages": [)" + kAnswer +
                                    R"(], "images": [], "image": null, "tools": [], "id": null})");
  EXPECT_THAT(one.images, IsEmpty());
  EXPECT_THAT(one.labelled, ElementsAre(true));
}

TEST(Conversations, FindPicturesBelowTheRootThatIsGiven) {
  const Rows rows(R"({"messages": [)" + kQuestion + R"(], "image": "c.png"})");
  const TemporaryDirectory other;
  write_quickly(other / "c.png", "x");
  EXPECT_THAT(rows.read({.image_root = other.path(), .on_bad_row = {}}).at(0).images,
              ElementsAre(other / "c.png"));
  EXPECT_THAT(input_error([&] { (void)rows.read(); }), HasSubstr("does not exist"));
}

TEST(Conversations, NameFileAndLineOfWhatIsNoConversation) {
  EXPECT_THAT(error_of(R"({"messages": )"), HasSubstr("line 1, column 14"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("wanted an object, found [1]"));
  EXPECT_THAT(error_of(R"({"text": "x"})"), HasSubstr("found neither"));
  EXPECT_THAT(error_of(R"({"messages": [], "conversations": []})"), HasSubstr("found both"));
  EXPECT_THAT(error_of(R"({"messages": []})"), HasSubstr("no message"));
  EXPECT_THAT(error_of(R"({"messages": "x"})"), HasSubstr("messages: wanted a list"));
  EXPECT_THAT(error_of_messages(kAnswer, R"(, "id": [1])"), HasSubstr("id: wanted a text"));
  EXPECT_THAT(error_of_messages(kAnswer, R"(, "source": 1)"), HasSubstr("source: wanted a text"));
  EXPECT_THAT(error_of_messages(kAnswer, R"(, "tools": [{}])"), HasSubstr("\"tools\""));
  EXPECT_THAT(error_of_messages(kAnswer, R"(, "videos": ["a.mp4"])"), HasSubstr("\"videos\""));
}

TEST(Conversations, NameTheMessageThatIsBad) {
  EXPECT_THAT(error_of_messages(kAnswer + R"(, {"role": "asistant", "content": ""})"),
              AllOf(HasSubstr("messages[1]: unknown role asistant (did you mean assistant?)"),
                    HasSubstr("system, user or assistant")));
  EXPECT_THAT(
      error_of(R"({"conversations": [{"from": "user", "value": "x"}]})"),
      AllOf(HasSubstr("conversations[0]: unknown from user"), HasSubstr("system, human or gpt")));
  EXPECT_THAT(error_of_messages(R"({"role": "user"})"), HasSubstr("\"content\" is missing"));
  EXPECT_THAT(error_of_messages(R"({"role": "user", "content": 7})"), HasSubstr("wanted a text"));
  EXPECT_THAT(error_of_messages(R"({"role": "user", "content": [{"type": "image_uri"}]})"),
              HasSubstr("content[0]: unknown type image_uri (did you mean image_url?)"));
  EXPECT_THAT(
      error_of_messages(R"({"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]})"),
      HasSubstr("\"tool_calls\""));
  EXPECT_THAT(error_of_messages(R"({"role": "assistant", "content": "x", "loss": 1})"),
              HasSubstr("loss: wanted true or false"));
  EXPECT_THAT(error_of_messages(R"({"role": "user", "content": "x", "loss": true})"),
              HasSubstr("only an assistant's"));
}

TEST(Conversations, NeedAnAnswerToTrainOn) {
  EXPECT_THAT(error_of_messages(R"({"role": "user", "content": "x"})"), HasSubstr("to train on"));
  EXPECT_THAT(error_of_messages(R"({"role": "assistant", "content": "x", "loss": false})"),
              HasSubstr("to train on"));
}

TEST(Conversations, NeedAsManyPicturesAsPlaces) {
  EXPECT_THAT(error_of_messages(kQuestion),
              AllOf(HasSubstr("places for 1 pictures"), HasSubstr("lists 0")));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "images": ["a.png", "b.png"])"),
              AllOf(HasSubstr("places for 1 pictures"), HasSubstr("lists 2")));
  EXPECT_THAT(error_of_messages(kAnswer, R"(, "image": "a.png")"),
              AllOf(HasSubstr("places for 0 pictures"), HasSubstr("lists 1")));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": "a.png", "images": ["a.png"])"),
              HasSubstr("found both"));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": {"bytes": ""})"),
              HasSubstr("image: wanted a path or a list of paths, found object"));
}

TEST(Conversations, NeedPicturesThatAreFilesInTheUsersMessages) {
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": "gone.png")"),
              HasSubstr("gone.png does not exist"));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": "")"), HasSubstr("does not exist"));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": "https://host/a.png")"),
              HasSubstr("https://host/a.png is an address"));
  EXPECT_THAT(error_of_messages(kQuestion, R"(, "image": "data:image/png;base64,AA")"),
              HasSubstr("is an address"));
  EXPECT_THAT(
      error_of_messages(R"({"role": "assistant", "content": "<image>"})", R"(, "image": "a.png")"),
      HasSubstr("messages[0]: a picture stands here"));
  EXPECT_THAT(error_of_messages(R"({"role": "system", "content": "<image>"})"),
              HasSubstr("messages[0]: a picture stands here"));
}

TEST(Conversations, AreReadAroundBadRowsWhereSomebodyTakesTheReasons) {
  const Rows rows(R"({"messages": [)" + kAnswer +
                  "]}\nnonsense\n{}\n\n"
                  R"({"messages": [)" +
                  kAnswer + "]}");
  std::vector<std::string> reasons;
  const auto all = rows.read({.image_root = {}, .on_bad_row = [&](const std::string& reason) {
                                reasons.push_back(reason);
                              }});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_THAT(all[1].place, EndsWith("rows.jsonl:5"));
  EXPECT_THAT(reasons, ElementsAre(HasSubstr("rows.jsonl:2: "), HasSubstr("rows.jsonl:3: ")));
}

TEST(Conversations, NeedARow) {
  EXPECT_THAT(input_error([] { (void)Rows("\n\n").read(); }), HasSubstr("no row in it"));
}

}  // namespace
}  // namespace espalier
