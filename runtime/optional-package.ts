import { createRequire } from 'node:module';
import { RuntimeError } from './errors.js';

/** Packages that are compiled where they are installed, very large, or of use to few, so that only those who use them install them: peerDependencies of package.json. */
export const optionalPackages = { '@opentelemetry/otlp-transformer': '^0.223.1', 'better-sqlite3': '^12.11.1', 'onnxruntime-node': '^1.30.0', 'openid-client': '^6.9.0', pg: '^8.23.1' } as const;

export type OptionalPackage = keyof typeof optionalPackages;

const isOptional = (name: string): name is OptionalPackage => Object.hasOwn(optionalPackages, name);

function missing(name: OptionalPackage, user: string, cause: unknown): RuntimeError {
  const install = `npm install ${name}@${optionalPackages[name]}`;
  return new RuntimeError('E_DEPENDENCY', `${user} needs the package ${name}, which is not installed. Install it with: ${install}`, { cause, details: { package: name, install } });
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);

/** What an optional package exports. @throws RuntimeError E_DEPENDENCY when it is not installed */
export function requireOptional(name: OptionalPackage, user: string): unknown {
  try {
    return createRequire(import.meta.url)(name);
  } catch (error) {
    throw codeOf(error) === 'MODULE_NOT_FOUND' && error instanceof Error && error.message.includes(`'${name}'`) ? missing(name, user, error) : error;
  }
}

/** The error of an import that failed because an optional package is not installed, as E_DEPENDENCY; undefined for every other error. */
export function asMissingPackage(error: unknown, user: string): RuntimeError | undefined {
  if (codeOf(error) !== 'ERR_MODULE_NOT_FOUND' || !(error instanceof Error)) return undefined;
  const name = /Cannot find package '([^']+)'/.exec(error.message)?.[1] ?? '';
  return isOptional(name) ? missing(name, user, error) : undefined;
}
