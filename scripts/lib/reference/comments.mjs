// The comments of zod schemas in a source file, so that a field is described once: where it is declared.
import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** Where the comments of a union keep those of each member, by the literal of its field `type`: members may have fields of the same name. */
const members = Symbol('members');

/** The comments for an object schema: those of the member of the union that it is, else all. */
export const commentsFor = (comments, schema) => comments[members]?.[schema.properties.type?.const] ?? comments;

const joined = (parts) => Object.assign({}, ...parts, { [members]: Object.assign({}, ...parts.map((part) => part[members])) });

/** Text of the JSDoc comment right before a node, on one line; '' when there is none. */
function commentOf(node) {
  const blocks = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc);
  const text = blocks.map((block) => ts.getTextOfJSDocComment(block.comment) ?? '').join(' ');
  return text.replace(/\s+/g, ' ').trim();
}

/** The object literal that a schema expression is built from: of `z.object({..}).refine(..)` and the like, and of `z.array(z.object({..}))`. */
function literalIn(node) {
  if (node === undefined) return undefined;
  if (ts.isObjectLiteralExpression(node)) return node;
  if (!ts.isCallExpression(node)) return ts.isPropertyAccessExpression(node) ? literalIn(node.expression) : undefined;
  const own = /\.(object|strictObject|looseObject|array|extend)$/.test(node.expression.getText()) ? node.arguments.map(literalIn).find(Boolean) : undefined;
  return own ?? literalIn(node.expression);
}

/** Names of other schemas that an expression uses, such as `tls.optional()` or `packageRef.extend({..})`. */
function namesIn(node) {
  if (node === undefined) return [];
  if (ts.isIdentifier(node)) return node.text === 'z' ? [] : [node.text];
  if (ts.isPropertyAccessExpression(node)) return namesIn(node.expression);
  if (ts.isCallExpression(node)) return [...namesIn(node.expression), ...node.arguments.filter((argument) => !ts.isArrowFunction(argument)).flatMap(namesIn)];
  if (ts.isArrayLiteralExpression(node)) return node.elements.flatMap(namesIn);
  return [];
}

/** What is said of a field: its own comment, else that of the schema that it names. */
function noteOf(property, expression, declared, seen) {
  const named = namesIn(expression).map((name) => declared.get(name)?.parent.parent.parent).filter(Boolean);
  return { text: commentOf(property) || named.map(commentOf).join(' ').trim(), fields: fieldsOfExpression(expression, declared, seen) };
}

const typeIn = (literal) => literal?.properties.find((property) => property.name?.getText() === 'type')?.initializer?.getText() ?? '';

/** Comments of the fields of one literal: `{field: {text, fields}}`; `declared` are the schemas that expressions may name. */
function fieldsOf(literal, declared, seen) {
  const fields = {};
  for (const property of literal?.properties ?? []) {
    if (ts.isSpreadAssignment(property)) Object.assign(fields, fieldsOfExpression(property.expression, declared, seen));
    if (ts.isShorthandPropertyAssignment(property)) fields[property.name.text] = noteOf(property, property.name, declared, seen);
    if (ts.isPropertyAssignment(property)) fields[property.name.getText().replace(/['"]/g, '')] = noteOf(property, property.initializer, declared, seen);
  }
  const [, type] = /^z\.literal\('(.+)'\)$/.exec(typeIn(literal)) ?? [];
  return type === undefined ? fields : { ...fields, [members]: { [type]: fields } };
}

function fieldsOfExpression(node, declared, seen = new Set()) {
  const named = namesIn(node).filter((name) => declared.has(name) && !seen.has(name));
  const inherited = named.map((name) => fieldsOfExpression(declared.get(name), declared, new Set([...seen, name])));
  const literals = [];
  const visit = (child) => {
    if (ts.isObjectLiteralExpression(child)) { literals.push(child); return; }
    ts.forEachChild(child, visit);
  };
  const literal = literalIn(node);
  if (literal !== undefined) literals.push(literal);
  else if (node !== undefined && ts.isCallExpression(node)) visit(node); // a union: the fields of all members
  return joined([...inherited, ...literals.map((each) => fieldsOf(each, declared, seen))]);
}

/** Comments of the schemas that some files declare: `commentsOf(paths)(name)` gives `{field: {text, fields}}` of `const name = z.object({..})`. */
export function commentsOf(paths) {
  const declared = new Map();
  for (const path of paths) {
    const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2022, true);
    for (const statement of source.statements) {
      if (!ts.isVariableStatement(statement)) continue;
      for (const { name, initializer } of statement.declarationList.declarations) declared.set(name.getText(), initializer);
    }
  }
  return (name) => fieldsOfExpression(declared.get(name), declared, new Set([name]));
}
