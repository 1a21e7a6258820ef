// Text to tree: a sweep over the bytes for what no YAML file of ours may hold, then yaml-cpp's
// events. Events come before yaml-cpp builds or shares anything, so that the limits stop a bomb
// while it is being read.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <streambuf>
#include <unordered_set>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/base/yaml.h"

namespace rt {
namespace {

// Thrown by the event handler through yaml-cpp, caught in parse_yaml.
struct Refused {
  YamlPosition where;
  std::string message;
};

// Refuses other encodings, control characters, tabs that indent (editors show them at a width that
// YAML does not know), and more punctuation than `nodes` values could need: yaml-cpp reads to the
// end of a line of flow before it says a word about its beginning.
Status sweep(std::string_view text, YamlPosition where, std::uint32_t nodes) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF") ||
      text.substr(0, 4).find('\0') != std::string_view::npos) {
    return bad_input_at(where, "expected UTF-8 text, found UTF-16 or UTF-32");
  }
  where.line = where.column = 1;
  const std::uint64_t most = std::uint64_t{nodes} * 2;
  std::uint64_t punctuation = 0;
  bool indenting = true;
  YamlPosition tab;  // line 0: no tab in this line's indentation
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    const Utf8Head character = utf8_head(text.substr(at));
    if (!character.valid) return bad_input_at(where, "expected UTF-8 text, found a stray byte");
    constexpr std::string_view kPunctuation = "[]{},:?-&*!\n";
    if (kPunctuation.find(c) != std::string_view::npos && ++punctuation > most) {
      return bad_input_at(where, "more than " + std::to_string(nodes) + " values");
    }
    if (c == '\n') {
      ++where.line;
      where.column = 0;
      indenting = true;
      tab = {};
    } else if (c == '\t') {
      if (indenting && tab.line == 0) tab = where;
    } else if (c != '\r' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)) {
      return bad_input_at(where, "a control character, " + quote(text.substr(at, 1)));
    } else if (c != ' ' && c != '\r' && indenting) {
      if (tab.line != 0) return bad_input_at(tab, "a tab in the indentation; use spaces");
      indenting = false;
    }
    ++where.column;
    at += character.length;
  }
  return {};
}

// Builds the tree from events.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, std::shared_ptr<const std::string> file, YamlLimits limits)
      : text_(text), file_(std::move(file)), limits_(limits) {}

  YamlNode take_root() { return std::move(root_); }
  YamlPosition at(const YAML::Mark& mark) const {
    if (mark.line < 0) return {file_, 0, 0};
    return {file_, static_cast<std::uint32_t>(mark.line) + 1,
            static_cast<std::uint32_t>(mark.column) + 1};
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Refused{at(mark), "a second document; a file holds one"};
  }
  void OnDocumentEnd() override {}

  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    throw Refused{at(mark), "an anchor, &" + name + "; write the value out where it is used"};
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{at(mark), "an alias; write the value out (text that begins with * wants quotes)"};
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (wants_key()) throw Refused{at(mark), "a key is empty or null"};
    add(make(mark, YamlNode::Kind::kNull));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    refuse_tag(mark, tag);
    refuse_open_quote(mark);
    YamlNode node = make(mark, YamlNode::Kind::kScalar);
    node.scalar = text;
    node.quoted = tag == "!";
    if (wants_key()) {
      take_key(std::move(node));
    } else {
      add(std::move(node));
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, YamlNode::Kind::kSequence);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, YamlNode::Kind::kMapping);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  // A sequence or mapping whose end has not come yet.
  struct Level {
    YamlNode node;
    bool has_key = false;  // the key of entries.back() stands, its value is to come
    std::unordered_set<std::string> keys;
  };

  bool wants_key() const {
    return !levels_.empty() && levels_.back().node.is_mapping() && !levels_.back().has_key;
  }

  YamlNode make(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (++nodes_ > limits_.nodes) {
      throw Refused{at(mark), "more than " + std::to_string(limits_.nodes) + " values"};
    }
    YamlNode node;
    node.kind = kind;
    node.where = at(mark);
    return node;
  }

  char text_at(const YAML::Mark& mark) const {
    const auto at = static_cast<std::size_t>(mark.pos);
    return mark.pos >= 0 && at < text_.size() ? text_[at] : 0;
  }

  // yaml-cpp takes the end of the file for the end of a quoted text.
  void refuse_open_quote(const YAML::Mark& mark) const {
    const char quote_mark = text_at(mark);
    if (quote_mark != '\'' && quote_mark != '"') return;
    for (auto at = static_cast<std::size_t>(mark.pos) + 1; at < text_.size(); ++at) {
      const bool doubled = quote_mark == '\'' && text_.substr(at, 2) == "''";
      if (doubled || (quote_mark == '"' && text_[at] == '\\')) {
        ++at;  // an escape, of a quote perhaps
      } else if (text_[at] == quote_mark) {
        return;
      }
    }
    throw Refused{at(mark), "a quoted text without its closing quote"};
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if ((tag.empty() || tag == "?" || tag == "!") && text_at(mark) != '!') return;
    throw Refused{at(mark), "a tag, " + quote(tag) + "; values have no tags here"};
  }

  void take_key(YamlNode key) {
    Level& level = levels_.back();
    if (!key.quoted && key.scalar == "<<") {
      throw Refused{key.where, "a merge key; write the keys out where they are used"};
    }
    if (!level.keys.insert(key.scalar).second) {
      throw Refused{key.where, "key " + quote(key.scalar) + " stands twice in one mapping"};
    }
    level.node.entries.push_back({std::move(key.scalar), std::move(key.where), {}});
    level.has_key = true;
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (wants_key()) throw Refused{at(mark), "expected a plain key, found a list or mapping"};
    if (levels_.size() >= limits_.depth) {
      throw Refused{at(mark), "nested deeper than " + std::to_string(limits_.depth) + " levels"};
    }
    levels_.push_back({make(mark, kind), false, {}});
  }

  void close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    add(std::move(node));
  }

  void add(YamlNode node) {
    if (levels_.empty()) {
      root_ = std::move(node);
    } else if (Level& level = levels_.back(); level.node.is_mapping()) {
      level.node.entries.back().value = std::move(node);
      level.has_key = false;
    } else {
      level.node.items.push_back(std::move(node));
    }
  }

  std::string_view text_;
  std::shared_ptr<const std::string> file_;
  YamlLimits limits_;
  std::uint32_t nodes_ = 0;
  std::uint32_t documents_ = 0;
  std::vector<Level> levels_;
  YamlNode root_;
};

// A stream over a string that is not copied.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // a get area is never written to
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

Result<YamlNode> parse_yaml(std::string_view text, const std::string& where, YamlLimits limits) {
  const auto file = std::make_shared<const std::string>(where);
  const YamlPosition start{file, 0, 0};
  if (text.size() > limits.bytes) {
    return bad_input_at(start, "expected at most " + std::to_string(limits.bytes) +
                                   " bytes, found " + std::to_string(text.size()));
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  RT_RETURN_IF_ERROR(sweep(text, start, limits.nodes));
  TreeBuilder builder(text, file, limits);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return bad_input_at(start, "the file is empty");
    parser.HandleNextDocument(builder);  // refused by OnDocumentStart if there is one
  } catch (const Refused& refused) {
    return bad_input_at(refused.where, refused.message);
  } catch (const YAML::Exception& failure) {
    return bad_input_at(builder.at(failure.mark), "not valid YAML: " + failure.msg);
  } catch (const std::exception& failure) {
    return bad_input_at(start, std::string("not valid YAML: ") + failure.what());
  }
  return builder.take_root();
}

Result<YamlNode> read_yaml(const std::string& path, YamlLimits limits) {
  RT_TRY(const std::string text, read_file(path, limits.bytes));
  return parse_yaml(text, path, limits);
}

}  // namespace rt
