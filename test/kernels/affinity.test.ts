import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseCores, coresFor, readCores, type Affinity } from '../../kernels/binding/affinity.js';
import { KernelError, loadProgram } from '../../kernels/binding/index.js';
import { loadAddon } from '../../kernels/binding/load.js';
import { temporaryFolder } from '../support/folder.js';

/** A tree of /proc and /sys: files of each CPU, and the CPUs that the process may use. */
function tree(cpus: readonly Readonly<Record<string, number>>[], allowed?: string): string {
  const root = temporaryFolder();
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  cpus.forEach((files, i) => {
    write(`sys/devices/system/cpu/cpu${i}/uevent`, '');
    for (const [file, value] of Object.entries(files)) write(`sys/devices/system/cpu/cpu${i}/${file}`, `${value}\n`);
  });
  write('sys/devices/system/cpu/cpufreq/boost', '1\n');
  if (allowed !== undefined) write('proc/self/status', `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\nMems_allowed:\t1\n`);
  return root;
}

const capacities = (...values: number[]): Readonly<Record<string, number>>[] => values.map((cpu_capacity) => ({ cpu_capacity }));
const clocks = (...values: number[]): Readonly<Record<string, number>>[] => values.map((khz) => ({ 'cpufreq/cpuinfo_max_freq': khz }));
const chosen = (root: string, affinity: Affinity) => chooseCores(readCores(root), affinity).cpus;

describe('the choice of cores', () => {
  it('tells the clusters of a big.LITTLE apart by their capacity', () => {
    const root = tree(capacities(446, 446, 446, 446, 1024, 1024), '0-5');  // RK3399: 4 Cortex-A53, 2 Cortex-A72
    expect(chosen(root, 'big')).toEqual([4, 5]);
    expect(chosen(root, 'little')).toEqual([0, 1, 2, 3]);
    expect(chosen(root, 'any')).toBeNull();
    expect(chooseCores(readCores(root), 'big').reason).toBe('big cores: 4, 5');
  });

  it('takes all but the slowest of three kinds as big', () => {
    const root = tree(capacities(250, 250, 250, 250, 870, 870, 870, 1024));
    expect(chosen(root, 'big')).toEqual([4, 5, 6, 7]);
    expect(chosen(root, 'little')).toEqual([0, 1, 2, 3]);
  });

  it('falls back to the highest clocks when a capacity is missing, and reads CPUs in order of number', () => {
    const cpus = clocks(...Array<number>(10).fill(1_800_000), 3_900_000, 3_900_000);
    const root = tree(cpus.map((files, i) => (i === 3 ? files : { ...files, cpu_capacity: 1024 })));
    expect(chosen(root, 'big')).toEqual([10, 11]);
    expect(chosen(root, 'little')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('stays within the cores that the process may use', () => {
    const cpus = capacities(446, 446, 446, 446, 1024, 1024);
    expect(chosen(tree(cpus, '2-3,5'), 'big')).toEqual([5]);
    expect(chosen(tree(cpus, '2-3,5'), 'little')).toEqual([2, 3]);
    expect(chosen(tree(cpus, '4-5'), 'little')).toBeNull();
  });

  it.each([
    ['one cluster', () => tree(capacities(1024, 1024, 1024, 1024)), 'all cores are of one kind'],
    ['x86 whose best cores turbo higher', () => tree(clocks(5_000_000, 5_000_000, 5_300_000, 5_300_000)), 'all cores are of one kind'],
    ['no capacities and no clocks', () => tree([{}, {}]), 'does not say'],
    ['no sysfs', temporaryFolder, 'does not say'],
  ])('changes nothing and says why: %s', (_case, root, why) => {
    for (const affinity of ['big', 'little'] as const) {
      const choice = chooseCores(readCores(root()), affinity);
      expect(choice.cpus).toBeNull();
      expect(choice.reason).toContain(why);
    }
  });

  it('refuses what is no affinity', () => {
    expect(() => coresFor('medium' as Affinity)).toThrow(new KernelError('E_ARGUMENT', 'Expected one of any, big, little for affinity but received medium'));
    expect(() => loadProgram(new Uint8Array(8), { affinity: 'medium' as Affinity })).toThrow('for affinity but received medium');
  });

  it.each([[[]], [[-1]], [[0.5]], [[4096]], ['0'], [[0, 'x']]])('is checked by the addon: %j', (cpus) => {
    expect(() => loadAddon().loadProgram(new Uint8Array(8), { cpus } as never)).toThrow('Expected CPUs that this process may use');
  });
});
