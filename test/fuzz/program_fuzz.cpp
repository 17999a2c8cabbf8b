// Coverage-guided fuzzing of the program loader (libFuzzer): any bytes load or fail with a status, and what loads runs without harm.
// Mutations take programs apart (program_parts.h); one in eight is libFuzzer's own, on the bytes. test/fuzz/README.md says how to run it.
#include <cstdlib>
#include <memory>
#include <random>

#include "engine/engine.h"
#include "program_parts.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using sterna::DType;
using sterna::Tensor;
using sterna::TensorRecord;
using sterna_test::OpParts;
using sterna_test::ProgramParts;
using Bytes = std::vector<uint8_t>;

constexpr uint64_t kMemoryLimit = 1 << 20;
// Bound on the multiplications of one run: a fuzzer wants many short ones.
constexpr uint64_t kMaxWork = 1 << 24;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "program_fuzz: %s\n", what);
  std::abort();
}

// An upper bound: no op reads more than all elements of its largest input for one element of its output.
uint64_t WorkOf(const sterna::Program& program) {
  uint64_t work = 0;
  for (const sterna::OpView& op : program.ops) {
    uint64_t largest = 1;
    for (uint32_t i = 0; i < op.input_count; ++i) {
      if (op.inputs[i] != sterna::kAbsent) largest = std::max(largest, static_cast<uint64_t>(program.tensors[op.inputs[i]].elements));
    }
    for (uint32_t i = 0; i < op.output_count; ++i) work += largest * static_cast<uint64_t>(program.tensors[op.outputs[i]].elements);
  }
  return work;
}

void RunOnZeros(sterna::Engine& engine) {
  std::vector<Bytes> inputs, outputs;
  std::vector<const uint8_t*> in;
  std::vector<uint8_t*> out;
  for (size_t i = 0; i < engine.input_count(); ++i) inputs.emplace_back(engine.InputBytes(i));
  for (size_t i = 0; i < engine.output_count(); ++i) outputs.emplace_back(engine.OutputBytes(i));
  for (const Bytes& bytes : inputs) in.push_back(bytes.data());
  for (Bytes& bytes : outputs) out.push_back(bytes.data());
  const sterna::Status status = engine.Run(in.data(), out.data());
  if (!status.ok() && status.code != sterna::StatusCode::kInvalidArgument) Die("a run failed with a status that is not about its data");
}

class Mutator {
 public:
  Mutator(ProgramParts* parts, unsigned seed) : p_(*parts), random_(seed) {}

  void Mutate() {
    switch (Below(10)) {
      case 0: return MutateTensor();
      case 1: return ReplaceDim();
      case 2: case 3: return MutateAttribute();
      case 4: return MutateId();
      case 5: return EditOps();
      case 6: return MutateConstants();
      case 7: return MutateInterface();
      case 8: return MoveToStrip();
      default: p_.activation = p_.activation == 1 ? 2 : 1;
    }
  }

  // Lets every tensor fit into the arena, so that larger shapes get past the loader's first checks.
  void FitArena() {
    uint64_t end = 0;
    for (const TensorRecord& t : p_.tensors) {
      if (t.location != 0 || t.rank > sterna::kMaxRank) continue;
      uint64_t pixels = 1;
      for (int i = 0; i + 1 < t.rank; ++i) pixels = std::min<uint64_t>(pixels * std::max(t.dims[i], 1u), kMemoryLimit);
      end = std::max(end, t.offset + pixels * t.pixel_stride * 4);
    }
    p_.arena_bytes = end;
  }

  uint32_t Below(size_t n) { return n == 0 ? 0 : static_cast<uint32_t>(random_() % n); }

 private:
  uint32_t Interesting() {
    static constexpr uint32_t kValues[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1000, 4095, 4096, 4097, 32767, 32768,
                                           65535, 65536, 1u << 20, 1u << 24, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x3f800000 /* 1.0f */,
                                           0x7f800000 /* infinity */, 0x7fc00000 /* NaN */, 0x00000001 /* denormal */};
    return kValues[Below(sizeof(kValues) / sizeof(kValues[0]))];
  }
  uint32_t Changed(uint32_t v) {
    switch (Below(4)) {
      case 0: return v + 1;
      case 1: return v - 1;
      case 2: return 1u << Below(8);
      default: return Interesting();
    }
  }
  TensorRecord* AnyTensor() { return p_.tensors.empty() ? nullptr : &p_.tensors[Below(p_.tensors.size())]; }
  OpParts* AnyOp() { return p_.ops.empty() ? nullptr : &p_.ops[Below(p_.ops.size())]; }

  void MutateTensor() {
    TensorRecord* t = AnyTensor();
    if (t == nullptr) return;
    switch (Below(7)) {
      case 0: t->dtype = static_cast<uint8_t>(Below(5)); return;
      case 1: t->rank = static_cast<uint8_t>(Below(8)); return;
      case 2: t->location = static_cast<uint8_t>(Below(4)); return;
      case 3: t->pixel_stride = Changed(t->pixel_stride); return;
      case 4: t->offset = Below(2) == 0 ? t->offset + 4 * Below(64) : Interesting(); return;
      default: {
        uint32_t& dim = t->dims[Below(sterna::kMaxRank)];
        dim = Changed(dim);
      }
    }
  }
  // One size becomes another wherever it occurs, and strides follow: shapes go on fitting together.
  void ReplaceDim() {
    const TensorRecord* t = AnyTensor();
    if (t == nullptr || t->rank == 0 || t->rank > sterna::kMaxRank) return;
    const uint32_t from = t->dims[Below(t->rank)], to = 1 + Below(Below(4) == 0 ? 300 : 40);
    for (TensorRecord& u : p_.tensors) {
      for (int i = 0; i < u.rank && i < sterna::kMaxRank; ++i) u.dims[i] = u.dims[i] == from ? to : u.dims[i];
      if (u.pixel_stride == from) u.pixel_stride = to;
    }
  }
  void MutateAttribute() {
    OpParts* op = AnyOp();
    if (op == nullptr || op->attrs.size() < 4) return;
    uint8_t* at = op->attrs.data() + 4 * Below(op->attrs.size() / 4);
    uint32_t v;
    std::memcpy(&v, at, 4);
    v = Changed(v);
    std::memcpy(at, &v, 4);
  }
  void MutateId() {
    OpParts* op = AnyOp();
    if (op == nullptr || op->ids.empty()) return;
    op->ids[Below(op->ids.size())] = Below(8) == 0 ? sterna::kAbsent : Below(p_.tensors.size());
  }
  void EditOps() {
    if (p_.ops.empty()) return;
    const long i = Below(p_.ops.size()), j = Below(p_.ops.size());
    switch (Below(5)) {
      case 0: p_.ops.erase(p_.ops.begin() + i); return;
      case 1: p_.ops.insert(p_.ops.begin() + i, OpParts(p_.ops[static_cast<size_t>(j)])); return;
      case 2: std::swap(p_.ops[static_cast<size_t>(i)], p_.ops[static_cast<size_t>(j)]); return;
      case 3: p_.ops[static_cast<size_t>(i)].opcode = static_cast<uint16_t>(Below(48)); return;
      default: ResizeOperands(p_.ops[static_cast<size_t>(i)]);
    }
  }
  void ResizeOperands(OpParts& op) {
    if (Below(2) == 0) {
      op.ids.insert(op.ids.begin() + op.input_count, Below(p_.tensors.size()));
      ++op.input_count;
    } else if (op.input_count > 0) {
      op.ids.erase(op.ids.begin() + --op.input_count);
    }
  }
  void MutateConstants() {
    if (p_.constants.empty()) return;
    const size_t at = Below(p_.constants.size());
    const size_t n = std::min<size_t>(p_.constants.size() - at, 16);
    LLVMFuzzerMutate(p_.constants.data() + at, n, n);
  }
  // What an op writes is a map of a strip, or one in the arena again.
  void MoveToStrip() {
    const OpParts* op = AnyOp();
    if (op == nullptr || op->ids.empty() || op->ids.back() >= p_.tensors.size()) return;
    TensorRecord& t = p_.tensors[op->ids.back()];
    t.location = t.location == 3 ? 0 : 3;
    t.offset = 0;
  }
  void MutateInterface() {
    std::vector<uint32_t>& ids = Below(2) == 0 ? p_.inputs : p_.outputs;
    if (Below(3) == 0 && !ids.empty()) ids.pop_back();
    else ids.push_back(Below(p_.tensors.size() + 1));
  }

  ProgramParts& p_;
  std::minstd_rand random_;
};

// Puts b's tensors, ops and constants behind a's, so that later mutations can connect them.
void Graft(const ProgramParts& b, ProgramParts* a) {
  const uint32_t shift = static_cast<uint32_t>(a->tensors.size());
  a->constants.resize(sterna::RoundUp(a->constants.size(), 64));
  for (TensorRecord t : b.tensors) {
    if (t.location == 1) t.offset += a->constants.size();
    a->tensors.push_back(t);
  }
  for (OpParts op : b.ops) {
    for (uint32_t& id : op.ids) id = id == sterna::kAbsent ? id : id + shift;
    a->ops.push_back(std::move(op));
  }
  for (uint32_t id : b.inputs) a->inputs.push_back(id + shift);
  for (uint32_t id : b.outputs) a->outputs.push_back(id + shift);
  a->constants.insert(a->constants.end(), b.constants.begin(), b.constants.end());
  a->arena_bytes = std::max(a->arena_bytes, b.arena_bytes);
}

// Writes the program if it fits, else nothing.
size_t Deliver(const ProgramParts& parts, uint8_t* data, size_t max_size) {
  const Bytes bytes = sterna_test::PutTogether(parts);
  if (bytes.size() > max_size) return 0;
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::unique_ptr<sterna::Engine> engine;
  sterna::LoadOptions options;
  options.memory_limit = kMemoryLimit;
  const sterna::Status status = sterna::Engine::Load(data, size, options, &engine);
  if (!status.ok()) {
    if (status.message[0] == '\0' || engine != nullptr) Die("a program was refused without a message, or left an engine behind");
    return 0;
  }
  if (engine->memory_bytes() > kMemoryLimit) Die("a program took more memory than its limit");
  Bytes aligned(data, data + size);
  sterna::Program program;
  if (!sterna::ParseProgram(aligned.data(), size, kMemoryLimit, &program).ok()) Die("a program that loads does not parse");
  if (WorkOf(program) <= kMaxWork) RunOnZeros(*engine);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  ProgramParts parts;
  Mutator mutator(&parts, seed + 1);
  if (mutator.Below(8) == 0 || !sterna_test::TakeApart(Bytes(data, data + size), &parts)) return LLVMFuzzerMutate(data, size, max_size);
  for (uint32_t left = 1 + mutator.Below(3); left > 0; --left) mutator.Mutate();
  if (mutator.Below(4) != 0) mutator.FitArena();
  const size_t written = Deliver(parts, data, max_size);
  return written > 0 ? written : LLVMFuzzerMutate(data, size, max_size);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size, uint8_t* out, size_t max_size, unsigned) {
  ProgramParts first, second;
  if (!sterna_test::TakeApart(Bytes(a, a + a_size), &first) || !sterna_test::TakeApart(Bytes(b, b + b_size), &second)) return 0;
  Graft(second, &first);
  return Deliver(first, out, max_size);
}
