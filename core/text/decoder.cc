#include "core/text/decoder.h"

#include <optional>
#include <utility>

#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/text/byte_fallback.h"
#include "core/text/byte_level.h"
#include "core/text/json_object.h"
#include "core/text/normalizer.h"

namespace rt {
namespace {

constexpr std::int64_t kMaxStripped = 1000;  // characters

// Gives the common clone() to a stage.
template <class Self>
class Stage : public DecodeStage {
 public:
  std::unique_ptr<DecodeStage> clone() const override {
    return std::make_unique<Self>(static_cast<const Self&>(*this));
  }
};

class Replace : public Stage<Replace> {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  void push(std::string_view text, bool begins, const Sink& sink) override {
    std::string piece(text);
    apply_to_piece(piece);
    sink(piece, begins);
  }

  void apply_to_piece(std::string& piece) const override {
    std::string out;
    const std::string_view text = piece;
    const Status status =
        pattern_.for_each(text, [&](std::size_t begin, std::size_t end, bool is_match) {
          out += is_match ? std::string_view(content_) : text.substr(begin, end - begin);
          return Status();
        });
    // A pattern past its match limit on a single token leaves the token as it is.
    if (status.ok()) piece = std::move(out);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// A run of byte tokens is its UTF-8 text, or one U+FFFD per byte if any part of it is invalid.
class ByteFallback : public Stage<ByteFallback> {
 public:
  void push(std::string_view text, bool begins, const Sink& sink) override {
    if (const std::optional<char> byte = byte_of(text)) {
      run_ += *byte;
      return;
    }
    flush(sink);
    sink(text, begins);
  }

  void flush(const Sink& sink) override {
    const std::string run = std::exchange(run_, "");
    if (run.empty()) return;
    if (utf8_valid(run)) {
      sink(run, true);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) sink(kReplacementUtf8, true);
    }
  }

  void apply_to_piece(std::string& piece) const override {
    if (const std::optional<char> byte = byte_of(piece)) piece = std::string(1, *byte);
  }

 private:
  std::string run_;
};

class Fuse : public Stage<Fuse> {
 public:
  void push(std::string_view text, bool, const Sink& sink) override {
    sink(text, std::exchange(first_, false));
  }
  bool fuses() const override { return true; }
  bool takes_fragments() const override { return true; }

 private:
  bool first_ = true;
};

// Cuts up to `start` leading and `stop` trailing copies of a character off every token.
class Strip : public Stage<Strip> {
 public:
  Strip(std::string content, std::size_t start, std::size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}

  void push(std::string_view text, bool begins, const Sink& sink) override {
    if (begins) {
      end_token(sink);
      leading_ = start_;
    }
    while (leading_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --leading_;
    }
    if (text.empty()) return;
    leading_ = 0;
    held_ += text;
    // What can no longer be one of the last `stop` characters is final.
    std::size_t tail = held_.size();
    for (std::size_t i = 0; i < stop_ && ends_with_content(tail); ++i) tail -= content_.size();
    sink(std::string_view(held_).substr(0, tail), std::exchange(fresh_, false));
    held_.erase(0, tail);
  }

  void flush(const Sink& sink) override { end_token(sink); }
  bool takes_fragments() const override { return true; }

 private:
  bool ends_with_content(std::size_t end) const {
    return std::string_view(held_).substr(0, end).ends_with(content_);
  }

  void end_token(const Sink&) {
    held_.clear();  // at most `stop` characters, all of them to be cut
    fresh_ = true;
  }

  std::string content_;
  std::size_t start_;
  std::size_t stop_;
  std::size_t leading_ = 0;
  std::string held_;
  bool fresh_ = true;
};

class ByteLevel : public Stage<ByteLevel> {
 public:
  void push(std::string_view text, bool, const Sink& sink) override {
    byte_level_decode(text, bytes_);
    const std::size_t complete = utf8_complete_prefix(bytes_);
    give(std::string_view(bytes_).substr(0, complete), sink);
    bytes_.erase(0, complete);
  }

  void flush(const Sink& sink) override {
    give(bytes_, sink);
    bytes_.clear();
  }

  bool fuses() const override { return true; }

  void apply_to_piece(std::string& piece) const override {
    std::string bytes;
    byte_level_decode(piece, bytes);
    piece = std::move(bytes);
  }

 private:
  void give(std::string_view bytes, const Sink& sink) {
    if (bytes.empty()) return;
    sink(utf8_replace_invalid(bytes), std::exchange(first_, false));
  }

  std::string bytes_;
  bool first_ = true;
};

class Metaspace : public Stage<Metaspace> {
 public:
  Metaspace(std::string replacement, bool strips_first)
      : replacement_(std::move(replacement)), strips_first_(strips_first) {}

  void push(std::string_view text, bool begins, const Sink& sink) override {
    sink(with_spaces(text, std::exchange(first_, false) && strips_first_ ? "" : " "), begins);
  }

  void apply_to_piece(std::string& piece) const override { piece = with_spaces(piece, " "); }

 private:
  std::string with_spaces(std::string_view text, std::string_view space) const {
    std::string out;
    while (!text.empty()) {
      const std::size_t found = std::min(text.find(replacement_), text.size());
      out += text.substr(0, found);
      text.remove_prefix(found);
      if (text.empty()) break;
      out += space;
      text.remove_prefix(replacement_.size());
    }
    return out;
  }

  std::string replacement_;
  bool strips_first_;
  bool first_ = true;
};

// Without a decoder Hugging Face joins the tokens with spaces.
class JoinWithSpaces : public Stage<JoinWithSpaces> {
 public:
  void push(std::string_view text, bool begins, const Sink& sink) override {
    sink(std::exchange(first_, false) ? std::string(text) : " " + std::string(text), begins);
  }

 private:
  bool first_ = true;
};

template <class T, class... Arguments>
std::unique_ptr<DecodeStage> make(Arguments&&... arguments) {
  return std::make_unique<T>(std::forward<Arguments>(arguments)...);
}

Result<std::unique_ptr<DecodeStage>> parse_replace(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only({"type", "pattern", "content"}));
  RT_TRY(const Json* source, object.require("pattern"));
  RT_TRY(Pattern pattern, parse_pattern(*source, object.at("pattern")));
  RT_TRY(std::string content, object.string("content"));
  return make<Replace>(std::move(pattern), std::move(content));
}

Result<std::unique_ptr<DecodeStage>> parse_strip(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only({"type", "content", "start", "stop"}));
  RT_TRY(std::string content, object.character("content", " "));
  RT_TRY(const std::int64_t start, object.integer("start", 0, kMaxStripped));
  RT_TRY(const std::int64_t stop, object.integer("stop", 0, kMaxStripped));
  return make<Strip>(std::move(content), static_cast<std::size_t>(start),
                     static_cast<std::size_t>(stop));
}

Result<std::unique_ptr<DecodeStage>> parse_metaspace(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only(
      {"type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"}));
  RT_TRY(std::string replacement, object.character("replacement", kSpaceMark));
  RT_TRY(const bool add_prefix, object.boolean("add_prefix_space", true));
  RT_TRY(const std::optional<std::string> scheme, object.string_or_none("prepend_scheme"));
  return make<Metaspace>(std::move(replacement), scheme ? *scheme != "never" : add_prefix);
}

Result<std::unique_ptr<DecodeStage>> parse_stage(const JsonObject& object,
                                                 const std::string& type) {
  if (type == "Replace") return parse_replace(object);
  if (type == "Strip") return parse_strip(object);
  if (type == "Metaspace") return parse_metaspace(object);
  if (type == "ByteFallback" || type == "Fuse") {
    RT_RETURN_IF_ERROR(object.only({"type"}));
    return type == "Fuse" ? make<Fuse>() : make<ByteFallback>();
  }
  if (type == "ByteLevel") {
    RT_RETURN_IF_ERROR(object.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    return make<ByteLevel>();
  }
  return unsupported(object.where(), type,
                     "Sequence, Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace");
}

}  // namespace

DecodeStream::DecodeStream(std::vector<std::unique_ptr<DecodeStage>> stages)
    : stages_(std::move(stages)) {}

DecodeStream::DecodeStream(const DecodeStream& other) {
  for (const auto& stage : other.stages_) stages_.push_back(stage->clone());
}

void DecodeStream::run(std::size_t index, std::string_view text, bool begins, std::string& out) {
  if (index == stages_.size()) {
    out += text;
    return;
  }
  stages_[index]->push(text, begins, [&](std::string_view piece, bool piece_begins) {
    run(index + 1, piece, piece_begins, out);
  });
}

void DecodeStream::flush(std::string& out) {
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    stages_[i]->flush([&](std::string_view piece, bool begins) { run(i + 1, piece, begins, out); });
  }
}

Result<Decoder> Decoder::parse(const Json* json, const std::string& where) {
  Decoder decoder;
  if (json == nullptr) {
    RT_RETURN_IF_ERROR(decoder.add(std::make_unique<JoinWithSpaces>(), where));
  } else {
    RT_RETURN_IF_ERROR(decoder.append(*json, where, 0));
  }
  return decoder;
}

Result<Decoder> Decoder::sentencepiece(bool strip_first_space) {
  Decoder decoder;
  RT_TRY(Pattern mark, Pattern::literal(kSpaceMark, "space mark"));
  RT_RETURN_IF_ERROR(decoder.add(std::make_unique<Replace>(std::move(mark), " "), ""));
  RT_RETURN_IF_ERROR(decoder.add(std::make_unique<ByteFallback>(), ""));
  RT_RETURN_IF_ERROR(decoder.add(std::make_unique<Fuse>(), ""));
  if (strip_first_space) {
    RT_RETURN_IF_ERROR(decoder.add(std::make_unique<Strip>(" ", 1, 0), ""));
  }
  return decoder;
}

std::string Decoder::piece_bytes(std::string_view token) const {
  std::string piece(token);
  for (const auto& stage : stages_) stage->apply_to_piece(piece);
  return piece;
}

Status Decoder::add(std::unique_ptr<DecodeStage> stage, const std::string& where) {
  for (const auto& before : stages_) {
    if (before->fuses() && !stage->takes_fragments()) {
      return bad_input(where + ": unsupported after Fuse or ByteLevel");
    }
  }
  stages_.push_back(std::move(stage));
  return {};
}

std::vector<std::unique_ptr<DecodeStage>> Decoder::clone_stages() const {
  std::vector<std::unique_ptr<DecodeStage>> copies;
  for (const auto& stage : stages_) copies.push_back(stage->clone());
  return copies;
}

Status Decoder::append(const Json& json, const std::string& where, int depth) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_TRY(const std::string type, object.string("type"));
  if (type == "Sequence") {
    return object.sequence("decoders", depth, [&](const Json& part, const std::string& here) {
      return append(part, here, depth + 1);
    });
  }
  RT_TRY(std::unique_ptr<DecodeStage> stage, parse_stage(object, type));
  return add(std::move(stage), where);
}

}  // namespace rt
