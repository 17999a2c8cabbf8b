import { AgentError } from '../errors.js';
import type { DevicePipeline } from './device-pipeline.js';

/** The pipelines of a device, in the order of the configuration. There is at least one. */
export class Pipelines implements Iterable<DevicePipeline> {
  readonly all: readonly DevicePipeline[];

  constructor(all: readonly DevicePipeline[]) {
    this.all = all;
  }

  [Symbol.iterator](): Iterator<DevicePipeline> {
    return this.all[Symbol.iterator]();
  }

  /** The pipeline of this name; without a name, the first one. @throws AgentError E_PIPELINE_UNKNOWN */
  get(name?: string): DevicePipeline {
    const found = name === undefined ? this.all[0] : this.all.find((pipeline) => pipeline.name === name);
    if (found !== undefined) return found;
    throw new AgentError('E_PIPELINE_UNKNOWN', `This device has no pipeline ${name ?? ''}; it has ${this.all.map((pipeline) => pipeline.name).join(', ')}`);
  }

  /** The pipeline of this name; without a name, the first that has a camera, else the first. @throws AgentError E_PIPELINE_UNKNOWN */
  seeing(name?: string): DevicePipeline {
    return (name === undefined ? this.all.find(({ medium }) => medium === 'camera') : undefined) ?? this.get(name);
  }

  /** A line for the service manager that says what runs. */
  summary(): string {
    const texts = this.all.map((pipeline) => {
      const model = pipeline.model();
      return { name: pipeline.name, text: model === null ? 'waiting for a package' : `running ${model.name} ${model.version}` };
    });
    return texts.length === 1 ? texts[0]?.text ?? '' : texts.map(({ name, text }) => `${name}: ${text}`).join('; ');
  }

  /**
   * The pipeline whose embedder enrols people: the one of this name; without a name, the first that runs an embedder, else the first.
   * @throws AgentError E_PIPELINE_UNKNOWN
   */
  embedding(name?: string): DevicePipeline {
    const running = name === undefined ? this.all.find(({ slot }) => slot.running != null && slot.running.model.pipeline.embeddingSpaceId !== null) : undefined;
    return running ?? this.get(name);
  }
}
