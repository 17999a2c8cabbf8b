/** The stream, ending where its source, its reader or the session ends: none of these is an error of this server. */
export function untilEnded(body: ReadableStream<Uint8Array>, ended?: AbortSignal): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  // A read that waits ends with it.
  const stop = (): void => void reader.cancel().catch(() => undefined);
  if (ended?.aborted === true) stop();
  ended?.addEventListener('abort', stop, { once: true });
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await reader.read().catch(() => null);
      if (next !== null && !next.done) return controller.enqueue(next.value);
      ended?.removeEventListener('abort', stop);
      controller.close();
    },
    async cancel(reason) {
      ended?.removeEventListener('abort', stop);
      await reader.cancel(reason).catch(() => undefined);
    },
  });
}
