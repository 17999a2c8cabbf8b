/** Keeps track of messages that were handed to the connection, but of which nothing proves yet that they arrived. Pure bookkeeping. */
interface Sent {
  qos: 0 | 1;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class InFlight {
  readonly #sent = new Map<number, Sent>();
  #order = 0;
  #mark = 0;

  get size(): number {
    return this.#sent.size;
  }

  add(qos: 0 | 1): { order: number; promise: Promise<void> } {
    this.#order += 1;
    const order = this.#order;
    const promise = new Promise<void>((resolve, reject) => this.#sent.set(order, { qos, resolve, reject }));
    return { order, promise };
  }

  /** The broker acknowledged this message, so it has received everything that was sent before. */
  acknowledge(order: number): void {
    this.#confirm(order);
    const sent = this.#sent.get(order);
    this.#sent.delete(order);
    sent?.resolve();
  }

  /** Notes that a ping is sent. */
  mark(): void {
    this.#mark = this.#order + 1;
  }

  /** Notes that the ping was answered, so everything that was sent before it has arrived. */
  confirmMark(): void {
    this.#confirm(this.#mark);
  }

  fail(order: number, error: Error): void {
    const sent = this.#sent.get(order);
    this.#sent.delete(order);
    sent?.reject(error);
  }

  failAll(error: Error): void {
    const all = [...this.#sent.values()];
    this.#sent.clear();
    for (const sent of all) sent.reject(error);
  }

  #confirm(before: number): void {
    for (const [order, sent] of this.#sent) {
      if (order >= before) return;
      if (sent.qos !== 0) continue;
      this.#sent.delete(order);
      sent.resolve();
    }
  }
}
