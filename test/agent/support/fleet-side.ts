import { connectAsync, type MqttClient } from 'mqtt';
import { onTestFinished } from 'vitest';
import {
  DEFAULT_PIPELINE, decodePayload, deviceTopic, encodePayload, commandSchema, desiredSchema, otaGetSchema, parseTopic, payloadSchemas, upstreamSubscriptions,
  type Desired, type DeviceAddress, type Event, type OtaGet, type PipelineReport, type Reported, type Response, type Status, type TelemetryWindow,
} from '../../../agent/contracts/index.js';
import { answerRequest } from './publisher.js';
import { until } from './tools.js';

/** The other end of the broker, as small as it can be; it refuses whatever the contracts do not allow. */
export class FleetSide {
  readonly client: MqttClient;
  readonly address: DeviceAddress;
  readonly statuses: Status[] = [];
  /** Of the device and of its pipeline `main`. */
  readonly reported: (Reported & PipelineReport)[] = [];
  readonly telemetry: TelemetryWindow[] = [];
  readonly events: Event[] = [];
  readonly responses: Response[] = [];
  readonly requests: OtaGet[] = [];
  readonly kinds = new Set<string>();
  packages: ReadonlyMap<string, Buffer> = new Map();
  /** What it sends for a request, in place of the honest answer: a hostile broker. */
  tamper: (request: OtaGet, answer: { index: number; message: Buffer }[]) => { index: number; message: Buffer }[] = (_, answer) => answer;
  /** Blocks answered before it goes silent. */
  budget = Infinity;

  private constructor(client: MqttClient, address: DeviceAddress) {
    this.client = client;
    this.address = address;
    client.on('message', (topic, payload) => this.#receive(topic, payload));
  }

  static async connect(url: string, address: DeviceAddress, protocolVersion: 4 | 5 = 4): Promise<FleetSide> {
    const client = await connectAsync(url, { protocolVersion, reconnectPeriod: 50 });
    const side = new FleetSide(client, address);
    await client.subscribeAsync(upstreamSubscriptions(address.fleet, address.device), { qos: 1 });
    onTestFinished(() => client.endAsync(true));
    return side;
  }

  async desire(desired: Omit<Desired, 'schema_version'>, pipeline = DEFAULT_PIPELINE): Promise<void> {
    await this.client.publishAsync(deviceTopic(this.address, { kind: 'desired', pipeline }), encodePayload(desiredSchema, { schema_version: 2, ...desired }), { qos: 1, retain: true });
  }

  /** Sends a command and waits for its answer. */
  async command(name: string, id: string, args: Record<string, unknown> = {}, expiresMs?: number, pipeline?: string): Promise<Response> {
    const before = this.responses.length;
    const payload = encodePayload(commandSchema, { schema_version: 2, id, args, ...(pipeline === undefined ? {} : { pipeline }), ...(expiresMs === undefined ? {} : { expires_ms: expiresMs }) });
    await this.client.publishAsync(deviceTopic(this.address, { kind: 'cmd', name }), payload, { qos: 1 });
    await until(`the answer to ${name}`, () => this.responses.slice(before).some((r) => r.id === id));
    const answer = this.responses.slice(before).find((r) => r.id === id);
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }

  untilReported(what: string, condition: (reported: Reported & PipelineReport) => boolean): Promise<void> {
    return until(what, () => { const last = this.reported.at(-1); return last !== undefined && condition(last); });
  }

  #receive(topic: string, payload: Buffer): void {
    const parsed = parseTopic(topic);
    if (parsed === null) return;
    this.kinds.add(parsed.topic.kind);
    switch (parsed.topic.kind) {
      case 'status': this.statuses.push(decodePayload(payloadSchemas.status, payload)); break;
      case 'caps': decodePayload(payloadSchemas.caps, payload); break;
      case 'reported': this.#noteReport(decodePayload(payloadSchemas.reported, payload)); break;
      case 'telemetry': this.telemetry.push(decodePayload(payloadSchemas.telemetry, payload)); break;
      case 'event': this.events.push(decodePayload(payloadSchemas.event, payload)); break;
      case 'res': this.responses.push(decodePayload(payloadSchemas.res, payload)); break;
      case 'ota_get': this.#serve(decodePayload(otaGetSchema, payload)); break;
      default: throw new Error(`unexpected ${topic}`);
    }
  }

  #noteReport(report: Reported): void {
    const own = report.pipelines.find(({ name }) => name === DEFAULT_PIPELINE) ?? report.pipelines[0];
    if (own === undefined) throw new Error('the device reports no pipeline');
    this.reported.push({ ...own, ...report });
  }

  #serve(request: OtaGet): void {
    this.requests.push(request);
    const bytes = this.packages.get(request.list_of ?? request.digest);
    if (bytes === undefined) return;
    for (const { index, message } of this.tamper(request, answerRequest(request, bytes))) {
      if (this.budget <= 0) return;
      this.budget -= 1;
      this.client.publish(deviceTopic(this.address, { kind: 'ota_block', digest8: request.digest.slice(0, 8), index }), message, { qos: 1 });
    }
  }
}
