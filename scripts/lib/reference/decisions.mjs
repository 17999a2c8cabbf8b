// Numbers the records of a DECISIONS.md and writes their index: an author adds `## Title`, the command does the rest.

const BEGIN = '<!-- index:begin -->';
const END = '<!-- index:end -->';

/** The anchor that GitHub gives a heading. */
const anchorOf = (heading) => heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');

/** `## Title` becomes `## K-007 Title`, K for kernels; numbers that there are stay, new ones go on from the largest. */
function numbered(text, letter) {
  const known = [...text.matchAll(new RegExp(`^## ${letter}-(\\d+) `, 'gm'))].map(([, digits]) => Number(digits));
  let last = Math.max(0, ...known);
  return text.replace(/^## (?![A-Z]-\d+ )(.+)$/gm, (_, title) => {
    last += 1;
    return `## ${letter}-${String(last).padStart(3, '0')} ${title}`;
  });
}

/** @param letter of the folder: A, D, K or R */
export function indexedDecisions(text, letter) {
  const body = numbered(text, letter);
  const headings = [...body.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
  const index = [BEGIN, '', ...headings.map((heading) => `* [${heading}](#${anchorOf(heading)})`), '', END].join('\n');
  const start = body.indexOf(BEGIN);
  if (start >= 0) return body.slice(0, start) + index + body.slice(body.indexOf(END) + END.length);
  const first = body.indexOf('\n## ');
  return `${body.slice(0, first).trimEnd()}\n\n${index}\n${body.slice(first)}`;
}
