import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';

/** What takes a stream of bytes into memory of its own, and makes items of them. */
export interface ByteSink<T> {
  /** Where the next bytes belong; never empty. */
  room(): Uint8Array;
  /** So many bytes have come there. @returns the items that are complete with them */
  filled(count: number): readonly T[];
}

/** Copies a piece of a stream to where it belongs. */
export function* pushInto<T>(sink: ByteSink<T>, chunk: Uint8Array): Generator<T, void, undefined> {
  for (let rest = chunk; rest.length > 0;) {
    const room = sink.room();
    const count = Math.min(rest.length, room.length);
    room.set(rest.subarray(0, count));
    rest = rest.subarray(count);
    yield* sink.filled(count);
  }
}

/**
 * Reads a pipe straight to where its bytes belong, and not on before its items are taken. Streams of Node.js take a buffer of 64 KiB for each read, which
 * is garbage afterwards.
 * @param fd the end of a pipe that is read; it is closed with the iteration
 * @throws what `sink` throws, and errors of the system
 */
export async function* readInto<T>(fd: number, sink: ByteSink<T>): AsyncGenerator<T, void, undefined> {
  const ready: T[] = [];
  let failure: { error: unknown } | undefined;
  let ended = false;
  let wake: () => void = () => undefined;
  const take = (count: number): boolean => {
    try {
      ready.push(...sink.filled(count));
    } catch (error) {
      failure = { error };
    }
    if (ready.length === 0 && failure === undefined) return true;
    wake();
    return false;
  };
  const options: SocketConstructorOpts & { onread: OnReadOpts } = { fd, readable: true, writable: false, onread: { buffer: () => sink.room(), callback: take } };
  const socket = new Socket(options);
  socket.once('error', (error) => { failure ??= { error }; wake(); });
  socket.once('close', () => { ended = true; wake(); });
  try {
    for (;;) {
      const item = ready.shift();
      if (item !== undefined) yield item;
      else if (failure !== undefined) throw failure.error;
      else if (ended) return;
      else {
        socket.resume();
        await new Promise<void>((resolve) => { wake = resolve; });
      }
    }
  } finally {
    socket.destroy();
  }
}
