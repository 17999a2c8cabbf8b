import type { ManifestInput } from '../../../runtime/package/manifest.js';
import { description } from '../pipeline/fakes.js';

export const manifest: ManifestInput = {
  schema_version: 2, name: 'door', version: '1.2.0', release_counter: 3, minimum_runtime: '0.1.0', embedding_space_id: 'colours',
  pipeline: description, golden: [], budget: { ram_bytes: 1 << 20, p99_ms: 1000 },
};

export const files: Record<string, Uint8Array> = {
  'models/detector.onnx': Buffer.from('detector'), 'models/landmarks.onnx': Buffer.from('landmarks'), 'models/embedder.onnx': Buffer.from('embedder'),
};
