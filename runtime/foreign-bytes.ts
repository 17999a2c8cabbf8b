/** What bytes are that were taken for a model, a package or a picture: the usual mix-ups, told by how they begin. */

const latin1 = (bytes: Uint8Array, from: number, to: number): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1', from, to);

/** First line of a pointer file (Git LFS specification, "The Pointer"). */
const lfsPointer = 'version https://git-lfs.github.com/spec/';

/** What became of a file of any kind on its way here, and the remedy; undefined when nothing is known. Completes "...: it is". */
export function describeMisfetched(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'it is empty';
  const head = latin1(bytes, 0, 64);
  if (head.startsWith(lfsPointer)) return 'it is a Git LFS pointer, not the file itself: run `git lfs pull` in the repository that it comes from';
  return /^\s*<(!doctype html|html)/i.test(head) ? 'it is a web page, so the download went wrong' : undefined;
}

/** As `describeMisfetched`, and what else is taken for an ONNX model. */
export function describeNoModel(bytes: Uint8Array): string | undefined {
  if (latin1(bytes, 4, 8) === 'TFL3') return 'it is a TensorFlow Lite model: convert it to ONNX first, for example with tf2onnx';
  if (latin1(bytes, 257, 262) === 'ustar') return 'it is a tar archive; a .sterna package is one: open it with openPackage';
  if (latin1(bytes, 0, 4) === 'PK\x03\x04') return 'it is a ZIP archive, as PyTorch writes them: export the model to ONNX';
  return describeMisfetched(bytes);
}
