#include "tools/runtime/flag_advice.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace rt {
namespace {

struct Foreign {
  std::string_view names;  // spaces between and around; '_' is '-'
  const char* advice;
};

constexpr Foreign kForeign[] = {
    {" -ngl --n-gpu-layers --gpu-layers --num-gpu ", "--device cuda runs all layers on the GPU"},
    {" --cpu ", "the device is --device cpu, unless told"},
    {" --gpu --cuda ", "--device cuda runs all layers on the GPU"},
    {" -sm --split-mode -ts --tensor-split -mg --main-gpu --tensor-parallel-size --device-map ",
     "one device runs all layers: --device cuda:1 is the second GPU"},
    {" --no-mmap --mmap --mlock ",
     "weights are mapped where they can run as they lie in the file; nothing is locked in memory"},
    {" -fa --flash-attn --attn-implementation ",
     "attention is chosen by itself (runtime plugins why); --prefer NAME takes another one"},
    {" -hf -hfr --hf-repo -hff --hf-file -mu --model-url ",
     "nothing is downloaded; --weights names a folder, and without it the Hugging Face cache is "
     "looked into"},
    {" -cnv --conversation -i --interactive -if --interactive-first -ins --instruct ",
     "`runtime chat` talks with the model"},
    {" -no-cnv --no-conversation ", "`runtime generate` continues a prompt as it is"},
    {" -st --single-turn ", "`runtime chat -p TEXT` is one question and one answer"},
    {" -mli --multiline-input ",
     "in a chat a message of several lines stands between \"\"\", or Alt-Enter breaks the line"},
    {" -tb --threads-batch ", "--threads is for prompts and answers alike"},
    {" -ctv --cache-type-v ", "--kv-dtype is of keys and values alike"},
    {" -b --batch-size ", "--step-tokens (-ub) is how many tokens are computed at once"},
    {" --in-prefix --in-suffix --in-prefix-bos --chat-template --chat-template-file --jinja ",
     "the graph declares the chat format; `runtime render` shows what it makes of messages"},
    {" -e --escape --no-escape ", "text is taken as it is; in bash $'a\\nb' has a line break"},
    {" --keep --context-shift --no-context-shift ",
     "a full context is not shifted: the answer ends there"},
    {" --color -co --colors ", "a terminal has colours anyway, unless --no-color"},
    {" --do-sample ", "--temp 0 takes the likeliest token, any other temperature draws"},
    {" --num-beams ", "there is no beam search; tokens are drawn (--temp, --top-k, --top-p)"},
    {" --repetition-penalty --penalty ", "it is --repeat-penalty, over --repeat-last-n tokens"},
    {" --typical --typical-p --mirostat --mirostat-lr --mirostat-ent --xtc-probability "
     "--xtc-threshold --dry-multiplier --dynatemp-range --top-nsigma --samplers --sampling-seq ",
     "what there is: --temp, --top-k, --top-p, --min-p and the penalties"},
    {" --num-predict --max-length ", "-n is how many tokens an answer has at most"},
    {" --num-ctx ", "it is --ctx-size"},
    {" --dtype --torch-dtype ", "it is --weights-format, of the cache --kv-dtype"},
    {" --load-in-4bit ", "it is --weights-format nf4"},
    {" --load-in-8bit ", "it is --weights-format int8"},
    {" --gpu-memory-utilization ", "--memory-limit SIZE is the most device memory to use"},
    {" --tokenizer ", "the tokenizer is the one in the folder of --weights"},
    {" --trust-remote-code ", "no code of a checkpoint is run"},
    {" --format ", "--json prints JSON"},
    {" --no-display-prompt --display-prompt ", "a prompt is printed only with --echo"},
    {" --verbose-prompt ", "`runtime tokenize` shows the tokens of a text"},
    {" --log-disable ", "-q prints only errors and answers"},
    {" --stream ", "an answer is printed as it comes, unless --json"},
};

// Insertions, deletions, replacements, and two neighbours that changed places.
std::size_t slips(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] =
          std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string_view without_dashes(std::string_view name) {
  return name.substr(std::min(name.find_first_not_of('-'), name.size()));
}

}  // namespace

std::string foreign_advice(const std::string& name) {
  std::string wanted = " " + name + " ";
  std::replace(wanted.begin(), wanted.end(), '_', '-');
  for (const Foreign& foreign : kForeign) {
    if (foreign.names.find(wanted) != std::string_view::npos) {
      return "; " + std::string(foreign.advice);
    }
  }
  return "";
}

std::string near_flag(const std::string& name, std::span<const std::string> flags) {
  constexpr std::size_t kLongest = 64;
  const std::string_view word = without_dashes(name);
  if (word.size() < 3 || word.size() > kLongest) return "";
  std::size_t best = std::max<std::size_t>(1, word.size() / 4) + 1;
  std::string near;
  for (const std::string& flag : flags) {
    const std::string_view known = without_dashes(flag);
    if (known.size() < 2) continue;  // a letter is near everything
    const std::size_t distance = known.starts_with(word) ? 1 : slips(word, known);
    if (distance >= best) continue;
    best = distance;
    near = flag;
  }
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

}  // namespace rt
