import type { GraphEditor } from '../../graph/editor.js';
import type { Node } from '../../graph/graph.js';
import { scalar } from '../../graph/tensor-value.js';
import { gridRange, type AffineParameters, type Range } from '../ranges/range.js';
import { operand, optionalOperand } from '../../graph/operands.js';

/** What a Relu or Clip lets through, undefined for other operators and bounds that are computed. */
function boundsOf(editor: GraphEditor, node: Node | undefined): Range | undefined {
  if (node?.op === 'Relu') return { min: 0, max: Infinity };
  if (node?.op !== 'Clip') return undefined;
  const bound = (index: number, unbounded: number): number | undefined => {
    const name = optionalOperand(node, index);
    if (name === undefined) return unbounded;
    const value = editor.constant(name)?.data[0];
    return value === undefined ? undefined : Number(value);
  };
  const [min, max] = [bound(1, -Infinity), bound(2, Infinity)];
  return min === undefined || max === undefined ? undefined : { min, max };
}

/**
 * A Clip to the numbers that fewer codes than 256 express, without which QuantizeLinear would write all 256: it saturates where its type
 * ends. A Relu or Clip that makes the value becomes that Clip.
 * @param source float value that is read for its codes only
 * @returns the clamped value
 */
export function clampToCodes(editor: GraphEditor, source: string, parameters: AffineParameters): string {
  if (parameters.levels === undefined) return source;
  const maker = editor.producer(source);
  const known = boundsOf(editor, maker);
  const { min, max } = gridRange(parameters);
  const bounds = [Math.max(min, known?.min ?? -Infinity), Math.min(max, known?.max ?? Infinity)];
  const operands = bounds.map((bound, i) => editor.addConstant(`${source}_${i === 0 ? 'lowest' : 'highest'}`, scalar('float32', bound)));
  if (maker !== undefined && known !== undefined) {
    editor.replace(maker, { op: 'Clip', inputs: [operand(maker, 0), ...operands], attributes: {} });
    return source;
  }
  return editor.insert({ name: `${source}_Clip`, op: 'Clip', inputs: [source, ...operands] }, editor.type(source));
}
