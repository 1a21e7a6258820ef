#include "core/memory/kv_tables.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "core/base/assert.h"

namespace rt {

Result<std::unique_ptr<KvTables>> KvTables::make(KvContext& context, std::uint32_t c) {
  std::unique_ptr<KvTables> tables(new KvTables(context, c));
  const KvPlan& plan = context.plan;
  const KvClass& kv_class = plan.classes()[c];
  const std::uint64_t sequences = plan.problem().max_sequences;
  const std::uint64_t entries = plan.table_entries(c);
  RT_TRY(tables->device_tables_, Buffer::make(context.device, MemoryKind::kStep,
                                              sequences * entries * sizeof(std::uint64_t)));
  tables->pages_ =
      KvPages::make(context.device, plan.page_bytes(c), sequences * plan.held_stripes(c),
                    kv_class.growth == RT_GROW_COMMIT);
  tables->tables_.resize(sequences);
  for (Table& table : tables->tables_) table.entries.assign(entries, 0);
  return tables;
}

std::uint64_t KvTables::stripes(std::uint64_t tokens) const {
  return (tokens + stripe_tokens() - 1) / stripe_tokens();
}

void KvTables::clear(KvSlot slot) {
  // A device that fails here is reported by the next step; the memory goes back all the same.
  (void)drop_back(slot, 0, 0);
  tables_[slot].first = 0;
}

std::uint64_t KvTables::capacity(KvSlot slot) const {
  return std::min(plan().problem().context_tokens, tables_[slot].end() * stripe_tokens());
}

std::uint64_t KvTables::room(KvSlot slot, const KvSequence& sequence) const {
  const Table& table = tables_[slot];
  std::uint64_t stripe = sequence.length / stripe_tokens();
  if (stripe < table.first) return sequence.length;  // emptied: begins again
  while (stripe < table.end() && pages_.references(table.at(stripe)) == 1) ++stripe;
  std::uint64_t tokens = std::max(sequence.length, stripe * stripe_tokens());
  if (kv_class().window > 0) {
    // One token more and the first page has left the window.
    tokens = std::min(tokens, (table.first + 1) * stripe_tokens() + kv_class().live_tokens - 1);
  }
  return tokens;
}

KvTables::Span KvTables::span(const KvGrowth& growth) const {
  const Table& table = tables_[growth.slot];
  const bool nothing_written = growth.tokens <= growth.sequence->length;
  Span span{};
  span.first = std::max(table.first, plan().first_stripe(class_index_, growth.tokens));
  span.end = std::max(stripes(growth.capacity), table.end());
  if (growth.sequence->length == 0 && table.first > 0) {
    // An emptied sequence begins again at its first token.
    span.first = 0;
    span.end = stripes(growth.capacity);
  }
  span.written = nothing_written ? span.end : growth.sequence->length / stripe_tokens();
  return span;
}

// The same walk as grow(), with the references that it would drop beside the counts. Touches only
// what changes: a forecast asks at every page of the context, and a look at all pages each time
// would make it quadratic.
void KvTables::tally(std::span<const KvGrowth> growths, KvTally& tally) const {
  std::unordered_map<KvPages::Page, std::uint32_t> dropped;
  const std::uint64_t bytes = pages_.page_bytes();
  const auto references = [&](KvPages::Page page) {
    const auto found = dropped.find(page);
    return pages_.references(page) - (found == dropped.end() ? 0 : found->second);
  };
  const auto drop = [&](KvPages::Page page) {
    ++dropped[page];
    if (references(page) == 0) tally.give_back(bytes);
  };
  const auto take = [&] { pages_.by_commit() ? tally.commit(bytes) : tally.take(bytes); };
  for (const KvGrowth& growth : growths) {
    const Table& table = tables_[growth.slot];
    const Span after = span(growth);
    const bool afresh = after.first < table.first;
    const std::uint64_t kept_end = afresh ? 0 : std::max(table.end(), after.first);
    const std::uint64_t dropped_end = afresh ? table.end() : std::min(after.first, table.end());
    for (std::uint64_t i = table.first; i < dropped_end; ++i) drop(table.at(i));
    for (std::uint64_t i = std::max(after.written, after.first); !afresh && i < table.end(); ++i) {
      if (references(table.at(i)) == 1) continue;
      take();
      drop(table.at(i));
    }
    for (std::uint64_t i = kept_end; i < after.end; ++i) take();
  }
}

Status KvTables::grow(std::span<const KvGrowth> growths) {
  for (const KvGrowth& growth : growths) RT_RETURN_IF_ERROR(grow_one(growth));
  return {};
}

// What was changed before a device refused is sent too: the sequence may go on as it was.
Status KvTables::grow_one(const KvGrowth& growth) {
  Status changed = change(growth);
  Status published = publish(growth.slot);
  return changed.ok() ? published : changed;
}

Status KvTables::change(const KvGrowth& growth) {
  Table& table = tables_[growth.slot];
  const Span after = span(growth);
  if (after.first < table.first) {
    RT_RETURN_IF_ERROR(drop_back(growth.slot, 0, growth.tokens));
    table.first = 0;
  }
  RT_RETURN_IF_ERROR(drop_front(growth.slot, after.first, growth.tokens));
  for (std::uint64_t i = std::max(after.written, after.first); i < table.end(); ++i) {
    RT_RETURN_IF_ERROR(own(growth, i));
  }
  while (table.end() < after.end) {
    RT_TRY(const KvPages::Page page, take(growth.slot, growth.tokens));
    append(table, page);
  }
  RT_ASSERT_LE(table.pages.size(), plan().held_stripes(class_index_));
  return {};
}

// Makes a page that others read, and that is about to be written, the sequence's own.
Status KvTables::own(const KvGrowth& growth, std::uint64_t stripe) {
  Table& table = tables_[growth.slot];
  const KvPages::Page page = table.at(stripe);
  if (pages_.references(page) == 1) return {};
  RT_TRY(const KvPages::Page copy, take(growth.slot, growth.tokens));
  if (Status copied = copy_stripe(growth, stripe, copy); !copied.ok()) {
    (void)drop(growth.slot, copy, growth.tokens);
    return copied;
  }
  table.at(stripe) = copy;
  table.entries[stripe] = address(copy);
  return drop(growth.slot, page, growth.tokens);
}

// Copies the sequence's rows of one stripe; what lies behind its length is nobody's.
Status KvTables::copy_stripe(const KvGrowth& growth, std::uint64_t stripe, KvPages::Page to) {
  const std::uint64_t begin = stripe * stripe_tokens();
  const std::uint64_t length = growth.sequence->length;
  if (length <= begin) return {};
  const std::uint64_t rows = std::min(length - begin, stripe_tokens());
  const std::byte* source = pages_.data(tables_[growth.slot].at(stripe));
  std::byte* target = pages_.data(to);
  std::uint64_t bytes = 0;
  for (const std::uint32_t layer : kv_class().layers) {
    const rt_kv_layout layout = plan().layout(layer, 0);
    RT_RETURN_IF_ERROR(device().copy(target + layout.k_offset, source + layout.k_offset,
                                     rows * layout.k_row_bytes));
    RT_RETURN_IF_ERROR(device().copy(target + layout.v_offset, source + layout.v_offset,
                                     rows * layout.v_row_bytes));
    bytes += rows * (layout.k_row_bytes + layout.v_row_bytes);
  }
  device().ledger().events.copied_bytes += bytes;
  tell(KvEventKind::kCopy, growth.slot, bytes, length);
  return device().synchronize();
}

Result<KvPages::Page> KvTables::take(KvSlot slot, std::uint64_t tokens) {
  const std::uint64_t before = pages_.standing();
  RT_TRY(const KvPages::Page page, pages_.take());
  if (pages_.standing() > before) tell(KvEventKind::kCommit, slot, pages_.page_bytes(), tokens);
  return page;
}

Status KvTables::drop(KvSlot slot, KvPages::Page page, std::uint64_t tokens) {
  RT_TRY(const bool given_back, pages_.drop(page));
  if (given_back) tell(KvEventKind::kDecommit, slot, pages_.page_bytes(), tokens);
  return {};
}

Status KvTables::drop_front(KvSlot slot, std::uint64_t first, std::uint64_t tokens) {
  Table& table = tables_[slot];
  const std::uint64_t end = std::min(first, table.end());
  Status status;
  for (std::uint64_t i = table.first; i < end; ++i) {
    table.entries[i] = 0;
    if (Status dropped = drop(slot, table.at(i), tokens); !dropped.ok()) status = dropped;
  }
  table.pages.erase(table.pages.begin(),
                    table.pages.begin() + static_cast<std::ptrdiff_t>(end - table.first));
  table.first = first;
  return status;
}

Status KvTables::drop_back(KvSlot slot, std::uint64_t end, std::uint64_t tokens) {
  Table& table = tables_[slot];
  Status status;
  while (table.end() > std::max(end, table.first)) {
    const KvPages::Page page = table.pages.back();
    table.pages.pop_back();
    table.entries[table.end()] = 0;
    if (Status dropped = drop(slot, page, tokens); !dropped.ok()) status = dropped;
  }
  return status;
}

Status KvTables::fork(KvSlot from, const KvGrowth& to) {
  const Table& source = tables_[from];
  Table& target = tables_[to.slot];
  RT_ASSERT(target.pages.empty());
  target.first = source.first;
  const std::uint64_t end = std::max(source.first, stripes(to.sequence->length));
  for (std::uint64_t i = source.first; i < end; ++i) {
    pages_.share(source.at(i));
    append(target, source.at(i));
  }
  return publish(to.slot);
}

// The next query looks back W - 1 tokens.
std::uint64_t KvTables::valid(KvSlot slot, const KvSequence&, std::uint64_t n) const {
  if (kv_class().window == 0) return n;
  const std::uint64_t back = std::uint64_t{kv_class().window} - 1;
  return n - std::min(n, back) >= tables_[slot].first * stripe_tokens() ? n : 0;
}

Status KvTables::trim(KvSlot slot, const KvSequence& sequence, std::uint64_t wanted) {
  Table& table = tables_[slot];
  const bool afresh = sequence.length == 0 && table.first > 0;
  Status dropped = drop_back(slot, afresh ? 0 : stripes(wanted), sequence.length);
  if (afresh) table.first = 0;
  Status published = publish(slot);
  return dropped.ok() ? published : dropped;
}

std::uint64_t KvTables::shared(KvSlot slot, KvSlot earlier, std::uint64_t tokens) const {
  const Table& mine = tables_[slot];
  const Table& other = tables_[earlier];
  const std::uint64_t begin = std::max(mine.first, other.first);
  std::uint64_t end = begin;
  while (end < std::min(mine.end(), other.end()) && mine.at(end) == other.at(end)) ++end;
  return end == begin ? 0 : std::min(tokens, end * stripe_tokens());
}

std::uint64_t KvTables::table(KvSlot slot) const {
  return reinterpret_cast<std::uint64_t>(device_tables_.data()) +
         slot * plan().table_entries(class_index_) * sizeof(std::uint64_t);
}

std::uint64_t KvTables::host_table(KvSlot slot) const {
  return reinterpret_cast<std::uint64_t>(tables_[slot].entries.data());
}

std::uint64_t KvTables::uncommitted_bytes() const {
  if (!pages_.by_commit()) return 0;
  return plan().uncommitted_pages(class_index_, pages_.standing()) * pages_.page_bytes();
}

std::uint64_t KvTables::address(KvPages::Page page) const {
  return reinterpret_cast<std::uint64_t>(pages_.data(page));
}

void KvTables::append(Table& table, KvPages::Page page) {
  table.entries[table.end()] = address(page);
  table.pages.push_back(page);
}

// The stream is idle between steps, so entries may be rewritten while none is on its way.
Status KvTables::publish(KvSlot slot) {
  const std::vector<std::uint64_t>& entries = tables_[slot].entries;
  const std::uint64_t bytes = entries.size() * sizeof(std::uint64_t);
  auto* to = device_tables_.data() + slot * bytes;
  if (device().desc().host_readable == 0) return device().upload(to, entries.data(), bytes);
  std::memcpy(to, entries.data(), bytes);
  return {};
}

}  // namespace rt
