import type { Command } from 'commander';
import { sections, type SectionOptions } from '../../bench/pipeline/sections.js';
import { measureSections } from '../bench-sections.js';
import { positive } from '../options.js';
import { log, reporting } from '../output.js';

interface PipelineCommand extends Omit<SectionOptions, 'signal' | 'progress'> { only: string[] }

export function register(program: Command): void {
  program
    .command('bench-pipeline')
    .summary('measure whole pipelines against their bars (npm run bench:pipeline)')
    .description('Measures whole pipelines, section by section, on one thread, and says which figures reach their bars. Sections whose models or films are absent are left out and named.')
    .option('--only <sections...>', `only these sections: ${Object.keys(sections).join(', ')}`, [])
    .option('--seconds <n>', 'length of each measurement that takes a time', positive, 60)
    .option('--detector <file>', 'for incremental: an .onnx detector that knows persons')
    .option('--footage <file>', 'for incremental: a video or a folder of pictures, of a fixed camera that sees persons')
    .option('--anchors <file.json>', 'for incremental: anchors of a detector with SSD heads, as `sterna run --anchors` takes them')
    .option('--models <folder>', 'for detectors: published models, nanodet_m_320.onnx, yolox_nano.onnx, ssd_mobilenet_v2_fpnlite_320_w8.onnx with its anchors, yunet_n_320_320.onnx and version-RFB-320.onnx')
    .option('--samples <folder>', 'for detectors: a folder with coco128/images and coco128/labels')
    .action(reporting((self: Command, { only, ...options }: PipelineCommand) => measureSections(self, sections, { only, given: (signal) => ({ ...options, signal, progress: (line) => log(self, `sterna: ${line}`) }) })));
}
