/** Messages of a device's event stream (WHATWG HTML, "Server-sent events"), as the local API writes them: one line of data each. */
export async function* messagesOf({ body }: Response): AsyncGenerator<{ event: string; data: string }> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const messages = text.split('\n\n');
    text = messages.pop() ?? '';
    for (const message of messages) {
      const [, event, data] = /^event: (\w+)\ndata: (.+)$/m.exec(message) ?? [];
      if (event !== undefined && data !== undefined) yield { event, data };
    }
  }
}
