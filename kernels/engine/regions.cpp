#include "engine/regions.h"

#include <algorithm>

namespace sterna {
namespace {

constexpr uint32_t kMaxLevels = 64, kMaxRegions = 1u << 16, kMaxRing = 64;
constexpr int64_t kMostSpansARow = 24;  // more are joined: computing the pixels between them costs less than more spans

Status Malformed(const char* message) { return Status::Error(StatusCode::kMalformedProgram, message); }

// The first and the last + 1 of `from` cells that lie under cells [first, end) of `to`.
int64_t FirstUnder(int64_t first, int64_t from, int64_t to) { return std::max<int64_t>(first, 0) * from / to; }
int64_t EndUnder(int64_t end, int64_t from, int64_t to) { return (std::min(end, to) * from + to - 1) / to; }

}  // namespace

// Words of a table, one after the other; 0 beyond its end, which `ok` tells.
class Regions::Words {
 public:
  Words(const uint32_t* words, size_t count) : at_(words), left_(count) {}
  uint32_t Next() {
    if (left_ == 0) {
      ok_ = false;
      return 0;
    }
    --left_;
    return *at_++;
  }
  bool ok() const { return ok_; }
  size_t left() const { return left_; }

 private:
  const uint32_t* at_;
  size_t left_;
  bool ok_ = true;
};

Status Regions::Parse(const uint32_t* words, size_t count, const Program& program, Memory* memory, std::unique_ptr<Regions>* regions) {
  Words read(words, count);
  if (read.Next() != kRegionsVersion) return Malformed("the table of regions has another format version");
  const uint32_t levels = read.Next(), pieces = read.Next(), ops = read.Next(), outputs = read.Next();
  if (levels > kMaxLevels || pieces > kMaxRegions) return Status::Error(StatusCode::kLimitExceeded, "too many levels or regions");
  if (ops != program.ops.size() || outputs != program.outputs.size()) return Malformed("the table of regions is of another program");
  if (!program.strips.empty()) return Malformed("a program with strips keeps no maps to run in part on");
  std::unique_ptr<Regions> made(new Regions());
  Status status = made->ReadLevels(&read, levels, memory);
  if (status.ok()) status = made->ReadRegions(&read, pieces, memory);
  std::vector<const Tensor*> of_ops, of_outputs;
  for (const OpView& op : program.ops) of_ops.push_back(&program.tensors[op.outputs[0]]);
  for (uint32_t id : program.outputs) of_outputs.push_back(&program.tensors[id]);
  if (status.ok()) status = made->ReadUses(&read, ops, of_ops, &made->ops_);
  if (status.ok()) status = made->ReadUses(&read, outputs, of_outputs, &made->outputs_);
  if (status.ok() && read.left() > 0) status = Malformed("words are left over after the table of regions");
  if (status.ok()) *regions = std::move(made);
  return status;
}

Status Regions::ReadLevels(Words* words, uint32_t count, Memory* memory) {
  levels_.resize(count);
  for (Level& level : levels_) {
    level.rows = words->Next(), level.columns = words->Next(), level.ring = words->Next(), level.whole = words->Next() != 0;
    if (!words->ok()) return Malformed("the table of regions is truncated");
    if (level.rows < 1 || level.columns < 1 || level.rows > (1 << 20) || level.columns > (1 << 20) || level.ring > kMaxRing) return Malformed("a level has no cells, or too many");
    level.spans_a_row = std::min((level.columns + 1) / 2, kMostSpansARow);
    const int64_t spans = level.whole ? 1 : level.rows * level.spans_a_row;
    const Status status = memory->Reserve(static_cast<uint64_t>(spans) * sizeof(Span) + static_cast<uint64_t>(level.columns) * sizeof(Columns));
    if (!status.ok()) return status;
    level.list.Reserve(static_cast<size_t>(spans));
    if (!level.whole) level.bounds.resize(static_cast<size_t>(level.columns));
  }
  active_before_.resize(kMaxActiveSide + 1);
  row_.reserve(kMostSpansARow);
  return Status::Ok();
}

Status Regions::ReadRegions(Words* words, uint32_t count, Memory* memory) {
  regions_.resize(count);
  for (Region& region : regions_) {
    const uint32_t pieces = words->Next();
    if (pieces < 1 || pieces > words->left() / 3) return Malformed("the table of regions is truncated");
    size_t spans = 0;
    for (uint32_t i = 0; i < pieces; ++i) {
      const int64_t least = EndOf(region);
      const Piece piece{words->Next(), words->Next(), words->Next()};
      if (piece.level >= levels_.size() || piece.pixels < 1 || piece.first < least) return Malformed("a piece of a region has no level or pixels, or overlaps another");
      region.pieces.push_back(piece);
      spans += levels_[piece.level].list.spans().capacity();
    }
    const Status status = memory->Reserve(spans * sizeof(Span));
    if (!status.ok()) return status;
    region.list.Reserve(spans);
  }
  return words->ok() ? Status::Ok() : Malformed("the table of regions is truncated");
}

Status Regions::ReadUses(Words* words, size_t count, const std::vector<const Tensor*>& tensors, std::vector<uint32_t>* uses) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t region = words->Next();
    if (!words->ok()) return Malformed("the table of regions is truncated");
    if (region != kNoRegion && (region >= regions_.size() || EndOf(regions_[region]) > tensors[i]->pixels())) return Malformed("a region reaches beyond its tensor");
    uses->push_back(region);
  }
  return Status::Ok();
}

int64_t Regions::EndOf(const Region& region) const {
  if (region.pieces.empty()) return 0;
  const Piece& last = region.pieces.back();
  return last.first + levels_[last.level].rows * levels_[last.level].columns * last.pixels;
}

bool Regions::Update(const ActiveCells& active) {
  const uint8_t* end = active.cells + active.rows * active.columns;
  const bool any = std::any_of(active.cells, end, [](uint8_t cell) { return cell != 0; });
  for (Level& level : levels_) {
    level.list.Clear();
    if (any && level.whole) level.list.Add(0, level.rows * level.columns);
    else if (any) FindCells(active, &level);
  }
  for (Region& region : regions_) {
    region.list.Clear();
    for (const Piece& piece : region.pieces) {
      for (const Span& span : levels_[piece.level].list.spans()) region.list.Add(piece.first + span.first * piece.pixels, span.count * piece.pixels);
    }
  }
  return any;
}

void Regions::FindCells(const ActiveCells& active, Level* level) {
  BoundColumns(active.columns, level);
  row_.clear();
  int64_t known_first = -1, known_end = -1;
  for (int64_t row = 0; row < level->rows; ++row) {
    const int64_t first = FirstUnder(row - level->ring, active.rows, level->rows), end = EndUnder(row + level->ring + 1, active.rows, level->rows);
    if (first != known_first || end != known_end) FindRow(active, first, end, *level);
    known_first = first, known_end = end;
    for (const Columns& columns : row_) level->list.Add(row * level->columns + columns.first, columns.end - columns.first);
  }
}

// Which cells of the picture lie under each column and its ring.
void Regions::BoundColumns(int64_t columns, Level* level) {
  if (level->bounds_of == columns) return;
  level->bounds_of = columns;
  for (int64_t x = 0; x < level->columns; ++x) {
    level->bounds[static_cast<size_t>(x)] = {FirstUnder(x - level->ring, columns, level->columns), EndUnder(x + level->ring + 1, columns, level->columns)};
  }
}

// The active columns of a row of a level that has the rows [first, end) of the picture under it.
void Regions::FindRow(const ActiveCells& active, int64_t first, int64_t end, const Level& level) {
  for (int64_t x = 0; x < active.columns; ++x) {
    uint8_t any = 0;
    for (int64_t y = first; y < end; ++y) any |= active.cells[y * active.columns + x];
    active_before_[static_cast<size_t>(x) + 1] = active_before_[static_cast<size_t>(x)] + (any != 0 ? 1 : 0);
  }
  row_.clear();
  if (active_before_[static_cast<size_t>(active.columns)] == 0) return;
  for (int64_t x = 0; x < level.columns; ++x) {
    const Columns& under = level.bounds[static_cast<size_t>(x)];
    if (active_before_[static_cast<size_t>(under.end)] == active_before_[static_cast<size_t>(under.first)]) continue;
    const bool follows = !row_.empty() && row_.back().end == x;
    if (follows || static_cast<int64_t>(row_.size()) == level.spans_a_row) row_.back().end = x + 1;
    else row_.push_back({x, x + 1});
  }
}

}  // namespace sterna
