// Incremental runs: which pixels of each op's output are computed anew, and which are kept from the run before.
//
// Whoever runs a program says which cells of its picture have changed (ActiveCells). A level is the grid of the feature maps of one size: a cell
// of it is active where an active cell of the picture lies under it or under its ring of neighbours; coarse levels are computed in full. A region
// says which pixels of a tensor belong to which cells of which levels, and each op has one: its output's pixels in the region's active cells are
// computed, from what its inputs hold at that time, and all others stay as they are. An op without a region, or whose driver cannot compute
// single pixels, is run in full.
//
// The table comes from the compiler beside the program (runtime/incremental/regions.ts), which lets no two values share memory then. It is
// untrusted, as the program is: u32 words,
//
//   kRegionsVersion, levels, regions, ops, outputs
//   each level:   rows, columns, ring (cells), whole (1: computed in full)
//   each region:  pieces, then for each piece: level, pixels of a cell, first pixel
//   each op:      its region, or kNoRegion
//   each output:  its region, or kNoRegion
//
// The pixels of a piece lie behind those of the piece before.
#pragma once
#include <memory>
#include <vector>

#include "engine/op.h"
#include "engine/spans.h"

namespace sterna {

constexpr uint32_t kRegionsVersion = 1;
constexpr uint32_t kNoRegion = 0xffffffffu;
constexpr int64_t kMaxActiveSide = 4096;

// A grid over the picture, row-major: cells that are not 0 have changed.
struct ActiveCells {
  const uint8_t* cells;
  int64_t rows, columns;  // 1..kMaxActiveSide
};

class Regions {
 public:
  // Errors: kMalformedProgram, kLimitExceeded.
  static Status Parse(const uint32_t* words, size_t count, const Program& program, Memory* memory, std::unique_ptr<Regions>* regions);

  // Finds the active cells of all levels and the pixels of all regions. False: nothing is active.
  bool Update(const ActiveCells& active);

  // Null: in full. The lists stay where they are.
  const SpanList* op(size_t i) const { return List(ops_[i]); }
  const SpanList* output(size_t i) const { return List(outputs_[i]); }

 private:
  struct Columns {
    int64_t first, end;
  };
  struct Level {
    int64_t rows, columns, ring;
    bool whole;
    int64_t spans_a_row;
    std::vector<Columns> bounds;  // by column: which columns of the picture's grid lie under it
    int64_t bounds_of = 0;        // the width of that grid
    SpanList list;
  };
  struct Piece {
    uint32_t level;
    int64_t pixels, first;
  };
  struct Region {
    std::vector<Piece> pieces;
    SpanList list;
  };
  class Words;

  Status ReadLevels(Words* words, uint32_t count, Memory* memory);
  Status ReadRegions(Words* words, uint32_t count, Memory* memory);
  Status ReadUses(Words* words, size_t count, const std::vector<const Tensor*>& tensors, std::vector<uint32_t>* uses);
  const SpanList* List(uint32_t region) const { return region == kNoRegion ? nullptr : &regions_[region].list; }
  int64_t EndOf(const Region& region) const;
  void FindCells(const ActiveCells& active, Level* level);
  static void BoundColumns(int64_t columns, Level* level);
  void FindRow(const ActiveCells& active, int64_t first, int64_t end, const Level& level);

  std::vector<Level> levels_;
  std::vector<Region> regions_;
  std::vector<uint32_t> ops_, outputs_;
  std::vector<int32_t> active_before_;  // active columns of some rows of the picture's grid, before each column
  std::vector<Columns> row_;            // active columns of a row of a level
};

// The part of an op that a run computes. Units: pixels, counted along the list.
class PartOp final : public OpDriver {
 public:
  PartOp(OpDriver* op, const SpanList* list, int64_t pixels) : op_(op), list_(list), pixels_(pixels) {
    granularity_ = 32;  // a few tiles of a GEMM
    scratch_bytes_ = op->span_scratch_bytes();
    kernel_ = op->kernel();
    flushes_ = op->flushes();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override { op_->RunSpans(SpanReader(*list_, begin, end), scratch); }
  bool Succeeded() override { return op_->Succeeded(); }
  const char* problem() const override { return op_->problem(); }

  // Before each run, after the list has changed.
  void Update() {
    units_ = list_->pixels();
    cost_ = op_->cost() * units_ / pixels_;
  }
  // Whether all of the output is wanted: then the op without a list is faster.
  bool everything() const { return units_ == pixels_; }

 private:
  OpDriver* op_;
  const SpanList* list_;
  int64_t pixels_;  // of the whole output
};

}  // namespace sterna
