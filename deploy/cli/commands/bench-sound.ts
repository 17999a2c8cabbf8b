import type { Command } from 'commander';
import { sections, type SoundBenchOptions } from '../../bench/sound/sections.js';
import { measureSections } from '../bench-sections.js';
import { positive } from '../options.js';
import { reporting } from '../output.js';

interface SoundCommand extends Omit<SoundBenchOptions, 'signal'> {
  only: string[];
}

export function register(program: Command): void {
  program
    .command('bench-sound')
    .summary('measure hearing against its bars (npm run bench:sound)')
    .description('Measures features, decisions, the cost of listening, what windows could take over from those before, the time from sound to event beside a busy camera, how many sirens are heard, and what a student that begins with blocks of YAMNet costs and recognizes, also where labels are wrong, on one thread. Sections whose models or recordings are absent are left out and named.')
    .option('--only <sections...>', `only these sections: ${Object.keys(sections).join(', ')}`, [])
    .option('--seconds <n>', 'length of the replayed stream; its bar is meant for 600', positive, 20)
    .option('--hours <n>', 'hours of noise in which false alarms are counted', positive, 0.25)
    .option('--models <folder>', 'for published, student, student-cost and labels: a folder with yamnet_w8.onnx and silero_vad_v6.onnx; columns takes its yamnet_w8.onnx and kws_ref_model_float32.onnx too')
    .option('--sounds <folder>', 'for sirens, published, student and labels: recordings as ESC-10 has them, a folder for each class; their fold 4 is the noise')
    .action(reporting((self: Command, { only, ...options }: SoundCommand) => measureSections(self, sections, { only, given: (signal) => ({ ...options, signal }) })));
}
