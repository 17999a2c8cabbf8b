/** Element with attributes and children. Text only ever becomes text nodes: what a device sends is never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function fill(target, ...children) {
  const element = typeof target === 'string' ? byId(target) : target;
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

export function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Rows of a definition list. */
export function facts(id, rows) {
  fill(id, rows.filter(Boolean).map(([term, ...values]) => h('div', {}, h('dt', {}, term), h('dd', {}, ...values))));
}

/** How a figure came to be: `measured`, `estimated` or `modelled`. */
export function qualityTag(quality) {
  const meaning = {
    measured: 'read from a sensor of this component',
    estimated: 'estimated from sensors of some of its parts',
    modelled: 'calculated from the work done, not measured by a sensor',
    invalid: 'the readings of this sensor cannot be true and are not used',
  };
  return h('span', { class: `tag tag-${quality}`, title: meaning[quality] ?? '' }, quality);
}
