import type { DeviceAddress, Caps, FindingEvent, Reported, Status, TelemetryWindow } from '../../agent/contracts/index.js';
import { supersedes } from '../../agent/contracts/index.js';
import { healthOf } from '../collector/health.js';
import type { FleetMessage } from '../collector/fleet-message.js';
import type { ReportGuard } from '../repository/report-guard.js';
import { announcedSense, deviceState, OFF_DELAY_S, pipelineState, type DeviceFacts, type DiscoveryConfig, type PipelineFacts } from './discovery.js';
import { healthState, heardState, latencyState, presenceKey, senseOf, telemetryState, updateState, visitorState } from './states.js';

/** One message for Home Assistant. What lasts is retained; what happens is not, or a restart would make it happen again. */
export interface StateMessage {
  topic: string;
  payload: string;
  retain: boolean;
}

/** Events arrive twice when the broker is not sure that they did; so many ids are remembered. */
const MAX_EVENT_IDS = 256;
/** Of a pipeline; a hostile device can invent any number. */
const MAX_PRESENT = 256;

/** What is known about one device, and which states follow from a message of it. Pure, apart from what it remembers. */
export class HomeAssistantDevice {
  readonly address: DeviceAddress;
  #status: Status | null = null;
  #caps: Caps | null = null;
  #reported: Reported | null = null;
  #windowEndMs = 0;
  #visitorMs = 0;
  readonly #senses = new Map<string, PipelineFacts['sense']>();
  /** Until when something counts as present, by pipeline and key. */
  readonly #present = new Map<string, Map<string, number>>();
  readonly #eventIds = new Set<string>();

  constructor(address: DeviceAddress) {
    this.address = address;
  }

  /** Whether pipelines look or listen, as it was announced before: their entities stay until the device shows something else. */
  remember(announced: Pick<DiscoveryConfig, 'components'>): void {
    for (const { name } of this.#reported?.pipelines ?? []) this.#senses.set(name, this.#senses.get(name) ?? announcedSense(announced, name));
  }

  get facts(): DeviceFacts {
    const pipelines = (this.#reported?.pipelines ?? []).map(({ name }) => ({ name, sense: this.#senses.get(name) ?? null }));
    return { address: this.address, status: this.#status, caps: this.#caps, pipelines };
  }

  /** @throws ContractError E_REPORT_REPLAYED */
  take(message: FleetMessage, guard: ReportGuard, nowMs: number): StateMessage[] {
    switch (message.kind) {
      case 'status':
        if (!supersedes(message.value, this.#status)) return [];
        if (message.value.boot_id !== this.#status?.boot_id) this.#present.clear();
        this.#status = message.value;
        return [this.#health(guard)];
      case 'caps':
        this.#caps = message.value;
        return [];
      case 'reported':
        guard.requireNewer(this.address, message.value, this.#reported);
        this.#reported = message.value;
        return [this.#health(guard), ...message.value.pipelines.map((pipeline) => lasting(pipelineState(this.address, pipeline.name, 'update'), updateState(pipeline)))];
      case 'telemetry': return this.#window(message.value);
      case 'event': return message.value.type === 'finding' ? this.#finding(message.value, nowMs) : [];
    }
  }

  #health(guard: ReportGuard): StateMessage {
    return lasting(deviceState(this.address, 'health'), healthState(healthOf({ status: this.#status, reported: this.#reported }, true, guard.refused(this.address))));
  }

  /** A window that waited in the outbox describes the past. */
  #window(window: TelemetryWindow): StateMessage[] {
    if (window.backfill || window.end_ms < this.#windowEndMs) return [];
    this.#windowEndMs = window.end_ms;
    const known = new Set(this.#reported?.pipelines.map(({ name }) => name));
    const pipelines = window.pipelines.filter(({ name }) => known.has(name));
    for (const pipeline of pipelines) this.#senses.set(pipeline.name, senseOf(pipeline) ?? this.#senses.get(pipeline.name) ?? null);
    return [
      lasting(deviceState(this.address, 'telemetry'), telemetryState(window)),
      ...pipelines.map((pipeline) => lasting(pipelineState(this.address, pipeline.name, 'telemetry'), latencyState(pipeline))),
    ];
  }

  #finding(event: FindingEvent, nowMs: number): StateMessage[] {
    const { pipeline } = event;
    if (pipeline === null || this.#eventIds.has(event.event_id) || this.#reported?.pipelines.every(({ name }) => name !== pipeline) !== false) return [];
    this.#eventIds.add(event.event_id);
    if (this.#eventIds.size > MAX_EVENT_IDS) this.#eventIds.delete([...this.#eventIds][0] ?? '');
    const hears = event.finding.type === 'sound';
    this.#senses.set(pipeline, hears ? 'sound' : 'sight');
    const topic = (state: Parameters<typeof pipelineState>[2]): string => pipelineState(this.address, pipeline, state);
    const messages: StateMessage[] = [];
    if (!hears && event.action === 'appeared' && event.time_ms >= this.#visitorMs) {
      this.#visitorMs = event.time_ms;
      messages.push(lasting(topic('visitor'), visitorState(event)));
    }
    if (event.backfill) return messages;
    if (hears) messages.push({ topic: topic('heard'), payload: JSON.stringify(heardState(event)), retain: false });
    messages.push({ topic: topic(hears ? 'sound' : 'motion'), payload: this.#someone(pipeline, event, nowMs) ? 'ON' : 'OFF', retain: false });
    return messages;
  }

  /** Whether anybody is still there after this event. Who never left is forgotten when Home Assistant has done so too. */
  #someone(pipeline: string, event: FindingEvent, nowMs: number): boolean {
    const present = this.#present.get(pipeline) ?? new Map<string, number>();
    this.#present.set(pipeline, present);
    for (const [key, untilMs] of present) if (untilMs <= nowMs) present.delete(key);
    if (event.action === 'appeared' && present.size < MAX_PRESENT) present.set(presenceKey(event), nowMs + OFF_DELAY_S * 1000);
    else present.delete(presenceKey(event));
    return present.size > 0;
  }
}

const lasting = (topic: string, value: Record<string, unknown>): StateMessage => ({ topic, payload: JSON.stringify(value), retain: true });
