import type { Command } from 'commander';
import type { LabBenchOptions } from '../../bench/lab/options.js';
import { sections } from '../../bench/lab/sections.js';
import { measureSections } from '../bench-sections.js';
import { integer } from '../options.js';
import { reporting } from '../output.js';

interface LabCommand extends Omit<LabBenchOptions, 'signal'> {
  only: string[];
}

export function register(program: Command): void {
  program
    .command('bench-lab')
    .summary('measure the lab against its bars (npm run bench:lab)')
    .description('Measures how exact gradients are; how long a training step takes beside PyTorch; what adapting thresholds takes on a device; what pruning by 40 % of the multiply-adds costs an embedder, a detector and a classifier, and what it gains in time; what tuned thresholds give a quantized model; what weights in floats of 6 to 16 bits cost; what SparseGPT and GPTQ keep of a character transformer that is trained for it; what MiniLLM gives a small character transformer over distillation and further training; what four ways to train a small embedder of faces give on people that it has not seen; and what robust losses give where labels are wrong. Seeds are fixed. Sections whose models or samples are absent are left out and named.')
    .option('--only <sections...>', `only these sections: ${Object.keys(sections).join(', ')}`, [])
    .option('--steps <n>', 'steps of each training', integer(1), 300)
    .option('--models <folder>', 'published models: fr_feature.onnx, version-RFB-320.onnx, ssd_mobilenet_v2_fpnlite_320_w8.onnx with its anchors, mobilenet_v2_224_f32.onnx, and others for the section minifloats')
    .option('--samples <folder>', 'a folder with orl, coco128, esc10 and text/tinyshakespeare.txt')
    .action(reporting((self: Command, { only, ...options }: LabCommand) => measureSections(self, sections, { only, given: (signal) => ({ ...options, signal }) })));
}
