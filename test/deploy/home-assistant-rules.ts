/**
 * What Home Assistant (2024.12 and later) requires of discovery and states, written down from its documentation: /integrations/mqtt, /integrations/sensor.mqtt, binary_sensor.mqtt, event.mqtt and
 * update.mqtt. Home Assistant ignores keys that it does not know in a component; here they are mistakes.
 */
import { z } from 'zod';

/** Names of devices and entities in discovery topics. */
export const CONFIG_TOPIC = /^homeassistant\/device\/[a-zA-Z0-9_-]+\/config$/;

const topic = z.string().min(1).max(65_535).regex(/^[^+#\0]+$/);
const template = z.string().regex(/^\{\{ .+ \}\}$/);
const text = z.string().min(1);

const common = {
  name: text, unique_id: text, state_topic: topic, icon: z.string().regex(/^mdi:[a-z0-9-]+$/).optional(), entity_category: z.enum(['config', 'diagnostic']).optional(),
  value_template: template.optional(), json_attributes_topic: topic.optional(),
};

/** Units that a device class takes. */
const units: Readonly<Record<string, readonly string[]>> = {
  temperature: ['°C', '°F', 'K'], power: ['mW', 'W', 'kW'], energy: ['J', 'kJ', 'Wh', 'kWh'], data_size: ['B', 'kB', 'MB', 'GB'], frequency: ['Hz', 'kHz', 'MHz', 'GHz'], duration: ['ms', 's', 'min', 'h', 'd'],
};

const sensor = z.strictObject({
  ...common, platform: z.literal('sensor'), device_class: z.enum(['temperature', 'power', 'energy', 'data_size', 'frequency', 'duration']).optional(),
  state_class: z.enum(['measurement', 'total', 'total_increasing']).optional(), unit_of_measurement: text.optional(), expire_after: z.int().positive().optional(), suggested_display_precision: z.int().min(0).optional(),
}).refine(({ device_class: kind, unit_of_measurement: unit }) => kind === undefined || units[kind]?.includes(unit ?? '') === true, { message: 'a unit that the device class does not take' })
  .refine(({ device_class: kind, state_class: state }) => kind !== 'energy' || state === 'total' || state === 'total_increasing', { message: 'energy is a total' })
  .refine(({ entity_category: category }) => category !== 'config', { message: 'a sensor cannot be configured' });

const binarySensor = z.strictObject({ ...common, platform: z.literal('binary_sensor'), device_class: z.enum(['motion', 'sound', 'problem']).optional(), off_delay: z.int().positive().optional(), expire_after: z.int().positive().optional() });
const event = z.strictObject({ ...common, platform: z.literal('event'), event_types: z.array(text).min(1) });
/** With a command_topic there would be a button to install. */
const update = z.strictObject({ ...common, platform: z.literal('update') });
/** A component that is taken away has nothing but its platform. */
const removed = z.strictObject({ platform: z.enum(['sensor', 'binary_sensor', 'event', 'update']) });

export const configRules = z.strictObject({
  device: z.strictObject({ identifiers: z.array(text).min(1), name: text, manufacturer: text, model: text.optional(), sw_version: text.optional() }),
  origin: z.strictObject({ name: text, sw_version: text.optional() }),
  availability: z.array(z.strictObject({ topic, value_template: template.optional() })).min(1),
  availability_mode: z.enum(['all', 'any', 'latest']),
  components: z.record(z.string().regex(/^[a-zA-Z0-9_-]+$/), z.union([removed, sensor, binarySensor, event, update])),
}).refine(({ components }) => {
  const ids = Object.values(components).flatMap((component) => ('unique_id' in component ? [component.unique_id] : []));
  return new Set(ids).size === ids.length;
}, { message: 'two entities with one unique_id' });

/** The state of an update entity. A message with any other key, or null for a text, is refused as a whole. */
export const updateRules = z.strictObject({
  installed_version: z.string().max(255).optional(), latest_version: z.string().max(255).optional(), title: z.string().optional(), release_summary: z.string().max(255).optional(), release_url: z.url().optional(),
  entity_picture: z.string().optional(), in_progress: z.boolean().optional(), update_percentage: z.number().min(0).max(100).nullable().optional(),
});

export const eventRules = z.looseObject({ event_type: text });

/** The value that a template of ours picks out of a state: `value_json.key`. */
export function picked(valueTemplate: string, payload: string): unknown {
  const key = /^\{\{ value_json\.(\w+) \}\}$/.exec(valueTemplate)?.[1];
  if (key === undefined) throw new Error(`Expected a template that picks one value but found ${valueTemplate}`);
  const value = (JSON.parse(payload) as Record<string, unknown>)[key];
  if (value === undefined) throw new Error(`${valueTemplate} finds nothing in ${payload}`);
  return value;
}
