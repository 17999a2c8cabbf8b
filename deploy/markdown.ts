/** Prose at most `width` characters a line, as the documents are kept; paragraphs that are tables, lists or headings stay as they are. */
export function wrapProse(text: string, width = 120): string {
  return text.split('\n\n').map((block) => (/^\s*[|<#*-]/.test(block) ? block : block.split('\n').map((line) => wrapLine(line, width)).join('\n'))).join('\n\n');
}

/** Breaks a line between words. */
export function wrapLine(line: string, width: number): string {
  const lines: string[] = [];
  for (const word of line.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}
