import { describe, expect, it } from 'vitest';
import { chosenPipeline } from '../../../deploy/publish/pipeline.js';

describe('the pipeline that a command means', () => {
  it('is the named one, or the only one, or main', () => {
    expect(chosenPipeline('d', ['front', 'back'], 'back')).toBe('back');
    expect(chosenPipeline('d', ['front'])).toBe('front');
    expect(chosenPipeline('d', ['front', 'main'])).toBe('main');
    expect([chosenPipeline('d', []), chosenPipeline('d', [], 'back')]).toEqual(['main', 'back']);
  });

  it('has to be chosen among several, and to exist', () => {
    expect(() => chosenPipeline('d', ['front', 'back'])).toThrow('d has the pipelines front, back: choose one with --pipeline');
    expect(() => chosenPipeline('d', ['main'], 'attic')).toThrow(expect.objectContaining({ code: 'E_DEVICE_PIPELINE', message: 'd has the pipeline main, and no pipeline attic' }));
  });
});
