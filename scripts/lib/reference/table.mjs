// A JSON Schema as rows of a Markdown table: field, type, default, meaning.
import { commentsFor } from './comments.mjs';

const cell = (text) => text.replaceAll('|', '\\|').replace(/\s+/g, ' ');

function range({ minimum, maximum, exclusiveMinimum, minLength, maxLength, minItems, maxItems, pattern }) {
  const largest = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  const parts = [
    minimum !== undefined && largest !== undefined ? `${minimum} to ${largest}` : '',
    minimum !== undefined && largest === undefined && minimum > -Number.MAX_SAFE_INTEGER ? `at least ${minimum}` : '',
    exclusiveMinimum !== undefined ? `more than ${exclusiveMinimum}${largest === undefined ? '' : `, at most ${largest}`}` : '',
    minimum === undefined && exclusiveMinimum === undefined && largest !== undefined ? `at most ${largest}` : '',
    maxLength !== undefined ? `${minLength ?? 0} to ${maxLength} characters` : '',
    maxItems !== undefined ? `${minItems ?? 0} to ${maxItems} items` : '',
    pattern !== undefined && pattern.length <= 40 ? `matches \`${pattern}\`` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}

/** The known words of an open set come as examples. */
const open = ({ examples }) => (examples === undefined ? '' : `${examples.map((word) => `\`${word}\``).join(', ')} or another word`);

function typeOf(schema) {
  if (schema.type === 'string' && schema.examples !== undefined) return open(schema);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return [...new Set(options.map(typeOf))].join(' or ');
  if (schema.type === 'array') {
    const items = schema.prefixItems === undefined ? `array of ${typeOf(schema.items ?? {})}` : `array of ${schema.prefixItems.length} values`;
    return [items, range(schema)].filter(Boolean).join(', ');
  }
  if (schema.type === 'object') return schema.properties === undefined ? 'object' : 'object, below';
  return [schema.type ?? 'any', range(schema)].filter(Boolean).join(', ');
}

/** Every object schema inside: the members of unions and the items of arrays. */
function objectsIn(schema) {
  if (schema === undefined) return [];
  if (schema.type === 'object') return schema.properties === undefined ? objectsIn(typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined) : [schema];
  if (schema.type === 'array') return [schema.items, ...(schema.prefixItems ?? [])].flatMap(objectsIn);
  return (schema.anyOf ?? schema.oneOf ?? []).flatMap(objectsIn);
}

/** Members of a union that have the same row are one; where they differ, the row names the member. */
function* rowsOf(schema, comments, prefix) {
  const required = new Set(schema.required ?? []);
  const own = commentsFor(comments, schema);
  for (const [name, field] of Object.entries(schema.properties)) {
    const note = own[name] ?? { text: '', fields: {} };
    const byDefault = field.default === undefined || typeof field.default === 'object' ? (required.has(name) ? '' : 'optional') : `\`${JSON.stringify(field.default)}\``;
    yield `| \`${prefix}${name}\` | ${cell(typeOf(field))} | ${cell(byDefault)} | ${cell(note.text)} |`;
    const mark = field.type === 'array' ? '[]' : field.type === 'object' && field.properties === undefined ? '.*' : '';
    for (const inner of objectsIn(field)) yield* rowsOf(inner, note.fields, `${prefix}${name}${mark}.`);
  }
}

/** A table of a JSON Schema; `comments` as `commentsOf` gives them. */
export function schemaTable(schema, comments) {
  const rows = objectsIn(schema).flatMap((object) => [...rowsOf(object, comments, '')]);
  return ['| field | type | default | meaning |', '| --- | --- | --- | --- |', ...new Set(rows)].join('\n');
}

/** A table of names and meanings, such as error codes. */
export function nameTable(head, entries) {
  return [`| ${head} | meaning |`, '| --- | --- |', ...Object.entries(entries).map(([name, meaning]) => `| \`${name}\` | ${cell(meaning)} |`)].join('\n');
}
