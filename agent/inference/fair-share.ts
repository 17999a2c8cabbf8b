/**
 * Who may use the engine next. Pure: (state, event) -> {state, granted}. Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996,
 * algorithm SFQ) over pipelines that ask for one frame at a time: the pipeline that has used the engine least goes first, and one that was idle earns no
 * credit for it. A frame cannot be interrupted, so what a frame costs is charged when it is done.
 *
 * It follows (and is tested) that a pipeline that has not used more than its share waits for at most one frame of each other pipeline, however many frames
 * they want.
 */

interface Asking {
  /** Its start tag: the engine time that it has used, on the scale of all pipelines. */
  start: number;
  order: number;
}

interface Working {
  start: number;
  sinceMs: number;
}

interface Client {
  /** Finish tag of its last frame. */
  finish: number;
  asking: Asking | null;
  working: Working | null;
}

export interface FairState {
  clients: ReadonlyMap<string, Client>;
  /** Virtual time: the start tag of the frame that was let in last. */
  virtual: number;
  /** Requests so far: of two equal ones, the older goes first. */
  order: number;
}

export interface FairOptions {
  /** Frames that may be processed at the same time. */
  slots: number;
  /** A frame that takes longer than this no longer keeps others out: a pipeline that hangs must not stop the others. */
  overdueMs: number;
}

/**
 * `done`: its frame is done, or it does not want its turn any more. That lets nobody in yet: a pipeline that has the next frame already asks at the same
 * moment, and would otherwise always come after those who wait, whatever they have used. `tick`: now it has had its chance, or time has passed.
 */
export type FairEvent = { type: 'ask' | 'done'; client: string; atMs: number } | { type: 'tick'; atMs: number };

export interface FairStep {
  state: FairState;
  /** Whose turn it is now, in order. */
  granted: string[];
  /** When a `tick` would let somebody in who waits; not later than the event: as soon as all others who are ready have asked. Null: nobody waits. */
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

/** The request with the smallest start tag; of equal ones, the oldest. */
function first(clients: ReadonlyMap<string, Client>): [string, Client, Asking] | null {
  let best: [string, Client, Asking] | null = null;
  for (const [name, client] of clients) {
    const { asking } = client;
    if (asking === null) continue;
    if (best === null || asking.start < best[2].start || (asking.start === best[2].start && asking.order < best[2].order)) best = [name, client, asking];
  }
  return best;
}
