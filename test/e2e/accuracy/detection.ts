import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultPictureOptions } from '../../../deploy/compress/picture-options.js';
import { readSamples } from '../../../deploy/compress/samples.js';
import { ap50, type ScoredBox } from '../../../deploy/evaluate/average-precision.js';
import { decoderFor } from '../../../deploy/evaluate/decode.js';
import { readBoxes } from '../../../deploy/evaluate/truth.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import type { Anchor } from '../../../runtime/vision/decoders/family.js';
import type { Session } from '../../../runtime/session-types.js';
import { sharedFile } from '../../support/shared.js';
import { everyNth, type AccuracyTask, type Feeds } from './task.js';

/** SSD-MobileNetV2: mean over the classes that occur of AP at an overlap of one half. */
export async function detectionTask(): Promise<AccuracyTask> {
  const folder = sharedFile('samples/coco128');
  const model = readFileSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320_w8.onnx'));
  const anchors = (JSON.parse(readFileSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320.anchors.json'), 'utf8')) as { anchors: Anchor[] }).anchors;
  const names = readdirSync(join(folder, 'images')).sort();
  const feeds: Feeds[] = [];
  for await (const feed of readSamples(join(folder, 'images'), modelInputs(model), names.length, { ...defaultPictureOptions, fit: 'stretch' })) feeds.push(feed);
  const limit = Number(process.env['STERNA_ACCURACY_PICTURES'] ?? names.length);
  const boxes = await readBoxes(join(folder, 'labels'), names);
  const truth = names.slice(0, limit).flatMap((name, image) => (boxes.get(name) ?? []).map((box): ScoredBox => ({ ...box, image })));
  return {
    name: 'SSD-MobileNetV2 on coco128',
    metric: 'AP50',
    model,
    calibration: everyNth(feeds, 2),
    async score(session: Session) {
      const decoder = decoderFor(session.outputs, { width: 320, height: 320 }, { anchors });
      const found: ScoredBox[] = [];
      for (const [image, feed] of feeds.slice(0, limit).entries()) found.push(...decoder.decode(await session.run(feed)).map((box) => ({ ...box, image })));
      return ap50(found, truth);
    },
  };
}
