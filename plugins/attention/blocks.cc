#include "plugins/attention/blocks.h"

namespace rt::cpu {
namespace {

constexpr std::uint64_t up(std::uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

std::uint64_t position_of(const rt_step& step, std::uint64_t token) {
  return static_cast<std::uint64_t>(step.positions[token]);
}

std::uint32_t token_count(const rt_step& step, std::uint32_t b) {
  return static_cast<std::uint32_t>(step.token_offsets[b + 1] - step.token_offsets[b]);
}

}  // namespace

BlockAttention::Sizes::Sizes(const sdk::Node& node)
    : width(padded_width(static_cast<std::uint64_t>(node.attrs().integer("head_width")))),
      heads(static_cast<std::uint64_t>(node.attrs().integer("heads"))),
      rows(std::max<std::uint64_t>(heads, kBlockRows)),
      workers(worker_count(node)),
      slots(4 * workers) {
  const std::uint64_t sums_of_row = width * sizeof(float) + sizeof(SoftmaxState);
  scratch_bytes = up(rows * (width + kTileKeys) * sizeof(float) +  // q, scores
                     kTileKeys * width * sizeof(float) +           // panel
                     2 * rows * sums_of_row);                      // the block's and the total's
  bytes = workers * scratch_bytes + (slots + 1) * up(heads * sums_of_row) + slots * sizeof(Part);
}

void BlockAttention::require(const sdk::Node& node, rt_requirements& need) {
  need.kv_forms = RT_KV_ALL_FORMS;
  need.workspace_bytes = Sizes(node).bytes;
}

BlockAttention::Sums BlockAttention::sums(char* at, std::uint64_t rows) const {
  float* sum_v = reinterpret_cast<float*>(at);
  return {sum_v, reinterpret_cast<SoftmaxState*>(sum_v + rows * sizes_.width)};
}

BlockAttention::Scratch BlockAttention::scratch(const sdk::Call& call, std::uint32_t worker) const {
  char* at = call.workspace<char>() + worker * sizes_.scratch_bytes;
  const std::uint64_t sum_bytes =
      sizes_.rows * (sizes_.width * sizeof(float) + sizeof(SoftmaxState));
  const Sums block = sums(at, sizes_.rows);
  const Sums total = sums(at + sum_bytes, sizes_.rows);
  float* q = reinterpret_cast<float*>(at + 2 * sum_bytes);
  float* scores = q + sizes_.rows * sizes_.width;
  float* panel = scores + sizes_.rows * kTileKeys;
  return {{0, 0, 0, 0, q, block.sum_v, block.states, scores, panel}, total};
}

BlockAttention::Sums BlockAttention::slot(const sdk::Call& call, std::uint64_t index) const {
  const std::uint64_t bytes =
      up(sizes_.heads * (sizes_.width * sizeof(float) + sizeof(SoftmaxState)));
  char* at = call.workspace<char>() + sizes_.workers * sizes_.scratch_bytes + index * bytes;
  return sums(at, sizes_.heads);
}

BlockAttention::Part* BlockAttention::parts(const sdk::Call& call) const {
  return reinterpret_cast<Part*>(slot(call, sizes_.slots + 1).sum_v);
}

void BlockAttention::execute(const sdk::Call& call) {
  append_rows(call, node_);
  decode(call);
  prefill(call);
}

// Walks the tiles of one chunk that the block's tokens, from `first_token` of the step, can see.
void BlockAttention::attend_chunk(const sdk::Call& call, std::uint32_t first_token,
                                  std::uint64_t chunk, const QueryBlock& block) {
  const rt_step& step = call.step();
  const auto b = static_cast<std::uint32_t>(step.token_sequence[first_token]);
  const std::uint64_t last_position = position_of(step, first_token + block.tokens - 1);
  const std::uint64_t begin =
      std::max(chunk * kChunkKeys, node_.first_key(position_of(step, first_token)));
  const std::uint64_t end = std::min((chunk + 1) * kChunkKeys, last_position + 1);
  KeyTile tiles[2];  // the current one, and the one that is fetched ahead
  std::uint32_t begins[kBlockRows];
  std::uint32_t ends[kBlockRows];
  const auto end_of = [&](std::uint64_t first) {
    return std::min(first / kTileKeys * kTileKeys + kTileKeys, end);
  };
  if (begin < end) find_tile(call.kv(), step, b, begin, end_of(begin), tiles[0]);
  std::uint32_t current = 0;
  for (std::uint64_t first = begin; first < end; current ^= 1) {
    const std::uint64_t base = first / kTileKeys * kTileKeys;
    const std::uint64_t last = end_of(first);
    for (std::uint32_t i = 0; i < block.tokens; ++i) {
      const std::uint64_t position = position_of(step, first_token + i);
      const std::uint64_t from = std::max(node_.first_key(position), base);
      const std::uint64_t to = std::max(std::min(position + 1, last), base);
      begins[i] = static_cast<std::uint32_t>(std::min(from, base + kTileKeys) - base);
      ends[i] = static_cast<std::uint32_t>(to - base);
    }
    KeyTile* next = last < end ? &tiles[current ^ 1] : nullptr;
    if (next != nullptr) find_tile(call.kv(), step, b, last, end_of(last), *next);
    attend_tile_(node_.shape, tiles[current], next, begins, ends, block);
    first = last;
  }
}

// Row h of `part` holds a chunk of one token's keys: joins it to the total, or to the output.
// Called in the order of chunks.
void BlockAttention::settle(const sdk::Call& call, std::uint64_t token, std::uint64_t h,
                            std::uint64_t chunk, const Sums& part, const Sums& total) const {
  const std::uint64_t position = position_of(call.step(), token);
  const bool is_first = chunk == chunk_of(node_.first_key(position));
  const bool is_last = chunk == chunk_of(position);
  const std::uint64_t width = node_.shape.head_width;
  float* out = call.out<float>(0) + (token * sizes_.heads + h) * width;
  if (is_first && is_last) return finish_avx2(width, *part.states, part.sum_v, out);
  if (is_first) {
    *total.states = *part.states;
    std::copy_n(part.sum_v, sizes_.width, total.sum_v);
  } else {
    merge_avx2(sizes_.width, *part.states, part.sum_v, total.states, total.sum_v);
  }
  if (is_last) finish_avx2(width, *total.states, total.sum_v, out);
}

// --- one token per sequence

void BlockAttention::decode(const sdk::Call& call) {
  const rt_step& step = call.step();
  Part* round = parts(call);
  std::uint64_t count = 0;
  std::uint64_t left = 0;  // parts of the whole step
  for (std::uint32_t b = 0; b < step.sequences; ++b) {
    if (token_count(step, b) != 1) continue;
    const std::uint64_t position = position_of(step, step.token_offsets[b]);
    left += chunk_of(position) - chunk_of(node_.first_key(position)) + 1;
  }
  // Whole rows are walked fastest; they are cut only while threads would stand idle.
  const std::uint64_t wanted = 2 * sizes_.workers;
  const std::uint64_t ranges =
      left == 0 ? 1 : std::min<std::uint64_t>(node_.shape.kv_heads, (wanted - 1) / left + 1);
  for (std::uint32_t b = 0; b < step.sequences; ++b) {
    if (token_count(step, b) != 1) continue;
    const auto token = static_cast<std::uint32_t>(step.token_offsets[b]);
    const std::uint64_t position = position_of(step, token);
    std::uint64_t chunk = chunk_of(node_.first_key(position));
    for (; chunk <= chunk_of(position); ++chunk) {
      round[count++] = {chunk, token, 0};
      if (--left > 0 && count < sizes_.slots) continue;
      decode_round(call, {count, ranges});
      count = 0;
    }
  }
}

void BlockAttention::decode_round(const sdk::Call& call, const Round& round) {
  const std::uint64_t row_work = 2 * sizes_.heads * sizes_.width;
  loop(call, round.parts * round.ranges, 1, row_work * kTileKeys / round.ranges,
       [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
         for (std::uint64_t unit = begin; unit < end; ++unit) {
           decode_part(call, round, unit, worker);
         }
       });
  loop(call, sizes_.heads, 1, round.parts * sizes_.width,
       [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
         for (std::uint64_t h = begin; h < end; ++h) merge_head(call, round, h);
       });
}

void BlockAttention::decode_part(const sdk::Call& call, const Round& round, std::uint64_t unit,
                                 std::uint32_t worker) {
  const std::uint64_t index = unit / round.ranges;
  const std::uint64_t range = unit % round.ranges;
  const Part& part = parts(call)[index];
  const std::uint64_t kv_heads = node_.shape.kv_heads;
  QueryBlock block = scratch(call, worker).block;
  block.tokens = 1;
  block.kv_begin = static_cast<std::uint32_t>(kv_heads * range / round.ranges);
  block.kv_end = static_cast<std::uint32_t>(kv_heads * (range + 1) / round.ranges);
  block.sub_keys = 8;
  const Sums sums = slot(call, index);
  block.sum_v = sums.sum_v + std::uint64_t{block.kv_begin} * group() * sizes_.width;
  block.states = sums.states + std::uint64_t{block.kv_begin} * group();
  const std::uint64_t row = sizes_.heads * node_.shape.head_width;
  load_queries_avx2(node_.shape, block, call.in<float>(0) + part.token * row);
  reset_avx2(node_.shape, block);
  attend_chunk(call, part.token, part.chunk, block);
}

// Parts stand in the order of sequences and chunks; a sequence that is not finished goes on in the
// next round, with its total.
void BlockAttention::merge_head(const sdk::Call& call, const Round& round, std::uint64_t h) {
  const auto row = [&](const Sums& sums) {
    return Sums{sums.sum_v + h * sizes_.width, sums.states + h};
  };
  const Sums total = row(slot(call, sizes_.slots));
  for (std::uint64_t i = 0; i < round.parts; ++i) {
    const Part& part = parts(call)[i];
    settle(call, part.token, h, part.chunk, row(slot(call, i)), total);
  }
}

// --- several tokens per sequence

void BlockAttention::prefill(const sdk::Call& call) {
  const rt_step& step = call.step();
  const std::uint64_t kv_heads = node_.shape.kv_heads;
  for (std::uint32_t b = 0; b < step.sequences; ++b) {
    const std::uint32_t tokens = token_count(step, b);
    if (tokens < 2) continue;
    const std::uint64_t blocks = (tokens - 1) / block_tokens() + 1;
    const std::uint64_t work = 2 * sizes_.width * kBlockRows * kTileKeys;
    loop(call, kv_heads * blocks, 1, work,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
           for (std::uint64_t unit = begin; unit < end; ++unit) {
             prefill_block(call, b, static_cast<std::uint32_t>(unit % kv_heads),
                           blocks - 1 - unit / kv_heads, worker);  // the longest first
           }
         });
  }
}

void BlockAttention::prefill_block(const sdk::Call& call, std::uint32_t b, std::uint32_t g,
                                   std::uint64_t index, std::uint32_t worker) {
  const rt_step& step = call.step();
  const std::uint64_t row = sizes_.heads * node_.shape.head_width;
  const auto token = static_cast<std::uint32_t>(step.token_offsets[b]) +
                     static_cast<std::uint32_t>(index * block_tokens());
  const auto end = static_cast<std::uint32_t>(step.token_offsets[b + 1]);
  const Scratch own = scratch(call, worker);
  QueryBlock block = own.block;
  block.tokens = std::min(block_tokens(), end - token);
  block.kv_begin = g;
  block.kv_end = g + 1;
  block.sub_keys = kTileKeys;
  load_queries_avx2(node_.shape, block, call.in<float>(0) + token * row);
  const std::uint64_t first_chunk = chunk_of(node_.first_key(position_of(step, token)));
  const std::uint64_t last_chunk = chunk_of(position_of(step, token + block.tokens - 1));
  for (std::uint64_t chunk = first_chunk; chunk <= last_chunk; ++chunk) {
    reset_avx2(node_.shape, block);
    attend_chunk(call, token, chunk, block);
    for (std::uint64_t r = 0; r < std::uint64_t{block.tokens} * group(); ++r) {
      const std::uint64_t t = token + r / group();
      const std::uint64_t position = position_of(step, t);
      if (chunk < chunk_of(node_.first_key(position)) || chunk > chunk_of(position)) continue;
      settle(call, t, std::uint64_t{g} * group() + r % group(), chunk,
             {block.sum_v + r * sizes_.width, block.states + r},
             {own.total.sum_v + r * sizes_.width, own.total.states + r});
    }
  }
}

}  // namespace rt::cpu
