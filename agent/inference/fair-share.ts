/**
 * Decides which pipeline may use the engine next. Pure: (state, event) -> {state, granted}. It is start-time fair queueing (Goyal, Vin, Cheng:
 * "Start-time Fair Queuing", SIGCOMM 1996, algorithm SFQ) over pipelines that ask for one frame at a time: the pipeline that has used the engine
 * least goes first, and one that was idle earns no credit for it. A frame cannot be interrupted, so its cost is charged when it is done.
 *
 * It follows (and is tested) that a pipeline that has not used more than its share waits for at most one frame of each other pipeline, however many
 * frames they want.
 */

interface Asking {
  /** The request's start tag: the engine time that the pipeline has used, milliseconds on a scale which all pipelines share. */
  start: number;
  order: number;
}

interface Working {
  start: number;
  sinceMs: number;
}

interface Client {
  /** Finish tag of the pipeline's last frame. */
  finish: number;
  asking: Asking | null;
  working: Working | null;
}

export interface FairState {
  clients: ReadonlyMap<string, Client>;
  /** Virtual time: the start tag of the frame that was let in last. */
  virtual: number;
  /** Number of requests so far. Of two requests with equal tags, the older one goes first. */
  order: number;
}

export interface FairOptions {
  /** Frames that may be processed at the same time. */
  slots: number;
  /** A frame that takes longer than this, milliseconds, no longer keeps others out, because a pipeline that hangs must not stop the others. */
  overdueMs: number;
}

/**
 * `done`: the frame of the client is done, or the client does not want its turn any more. This event lets nobody in yet: a pipeline that already has
 * its next frame asks at the same moment, and it would otherwise always come after those who wait, whatever they have used. `tick`: that pipeline has
 * had its chance to ask, or time has passed.
 */
export type FairEvent = { type: 'ask' | 'done'; client: string; atMs: number } | { type: 'tick'; atMs: number };

export interface FairStep {
  state: FairState;
  /** The clients whose turn it is now, in order. */
  granted: string[];
  /**
   * When a `tick` would let in somebody who waits. When everybody else who is ready has asked, this is not later than the event. Null: nobody waits.
   */
  wakeMs: number | null;
}

export const emptyShare: FairState = { clients: new Map(), virtual: 0, order: 0 };

export function stepShare(state: FairState, event: FairEvent, options: FairOptions): FairStep {
  if (event.type === 'done') {
    const after = done(state, event.client, event.atMs);
    return { state: after, granted: [], wakeMs: waits(after.clients) ? event.atMs : null };
  }
  return grant(event.type === 'ask' ? ask(state, event.client) : state, event.atMs, options);
}

function ask(state: FairState, name: string): FairState {
  const client = state.clients.get(name) ?? { finish: 0, asking: null, working: null };
  if (client.asking !== null || client.working !== null) return state;
  return {
    ...state, order: state.order + 1,
    clients: new Map(state.clients).set(name, { ...client, asking: { start: Math.max(state.virtual, client.finish), order: state.order } }),
  };
}

function done(state: FairState, name: string, atMs: number): FairState {
  const client = state.clients.get(name);
  if (client === undefined) return state;
  const { working } = client;
  const finish = working === null ? client.finish : working.start + Math.max(0, atMs - working.sinceMs);
  return { ...state, clients: new Map(state.clients).set(name, { finish, asking: null, working: null }) };
}

function grant(state: FairState, nowMs: number, { slots, overdueMs }: FairOptions): FairStep {
  const clients = new Map(state.clients);
  let { virtual } = state;
  const granted: string[] = [];
  const occupied = (): Working[] => [...clients.values()].flatMap(({ working }) => (working !== null && nowMs - working.sinceMs < overdueMs ? [working] : []));
  for (let busy = occupied().length; busy < slots; busy++) {
    const next = first(clients);
    if (next === null) break;
    const [name, client, { start }] = next;
    virtual = Math.max(virtual, start);
    clients.set(name, { ...client, asking: null, working: { start, sinceMs: nowMs } });
    granted.push(name);
  }
  const oldest = Math.min(...occupied().map(({ sinceMs }) => sinceMs));
  return { state: { ...state, clients, virtual }, granted, wakeMs: waits(clients) ? oldest + overdueMs : null };
}

const waits = (clients: ReadonlyMap<string, Client>): boolean => [...clients.values()].some(({ asking }) => asking !== null);

/** The request with the smallest start tag; of several with the same tag, the oldest. */
function first(clients: ReadonlyMap<string, Client>): [string, Client, Asking] | null {
  let best: [string, Client, Asking] | null = null;
  for (const [name, client] of clients) {
    const { asking } = client;
    if (asking === null) continue;
    if (best === null || asking.start < best[2].start || (asking.start === best[2].start && asking.order < best[2].order)) best = [name, client, asking];
  }
  return best;
}
