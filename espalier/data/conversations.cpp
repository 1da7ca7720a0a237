// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/conversations.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/base/lines.h"
#include "espalier/base/words.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Role = Message::Role;

constexpr std::string_view kImageMark = "<image>";

/// The keys and words of one of the two forms.
struct Form {
  const char* messages;
  const char* role;
  const char* content;
  std::array<std::pair<const char*, Role>, 3> roles;
};

constexpr Form kMessages = {
    "messages",
    "role",
    "content",
    {{{"system", Role::System}, {"user", Role::User}, {"assistant", Role::Assistant}}}};
constexpr Form kLlava = {
    "conversations",
    "from",
    "value",
    {{{"system", Role::System}, {"human", Role::User}, {"gpt", Role::Assistant}}}};

const Form& form_of(const JsonObject& row) {
  const bool plain = row.has(kMessages.messages);
  require(plain != row.has(kLlava.messages),
          "{}: wanted \"messages\": [...] or LLaVA's \"conversations\": [...], found {}",
          row.place(), plain ? "both" : "neither");
  return plain ? kMessages : kLlava;
}

Role role_of(const JsonObject& message, const Form& form) {
  const std::string name = message.string(form.role);
  std::vector<std::string> known;
  for (const auto& [word, role] : form.roles) {
    if (name == word) return role;
    known.emplace_back(word);
  }
  throw InputError(
      fmt::format("{}: {}", message.place(), unknown_word(form.role, name, std::move(known))));
}

/// What we would have to leave out of the conversation.
void refuse_filled(const JsonObject& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    require(!object.has(key) || object.at(key).empty(),
            "{}: \"{}\" is not supported; take the row out, or the key if it does not matter",
            object.place(), key);
  }
}

/// Reads one row.
class RowReader {
 public:
  RowReader(const JsonObject& row, const fs::path& folder) : row_(row), folder_(folder) {}

  Conversation read() {
    refuse_filled(row_, {"tools", "video", "videos", "audio", "audios"});
    const Form& form = form_of(row_);
    read_listed_images();
    for (const JsonObject& message : row_.objects(form.messages)) read_message(message, form);
    result_.place = row_.place();
    if (row_.has("source")) result_.source = row_.string("source");
    if (row_.has("id")) result_.id = id();
    check();
    return std::move(result_);
  }

 private:
  void read_listed_images() {
    require(!row_.has("image") || !row_.has("images"),
            "{}: wanted \"image\" or \"images\", found both", row_.place());
    for (const char* key : {"image", "images"}) {
      if (!row_.has(key)) continue;
      const json& value = row_.at(key);
      const json list = value.is_array() ? value : json::array({value});
      for (const json& path : list) {
        require(path.is_string(), "{}: {}: wanted a path or a list of paths, found {}",
                row_.place(), key, path.type_name());
        listed_.push_back(path.get<std::string>());
      }
    }
  }

  void read_message(const JsonObject& message, const Form& form) {
    refuse_filled(message, {"tool_calls"});
    const Role role = role_of(message, form);
    result_.messages.push_back({.role = role, .parts = {}});
    const json& content = message.at(form.content);
    if (content.is_array()) {
      for (const JsonObject& part : message.objects(form.content)) add_part(part);
    } else {
      add_marked_text(message.string(form.content), message.place());
    }
    const bool wanted = role == Role::Assistant;
    const bool loss = message.has("loss") ? message.boolean("loss") : wanted;
    require(wanted || !loss, "{}: loss: only an assistant's message can be trained on",
            message.place());
    result_.labelled.push_back(loss);
  }

  void add_part(const JsonObject& part) {
    const std::string type = part.string("type");
    if (type == "text") {
      add_text(part.string("text"));
    } else if (type == "image" && !part.has("image")) {
      add_listed_image(part.place());
    } else if (type == "image") {
      add_image(part.string("image"), part.place());
    } else if (type == "image_url") {
      add_image(part.object("image_url").string("url"), part.place());
    } else {
      throw InputError(fmt::format("{}: {}", part.place(),
                                   unknown_word("type", type, {"text", "image", "image_url"})));
    }
  }

  void add_marked_text(std::string_view text, const std::string& place) {
    for (std::size_t mark; (mark = text.find(kImageMark)) != std::string_view::npos;) {
      add_text(text.substr(0, mark));
      add_listed_image(place);
      text.remove_prefix(mark + kImageMark.size());
    }
    add_text(text);
  }

  void add_text(std::string_view text) {
    if (!text.empty()) parts().emplace_back(TextPart{std::string(text)});
  }

  /// The next of the row's own list.
  void add_listed_image(const std::string& place) {
    if (places_ < listed_.size()) {
      add_image(listed_[places_], place);
    } else {
      check_role(place);
    }
    ++places_;
  }

  void add_image(const std::string& image, const std::string& place) {
    check_role(place);
    require(image.find("://") == std::string::npos && !image.starts_with("data:"),
            "{}: the picture {} is an address; wanted the path of a file: fetch it first", place,
            image.substr(0, 80));
    const fs::path path = folder_ / image;
    require(!image.empty() && path_exists(path), "{}: the picture {} does not exist", place,
            path.string());
    parts().emplace_back(ImagePart{});
    result_.images.push_back(path);
  }

  void check_role(const std::string& place) const {
    require(result_.messages.back().role == Role::User,
            "{}: a picture stands here, but only a user's message may hold one; where <image> is "
            "meant as text, give the content as a list of parts",
            place);
  }

  [[nodiscard]] std::string id() const {
    const json& value = row_.at("id");
    require(value.is_string() || value.is_number_integer(),
            "{}: id: wanted a text or an integer, found {}", row_.place(), value.type_name());
    return value.is_string() ? value.get<std::string>() : value.dump();
  }

  void check() const {
    require(!result_.messages.empty(), "{}: there is no message in it", row_.place());
    require(places_ == listed_.size(),
            "{}: the messages have places for {} pictures without a path of their own, but the row "
            "lists {}",
            row_.place(), places_, listed_.size());
    require(std::ranges::find(result_.labelled, true) != result_.labelled.end(),
            "{}: no message of the assistant's to train on", row_.place());
  }

  std::vector<MessagePart>& parts() { return result_.messages.back().parts; }

  const JsonObject& row_;
  const fs::path& folder_;
  std::vector<std::string> listed_;
  std::size_t places_ = 0;  ///< of pictures from the list, so far
  Conversation result_;
};

Conversation read_row(std::string_view line, const fs::path& folder, const std::string& place) {
  const json value = parse_json(line, place);
  return RowReader(JsonObject(value, place), folder).read();
}

}  // namespace

std::vector<Conversation> read_conversations(const fs::path& file,
                                             const ConversationOptions& options) {
  const fs::path folder = options.image_root.empty() ? file.parent_path() : options.image_root;
  std::vector<Conversation> conversations;
  bool is_empty = true;
  for_each_line(file, [&](std::string_view line, const std::string& place) {
    is_empty = false;
    try {
      conversations.push_back(read_row(line, folder, place));
    } catch (const InputError& error) {
      if (!options.on_bad_row) throw;
      options.on_bad_row(error.what());
    }
  });
  require(!is_empty, "{}: no row in it; wanted one conversation a line", file.string());
  return conversations;
}

}  // namespace espalier
