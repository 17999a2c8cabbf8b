/** What kernels/README.md says of adding kernels: a toy family and a toy instruction set, in the places that it names and in no other. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isas } from '../../kernels/binding/tables.js';
import { temporaryFolder } from '../support/folder.js';

const { engineTables } = await import(new URL('../../scripts/lib/reference/engine-tables.mjs', import.meta.url).href) as { engineTables: (isas?: string, header?: string) => string };
const kernels = new URL('../../kernels/', import.meta.url).pathname;
const compiler = process.env['CXX'] ?? 'c++';
const missing = ['cmake', compiler].find((program) => spawnSync(program, ['--version']).status !== 0);
const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const toyRow = `sterna_isa(toyisa ARCH ${arch} ACTIVATION u8 FEATURES toyfeature)\n`;

const descriptor = (symbol: string, variant: string) => `#include "kernel.h"
namespace { void Run() {} }
extern "C" {
extern const sterna::ToyKernel ${symbol};
const sterna::ToyKernel ${symbol} = {"toy/${variant}", Run};
}
`;

function run(command: string, args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
}

it.skipIf(missing !== undefined)(`a toy family is a folder and a row, and a toy instruction set a row and a unit${missing === undefined ? '' : ` (skipped: no ${missing})`}`, () => {
  const folder = temporaryFolder(), tree = join(folder, 'kernels'), build = join(folder, 'build');
  cpSync(kernels, tree, { recursive: true });
  mkdirSync(join(tree, 'families', 'toy'));
  writeFileSync(join(tree, 'families', 'toy', 'kernel.h'), '#pragma once\nnamespace sterna {\nstruct ToyKernel {\n  const char* name;\n  void (*run)();\n};\n}\n');
  writeFileSync(join(tree, 'families', 'toy', 'ref.cpp'), descriptor('sterna_toy_ref', 'ref'));
  writeFileSync(join(tree, 'families', 'toy', 'toyisa.cpp'), descriptor('sterna_toy_toyisa', 'toyisa'));
  const table = join(tree, 'families', 'families.h');
  writeFileSync(table, readFileSync(table, 'utf8').replace('  UNTYPED(gemm_f32, ', '  UNTYPED(toy, ToyKernel) \\\n  UNTYPED(gemm_f32, '));
  appendFileSync(join(tree, 'isa', 'isa.cmake'), toyRow);
  run('cmake', ['-S', tree, '-B', build, '-DSTERNA_NODE=OFF', '-DSTERNA_TESTS=OFF']);
  const generated = join(build, 'generated', 'isa_tables.cpp');
  const row = readFileSync(generated, 'utf8').split('\n').find((line) => line.includes('"toyisa"'));
  expect(row).toMatch(/&sterna_toy_toyisa.*true, "(x86_64|aarch64)", "toyfeature"/);
  writeFileSync(join(folder, 'main.cpp'), `#include "families/toy/kernel.h"
#include "sterna/registry.h"
extern "C" const sterna::ToyKernel sterna_toy_toyisa;
namespace sterna {
const CpuInfo& DetectCpu() {
  static const CpuInfo cpu{"${arch}", "toy", {"toyfeature"}};
  return cpu;
}
const KernelSet* use(KernelSet* set) { return SelectKernels("toyisa", DType::kU8, set).ok() && set->toy == &sterna_toy_toyisa ? set : nullptr; }
}
`);
  const sources = [generated, join(tree, 'core', 'registry.cpp'), join(folder, 'main.cpp'), join(tree, 'families', 'toy', 'ref.cpp'), join(tree, 'families', 'toy', 'toyisa.cpp')];
  run(compiler, ['-std=c++17', '-Wall', '-Werror', '-fsyntax-only', '-I', join(tree, 'include'), '-I', tree, ...sources]);
});

it('a row of isa.cmake and of program.h is in the tables of TypeScript', () => {
  const isa = readFileSync(join(kernels, 'isa', 'isa.cmake'), 'utf8'), header = readFileSync(join(kernels, 'include', 'sterna', 'program.h'), 'utf8');
  const tables = engineTables(isa + toyRow, header
    .replace('enum class OpCode : uint16_t {', 'enum class OpCode : uint16_t {\n  kToy = 99,  // x -> y   ToyAttrs')
    .replace('struct GatherAttrs {', 'struct ToyAttrs {\n  int32_t kind;\n  float scale;\n};\nstruct GatherAttrs {'));
  expect(tables).toContain(`export const isas = [${[...isas, 'toyisa'].map((name) => `'${name}'`).join(', ')}] as const;`);
  expect(tables).toContain("  toyisa: 'uint8',");
  expect(tables).toContain('  Toy: 99,');
  expect(tables).toContain("  Toy: { kind: 'i32', scale: 'f32' },");
});

it('an op whose comment does not name its attributes is refused', () => {
  const header = readFileSync(join(kernels, 'include', 'sterna', 'program.h'), 'utf8');
  expect(() => engineTables(undefined, header.replace('enum class OpCode : uint16_t {', 'enum class OpCode : uint16_t {\n  kToy = 99,  // x -> y'))).toThrow('kToy');
});

it('the README answers each question in at most five lines that name one folder', () => {
  const readme = readFileSync(join(kernels, 'README.md'), 'utf8');
  for (const [question, folder] of [['How to add a kernel for a new ISA', '[isa](isa)'], ['How to add a kernel family', '`families/<family>/`'], ['How to add an operator to the engine', '[engine/ops](engine/ops)']] as const) {
    const answer = readme.split(`## ${question}\n`)[1]?.split('\n## ')[0]?.trim().split('\n') ?? [];
    expect(answer[0]).toContain(`One folder, ${folder}`);
    expect(answer.length).toBeLessThanOrEqual(5);
  }
});
