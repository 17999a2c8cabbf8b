// sterna_run_program PROGRAM [RUNS [ISA [THREADS]]]: runs a serialized program on a fixed input, without Node.
//
// Prints the checksum of the outputs (CRC-32, zlib's) and the time of the fastest run. For comparing CPUs and instruction sets (a
// program gives the same checksum wherever it runs, `ref` included), and for counting instructions under an emulator: count N runs
// and N + 10 runs, and take a tenth of the difference. Bytes of the u8 and the s8 form of one program's input differ by 128, as they
// should, so programs whose outputs are float give the same checksum in both forms.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "engine/engine.h"

namespace {

using Bytes = std::vector<uint8_t>;

bool ReadFile(const char* path, Bytes* bytes) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return false;
  uint8_t chunk[65536];
  for (size_t n; (n = std::fread(chunk, 1, sizeof(chunk), file)) > 0;) bytes->insert(bytes->end(), chunk, chunk + n);
  const bool ok = std::ferror(file) == 0;
  std::fclose(file);
  return ok;
}

uint32_t Crc32(const Bytes& bytes) {
  uint32_t crc = 0xffffffffu;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

// Numbers of a linear congruential generator (Numerical Recipes): bytes, floats in [-1, 1), or zeros for indices.
void Fill(sterna::DType type, Bytes* bytes) {
  uint32_t state = 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 24; };
  if (type == sterna::DType::kF32) {
    for (size_t i = 0; i + 4 <= bytes->size(); i += 4) {
      const float value = (static_cast<float>(next()) - 128.0f) / 128.0f;
      std::memcpy(bytes->data() + i, &value, sizeof(value));
    }
  } else if (type != sterna::DType::kS32) {
    const uint32_t flip = type == sterna::DType::kS8 ? 0x80 : 0;
    for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(next() ^ flip);
  }
}

int Fail(const sterna::Status& status) {
  std::fprintf(stderr, "sterna_run_program: %s (op %d)\n", status.message, status.op);
  return 1;
}

struct Buffers {
  std::vector<Bytes> inputs, outputs;
  std::vector<const uint8_t*> in;
  std::vector<uint8_t*> out;
};

// `program` says the types, which the engine does not.
Buffers MakeBuffers(const sterna::Engine& engine, const sterna::Program& program) {
  Buffers b;
  for (size_t i = 0; i < engine.input_count(); ++i) {
    b.inputs.emplace_back(engine.InputBytes(i));
    Fill(program.tensors[program.inputs[i]].dtype, &b.inputs.back());
  }
  for (size_t i = 0; i < engine.output_count(); ++i) b.outputs.emplace_back(engine.OutputBytes(i));
  for (const Bytes& input : b.inputs) b.in.push_back(input.data());
  for (Bytes& output : b.outputs) b.out.push_back(output.data());
  return b;
}

int Run(const Bytes& bytes, long runs, const sterna::LoadOptions& options) {
  sterna::Program program;
  sterna::Status status = sterna::ParseProgram(bytes.data(), bytes.size(), options.memory_limit, &program);
  std::unique_ptr<sterna::Engine> engine;
  if (status.ok()) status = sterna::Engine::Load(bytes.data(), bytes.size(), options, &engine);
  if (!status.ok()) return Fail(status);
  Buffers buffers = MakeBuffers(*engine, program);
  double best = std::numeric_limits<double>::infinity();
  for (long run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    status = engine->Run(buffers.in.data(), buffers.out.data());
    if (!status.ok()) return Fail(status);
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::printf("isa %s, %d threads, %ld runs, fastest %.3f ms\n", engine->isa(), engine->threads(), runs, best);
  for (size_t i = 0; i < buffers.outputs.size(); ++i) {
    std::printf("output %zu: %zu bytes, crc32 %08x\n", i, buffers.outputs[i].size(), static_cast<unsigned>(Crc32(buffers.outputs[i])));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Bytes bytes;
  if (argc < 2 || argc > 5) {
    std::fprintf(stderr, "Usage: sterna_run_program PROGRAM [RUNS [ISA [THREADS]]]\n");
    return 2;
  }
  if (!ReadFile(argv[1], &bytes)) {
    std::fprintf(stderr, "sterna_run_program: cannot read %s\n", argv[1]);
    return 1;
  }
  sterna::LoadOptions options;
  const long runs = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 1;
  if (argc > 3 && argv[3][0] != '\0') options.isa = argv[3];
  if (argc > 4) options.threads = static_cast<int>(std::strtol(argv[4], nullptr, 10));
  if (runs < 1) {
    std::fprintf(stderr, "Expected at least 1 for RUNS but received %s\n", argv[2]);
    return 2;
  }
  return Run(bytes, runs, options);
}
