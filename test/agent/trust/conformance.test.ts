/**
 * The cases of theupdateframework/tuf-conformance, by their names there, written anew from the specification (1.0.34, section 5). That suite drives a
 * client which fetches files and keeps each of them as soon as it is verified. A device of ours gets all files in one message and keeps all or nothing,
 * so a case applies when it is about what may be trusted, and not when it is about requests, or about which file is written first.
 */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RepositoryFiles } from '../../../agent/contracts/index.js';
import { decodeRoot, verifyRepository, type TrustedRepository } from '../../../agent/trust/repository.js';
import { compactText, listing, newDocument, signDocument, type Document, type DocumentKind } from '../../../deploy/repository/document.js';
import { keyJson, type Signer } from '../../../deploy/repository/keys.js';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2030, 0, 15);
type Top = 'root' | 'timestamp' | 'snapshot' | 'targets';

const signers = Array.from({ length: 30 }, (): Signer => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const value = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('hex');
  return { id: createHash('sha256').update(JSON.stringify(keyJson(value))).digest('hex'), public: value, sign: (bytes) => sign(null, bytes, privateKey) };
});
const signer = (number: number): Signer => signers[number] as Signer;

interface Role { keys: number[]; threshold: number; sigs: number[] }
interface Delegation { delegator: string; role: string; paths?: string[]; terminating?: boolean }

/** A repository whose owner can do anything, as in the suite's simulator; keys have numbers. */
class Simulator {
  readonly roles: Record<Top, Role> = { root: role(20), timestamp: role(21), snapshot: role(22), targets: role(23) };
  readonly versions = { root: 0, timestamp: 1, snapshot: 1, targets: 1 };
  readonly expiresMs: Record<Top, number> = { root: START_MS + 900 * DAY_MS, timestamp: START_MS + 900 * DAY_MS, snapshot: START_MS + 900 * DAY_MS, targets: START_MS + 900 * DAY_MS };
  readonly roots: string[] = [];
  delegations: Delegation[] = [];
  /** Paths by role. */
  targets: Record<string, string[]> = {};
  rootFields: Record<string, unknown> = {};
  keyFields: Record<string, unknown> = {};
  /** Of delegated roles; absent: that of targets. */
  delegatedExpiresMs: number | null = null;
  delegatedVersion = 1;
  /** What the timestamp and the snapshot say of the files below, when it is not the truth. */
  listedSnapshot: number | null = null;
  listedTargets: number | null = null;
  /** Delegated roles in the order in which the client has read them. */
  visited: string[] = [];

  constructor() {
    this.publishRoot();
  }

  publishRoot(): string {
    this.versions.root += 1;
    const numbers = [...new Set(Object.values(this.roles).flatMap(({ keys }) => keys))];
    const text = this.#sign('root', this.versions.root, {
      consistent_snapshot: true, ...this.rootFields,
      keys: Object.fromEntries(numbers.map((n) => [signer(n).id, { ...keyJson(signer(n).public), ...this.keyFields }])),
      roles: Object.fromEntries(Object.entries(this.roles).map(([name, { keys, threshold }]) => [name, { keyids: keys.map((n) => signer(n).id), threshold }])),
    });
    this.roots.push(text);
    return text;
  }

  /** A new version of everything that is below the root. */
  update(): void {
    for (const name of ['timestamp', 'snapshot', 'targets'] as const) this.versions[name] += 1;
  }

  files(): RepositoryFiles {
    const names = [...new Set(this.delegations.map(({ role: name }) => name))];
    const delegatedTexts = new Map(names.map((name) => [name, this.#targets(name, this.delegatedVersion)]));
    const targets = this.#targets('targets', this.versions.targets);
    const delegated = {};
    for (const [name, text] of delegatedTexts) {
      Object.defineProperty(delegated, name, { enumerable: true, get: () => { this.visited.push(name); return text; } });
    }
    const snapshot = this.#sign('snapshot', this.versions.snapshot, {
      meta: { 'targets.json': listing(targets, this.listedTargets ?? this.versions.targets), ...Object.fromEntries([...delegatedTexts].map(([name, text]) => [`${name}.json`, listing(text, this.delegatedVersion)])) },
    });
    const timestamp = this.#sign('timestamp', this.versions.timestamp, { meta: { 'snapshot.json': listing(snapshot, this.listedSnapshot ?? this.versions.snapshot) } });
    return { roots: [...this.roots], timestamp, snapshot, targets, delegated };
  }

  #targets(name: string, version: number): string {
    const children = this.delegations.filter(({ delegator }) => delegator === name);
    const targets = Object.fromEntries((this.targets[name] ?? []).map((path) => [path, { length: 1, hashes: { sha256: 'ab'.repeat(32) } }]));
    const key = signer(23);
    const delegations = children.length === 0 ? {} : { delegations: {
      keys: { [key.id]: keyJson(key.public) },
      roles: children.map(({ role: child, paths = ['*'], terminating = false }) => ({ name: child, keyids: [key.id], threshold: 1, terminating, paths })),
    } };
    return this.#sign('targets', version, { targets, ...delegations }, name === 'targets' ? undefined : this.delegatedExpiresMs ?? undefined);
  }

  #sign(kind: DocumentKind, version: number, fields: Record<string, unknown>, expiresMs = this.expiresMs[kind]): string {
    const document: Document = newDocument(kind, { version, nowMs: START_MS - DAY_MS, expiresMs }, fields);
    return compactText(signDocument(document, this.roles[kind].sigs.map(signer)));
  }
}

function role(...keys: number[]): Role {
  return { keys, threshold: 1, sigs: keys };
}

class Client {
  trusted: TrustedRepository;

  constructor(root: string) {
    this.trusted = { root, versions: null };
  }

  /** @returns 'ok' or the code of the refusal, after which nothing may have changed */
  refresh(files: RepositoryFiles, nowMs = START_MS): string {
    const before = JSON.stringify(this.trusted);
    try {
      this.trusted = verifyRepository('image', this.trusted, files, nowMs).trusted;
      return 'ok';
    } catch (error) {
      expect(JSON.stringify(this.trusted)).toBe(before);
      return (error as { code: string }).code;
    }
  }

  get versions(): Record<Top, number> {
    const { versions } = this.trusted;
    return { root: decodeRoot('image', this.trusted.root).signed.version, timestamp: versions?.timestamp ?? 0, snapshot: versions?.snapshot ?? 0, targets: versions?.roles['targets.json'] ?? 0 };
  }
}

function refreshed(change: (sim: Simulator) => void = () => undefined): { sim: Simulator; client: Client } {
  const sim = new Simulator();
  change(sim);
  const client = new Client(sim.roots[0] ?? '');
  expect(client.refresh(sim.files())).toBe('ok');
  return { sim, client };
}

/** What the suite tests and this one does not, and why. */
const notApplicable: Record<string, string> = {
  test_implicit_refresh: 'there are no requests: the files of a target come with the message that names it',
  test_simple_snapshot_rollback: 'files come together, so a snapshot cannot be older than the timestamp beside it without being refused (test_new_snapshot_version_mismatch)',
  test_client_downloads_expected_file: 'packages are fetched by their hash, apart from metadata (OTA-033, test/agent/ota)',
  test_client_downloads_expected_file_in_sub_dir: 'as above',
  test_repository_substitutes_target_file: 'as above: OTA-033',
  test_multiple_changes_to_target: 'as above: OTA-033, and deployments one after another in test/agent/ota',
  test_static_repo: 'the suite brings repositories with other keys; a device takes Ed25519 only, one algorithm to trust (agent/trust/metadata.ts)',
};

describe('tuf-conformance: basics', () => {
  it('test_basic_init_and_refresh', () => {
    expect(refreshed().client.versions).toEqual({ root: 1, timestamp: 1, snapshot: 1, targets: 1 });
  });

  it.each([
    ['test_invalid_initial_root', (document: Document) => { delete (document.signed as { version?: number }).version; }, 'E_TRUST_FORMAT'],
    ['test_unsigned_initial_root', (document: Document) => { for (const one of document.signatures) one.sig = 'ab'.repeat(64); }, 'E_TRUST_SIGNATURE'],
  ])('%s', (_, change, code) => {
    const sim = new Simulator();
    const document = JSON.parse(sim.roots[0] ?? '') as Document;
    change(document);
    const root = JSON.stringify(document);
    expect(() => decodeRoot('image', root)).toThrow(expect.objectContaining({ code }) as Error);
    expect(new Client(root).refresh(sim.files())).toBe(code);
  });

  it('test_custom_fields', () => {
    const { sim, client } = refreshed();
    sim.rootFields = { 'custom-field': 'value' };
    sim.keyFields = { 'extra-field': { a: 1, b: 2 } };
    sim.publishRoot();
    expect(client.refresh(sim.files())).toBe('ok');
    expect(client.versions.root).toBe(2);
    const altered = { ...sim.files(), roots: [sim.roots[0] ?? '', (sim.roots[1] ?? '').replace('"value"', '"other"')] };
    expect(new Client(sim.roots[0] ?? '').refresh(altered)).toBe('E_TRUST_SIGNATURE'); // unknown fields are signed too
  });

  it.each(['test_timestamp_content_changes', 'test_timestamp_eq_versions_check'])('%s', () => {
    const { sim, client } = refreshed();
    sim.listedSnapshot = 100; // same version of the timestamp
    expect(client.refresh(sim.files())).toBe('E_TRUST_MIX');
    expect(client.versions).toMatchObject({ timestamp: 1, snapshot: 1 });
  });

  it('test_new_targets_hash_mismatch', () => {
    const { sim, client } = refreshed();
    sim.update();
    const files = sim.files();
    sim.targets = { targets: ['other'] };
    expect(client.refresh({ ...files, targets: sim.files().targets })).toBe('E_TRUST_MIX');
    expect(client.versions).toMatchObject({ snapshot: 1, targets: 1 });
  });

  it('test_new_targets_version_mismatch', () => {
    const { sim, client } = refreshed();
    sim.update();
    sim.listedTargets = 7;
    expect(client.refresh(sim.files())).toBe('E_TRUST_MIX');
  });
});

describe('tuf-conformance: rollback', () => {
  it('test_new_timestamp_version_rollback', () => {
    const { sim, client } = refreshed((s) => { s.versions.timestamp = 2; });
    sim.versions.timestamp = 1;
    expect(client.refresh(sim.files())).toBe('E_TRUST_ROLLBACK');
    expect(client.versions.timestamp).toBe(2);
  });

  it('test_snapshot_rollback', () => {
    const { sim, client } = refreshed((s) => { s.versions.snapshot = 2; });
    sim.versions.snapshot = 1;
    sim.versions.timestamp += 1;
    expect(client.refresh(sim.files())).toBe('E_TRUST_ROLLBACK');
    expect(client.versions).toMatchObject({ timestamp: 1, snapshot: 2 });
  });

  it('test_targets_rollback', () => {
    const { sim, client } = refreshed((s) => { s.versions.targets = 3; });
    sim.update();
    sim.versions.targets = 1;
    expect(client.refresh(sim.files())).toBe('E_TRUST_ROLLBACK');
    expect(client.versions.targets).toBe(3);
  });

  it('test_new_snapshot_version_mismatch', () => {
    const sim = new Simulator();
    const client = new Client(sim.roots[0] ?? '');
    sim.listedSnapshot = 2;
    expect(client.refresh(sim.files())).toBe('E_TRUST_MIX');
    expect(client.versions).toMatchObject({ timestamp: 0, snapshot: 0 });
  });

  it.each([
    ['test_new_timestamp_fast_forward_recovery', 'timestamp', ['timestamp']],
    ['test_new_snapshot_fast_forward_recovery', 'snapshot', ['snapshot', 'timestamp']],
    ['test_new_targets_fast_forward_recovery', 'targets', ['snapshot']],
  ] as const)('%s', (_, name, rotated) => {
    const { sim, client } = refreshed((s) => { s.versions[name] = 99_999; });
    sim.versions[name] = 1;
    if (name !== 'timestamp') sim.versions.timestamp += 1;
    if (name === 'targets') sim.versions.snapshot += 1;
    expect(client.refresh(sim.files())).toBe('E_TRUST_ROLLBACK');
    for (const [i, one] of rotated.entries()) sim.roles[one] = role(10 + i);
    sim.publishRoot();
    expect(client.refresh(sim.files())).toBe('ok');
    expect(client.versions[name]).toBe(1);
  });
});

describe('tuf-conformance: expiration', () => {
  it.each(['test_timestamp_expired', 'test_snapshot_expired', 'test_targets_expired', 'test_root_expired'] as const)('%s', (test) => {
    const name = test.replace(/^test_|_expired$/g, '') as Top;
    const { sim, client } = refreshed();
    sim.expiresMs[name] = START_MS - DAY_MS / 2;
    sim.update();
    if (name === 'root') sim.publishRoot();
    // All or nothing: the suite's client keeps an expired root, ours waits for the next one that has not expired.
    expect(client.refresh(sim.files())).toBe('E_TRUST_FREEZE');
    expect(client.versions).toEqual({ root: 1, timestamp: 1, snapshot: 1, targets: 1 });
    sim.expiresMs[name] = START_MS + DAY_MS;
    if (name === 'root') sim.publishRoot();
    expect(client.refresh(sim.files())).toBe('ok');
    expect(client.versions.root).toBe(name === 'root' ? 3 : 1);
  });

  it('test_expired_metadata', () => {
    const { sim, client } = refreshed((s) => { s.expiresMs.timestamp = START_MS + 7 * DAY_MS; });
    sim.update();
    sim.expiresMs.timestamp = START_MS + 21 * DAY_MS;
    expect(client.refresh(sim.files(), START_MS + 18 * DAY_MS)).toBe('ok');
    expect(client.versions).toMatchObject({ timestamp: 2, snapshot: 2, targets: 2 });
  });
});

describe('tuf-conformance: keys', () => {
  it('test_snapshot_threshold', () => {
    const { sim, client } = refreshed();
    sim.roles.snapshot = { keys: [0, 1, 2, 3, 4], threshold: 6, sigs: [0, 1, 2, 3, 4] };
    sim.publishRoot();
    sim.update();
    expect(client.refresh(sim.files())).toBe('E_TRUST_SIGNATURE');
    expect(client.versions.snapshot).toBe(1);
  });

  it('test_root_has_keys_but_not_snapshot', () => {
    const { sim, client } = refreshed();
    sim.roles.snapshot = { keys: [0, 1, 2, 3, 4], threshold: 5, sigs: [0, 1, 2, 3] };
    sim.publishRoot();
    sim.update();
    expect(client.refresh(sim.files())).toBe('E_TRUST_SIGNATURE');
    sim.roles.snapshot.sigs.push(4);
    expect(client.refresh(sim.files())).toBe('ok');
  });

  it('test_wrong_hashing_algorithm', () => {
    const { sim, client } = refreshed();
    sim.keyFields = { keyid_hash_algorithms: ['md5'] };
    sim.publishRoot();
    expect(client.refresh(sim.files())).toBe('ok');
  });

  it('test_duplicate_keys_root', () => {
    const { sim, client } = refreshed();
    const text = sim.publishRoot();
    const document = JSON.parse(text) as Document & { signed: { keys: Record<string, object>; roles: Record<string, { keyids: string[]; threshold: number }> } };
    const { id, public: value } = signer(22);
    const others = Array.from({ length: 9 }, (_, i) => `${i}`.repeat(64));
    for (const other of others) document.signed.keys[other] = keyJson(value);
    document.signed.roles['snapshot'] = { keyids: [id, ...others], threshold: 6 };
    const root = compactText(signDocument({ ...document, signatures: [] }, [signer(20)]));
    expect(client.refresh({ ...sim.files(), roots: [sim.roots[0] ?? '', root] })).toBe('E_TRUST_FORMAT');
    expect(client.versions).toMatchObject({ root: 1, snapshot: 1 });
  });
});

/** Keys, threshold and signatures of one root after another; the last is accepted, or (false) the one before it is the last. */
const rotations: [string, [number[], number, number[]][], boolean][] = [
  ['1-of-1-key-rotation', [[[1], 1, [1]], [[2], 1, [2, 1]], [[2], 1, [2]]], true],
  ['1-of-1-key-rotation-unused-signatures', [[[1], 1, [3, 1, 4]], [[2], 1, [3, 2, 1, 4]], [[2], 1, [3, 2, 4]]], true],
  ['3-of-5-sign-with-different-keycombos', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[0, 1, 2, 3, 4], 3, [0, 4, 1]], [[0, 1, 2, 3, 4], 3, [0, 1, 3]]], true],
  ['3-of-5-one-key-rotated', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[0, 1, 3, 4, 5], 3, [0, 4, 1]]], true],
  ['3-of-5-one-key-rotated-with-intermediate-step', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[0, 1, 3, 4, 5], 3, [0, 2, 4, 5]], [[0, 1, 3, 4, 5], 3, [0, 4, 5]]], true],
  ['3-of-5-all-keys-rotated-with-intermediate-step', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]], [[5, 6, 7, 8, 9], 3, [5, 6, 7]]], true],
  ['1-of-3-threshold-increase-to-2-of-3', [[[1, 2, 3], 1, [1]], [[1, 2, 3], 2, [1, 2]]], true],
  ['2-of-3-threshold-decrease-to-1-of-3', [[[1, 2, 3], 2, [1, 2]], [[1, 2, 3], 1, [1, 2]], [[1, 2, 3], 1, [1]]], true],
  ['1-of-2-threshold-increase-to-2-of-2', [[[1], 1, [1]], [[1, 2], 2, [1, 2]]], true],
  ['1-of-1-key-rotation-fail-not-signed-with-old-key', [[[1], 1, [1]], [[2], 1, [2, 3, 4]]], false],
  ['1-of-1-key-rotation-fail-not-signed-with-new-key', [[[1], 1, [1]], [[2], 1, [1, 3, 4]]], false],
  ['3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[0, 1, 3, 4, 5], 3, [0, 2, 4]]], false],
  ['3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys', [[[0, 1, 2, 3, 4], 3, [0, 2, 4]], [[0, 1, 3, 4, 5], 3, [0, 4, 5]]], false],
  ['1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached', [[[1, 2, 3], 1, [1]], [[1, 2, 3], 2, [2]]], false],
  ['2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached', [[[1, 2, 3], 2, [1, 2]], [[1, 2, 3], 1, [1]]], false],
];

/** Of the timestamp, the snapshot and the targets. */
const nonRootRotations: [string, number[], number, number[], boolean][] = [
  ['1-of-1-key-rotation', [2], 1, [2], true],
  ['1-of-1-key-rotation-unused-signatures', [1], 1, [3, 1, 4], true],
  ['1-of-1-key-rotation-fail-not-signed-with-new-key', [2], 1, [1, 3, 4], false],
  ['3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys', [0, 1, 3, 4, 5], 3, [0, 2, 4], false],
  ['2-of-5-one-key-signature-missing-threshold-not-reached', [0, 1, 3, 4, 5], 3, [0, 4], false],
  ['3-of-5-sign-first-combo', [0, 1, 2, 3, 4], 3, [0, 2, 4], true],
  ['3-of-5-sign-second-combo', [0, 1, 2, 3, 4], 3, [0, 4, 1], true],
  ['3-of-5-sign-third-combo', [0, 1, 2, 3, 4], 3, [0, 1, 3], true],
  ['3-of-5-sign-fourth-combo', [0, 1, 2, 3, 4], 3, [1, 2, 3], true],
  ['3-of-5-sign-fifth-combo', [0, 1, 2, 3, 4], 3, [2, 3, 4], true],
];

describe('tuf-conformance: key rotations', () => {
  it.each(rotations)('test_root_rotation: %s', (_, roots, accepted) => {
    const sim = new Simulator();
    sim.roots.length = 0;
    sim.versions.root = 0;
    for (const [keys, threshold, sigs] of roots) {
      sim.roles.root = { keys, threshold, sigs };
      sim.publishRoot();
    }
    const client = new Client(sim.roots[0] ?? '');
    expect(client.refresh(sim.files())).toBe(accepted ? 'ok' : 'E_TRUST_SIGNATURE');
    expect(client.trusted.root).toBe(accepted ? sim.roots.at(-1) : sim.roots[0]);
  });

  it.each(nonRootRotations)('test_non_root_rotations: %s', (_, keys, threshold, sigs, accepted) => {
    for (const name of ['timestamp', 'snapshot', 'targets'] as const) {
      const sim = new Simulator();
      const client = new Client(sim.roots[0] ?? '');
      sim.roles[name] = { keys, threshold, sigs };
      sim.publishRoot();
      expect(client.refresh(sim.files()), name).toBe(accepted ? 'ok' : 'E_TRUST_SIGNATURE');
    }
  });
});

/** `delegator role [pattern] [!]`: `!` terminates. */
function delegations(...lines: string[]): Delegation[] {
  return lines.map((line) => {
    const [delegator = '', child = '', ...rest] = line.split(' ');
    const paths = rest.filter((word) => word !== '!');
    return { delegator, role: child, terminating: rest.includes('!'), ...(paths.length === 0 ? {} : { paths }) };
  });
}

const graphs: [string, string[], string][] = [
  ['basic-delegation', ['targets A'], 'A'],
  ['single-level-delegations', ['targets A', 'targets B'], 'A B'],
  ['two-level-delegations', ['targets A', 'targets B', 'B C'], 'A B C'],
  ['two-level-test-DFS-order-of-traversal', ['targets A', 'targets B', 'A C', 'A D'], 'A C D B'],
  ['three-level-delegation-test-DFS-order-of-traversal', ['targets A', 'targets B', 'A C', 'C D'], 'A C D B'],
  ['two-level-terminating-ignores-all-but-roles-descendants', ['targets A', 'targets B', 'A C !', 'A D'], 'A C'],
  ['three-level-terminating-ignores-all-but-roles-descendants', ['targets A', 'targets B', 'A C !', 'C D'], 'A C D'],
  ['two-level-ignores-all-branches-not-matching-paths', ['targets A *.py', 'targets B', 'A C'], 'B'],
  ['three-level-ignores-all-branches-not-matching-paths', ['targets A', 'targets B', 'A C *.py', 'C D'], 'A B'],
  ['cyclic-graph', ['targets A', 'targets B', 'B C', 'C D', 'D B'], 'A B C D'],
  ['two-roles-delegating-to-a-third', ['targets A', 'targets B', 'B C', 'A C'], 'A C B'],
  ['two-roles-delegating-to-a-third-different-paths', ['targets A', 'targets B', 'B C', 'A C *.py'], 'A B C'],
];

describe('tuf-conformance: delegation graphs', () => {
  it.each(graphs)('test_graph_traversal: %s', (_, lines, order) => {
    const sim = new Simulator();
    sim.delegations = delegations(...lines);
    const files = sim.files();
    const { target } = verifyRepository('image', { root: sim.roots[0] ?? '', versions: null }, files, START_MS);
    expect(target('missingpath')).toBeNull();
    expect(sim.visited.join(' ')).toBe(order);
  });

  it.each([
    ['no delegations', 'targetfile', true, ''],
    ['targetpath matches wildcard', 'README.md', true, 'A'],
    ['targetpath with separators x', 'releases/x/x_v1', true, 'B C'],
    ['targetpath with separators y', 'releases/y/y_v1.zip', true, 'B D'],
    ['targetpath is not delegated by all roles in the chain', 'releases/z/z_v1.zip', false, 'B'],
  ])('test_targetfile_search: %s', (_, path, found, order) => {
    const sim = new Simulator();
    sim.delegations = delegations('targets A *.doc *.md', 'targets B releases/*/*', 'B C releases/x/*', 'B D releases/y/*.zip');
    sim.targets = { targets: ['targetfile'], A: ['README.md'], C: ['releases/x/x_v1'], D: ['releases/y/y_v1.zip', 'releases/z/z_v1.zip'] };
    const { target } = verifyRepository('image', { root: sim.roots[0] ?? '', versions: null }, sim.files(), START_MS);
    expect(target(path) !== null).toBe(found);
    expect(sim.visited.join(' ')).toBe(order);
  });

  /** A role that expires on day 7, and two targets in it. */
  function delegating(): Simulator {
    const sim = new Simulator();
    sim.delegations = delegations('targets delegated delegatedpath/*');
    sim.targets = { delegated: ['delegatedpath/first', 'delegatedpath/second'] };
    sim.delegatedExpiresMs = START_MS + 7 * DAY_MS;
    return sim;
  }
  const find = (sim: Simulator, path: string, nowMs: number): boolean => verifyRepository('image', { root: sim.roots[0] ?? '', versions: null }, sim.files(), nowMs).target(path) !== null;
  const freeze = expect.objectContaining({ code: 'E_TRUST_FREEZE' }) as Error;

  it('test_delegated_targets_expired', () => {
    const sim = delegating();
    sim.delegatedExpiresMs = START_MS - DAY_MS / 2;
    expect(() => find(sim, 'delegatedpath/first', START_MS)).toThrow(freeze);
  });

  it('test_expired_local_delegated_targets', () => {
    const sim = delegating();
    expect(find(sim, 'delegatedpath/first', START_MS)).toBe(true);
    expect(() => find(sim, 'delegatedpath/second', START_MS + 18 * DAY_MS)).toThrow(freeze);
  });

  it('test_expired_local_delegated_targets_updates', () => {
    const sim = delegating();
    const client = new Client(sim.roots[0] ?? '');
    expect(client.refresh(sim.files())).toBe('ok');
    sim.update();
    sim.delegatedVersion = 2;
    sim.delegatedExpiresMs = START_MS + 21 * DAY_MS;
    expect(client.refresh(sim.files(), START_MS + 18 * DAY_MS)).toBe('ok');
    expect(find(sim, 'delegatedpath/second', START_MS + 18 * DAY_MS)).toBe(true);
  });

  it.each(['?', '#', '/delegatedrole', '../delegatedrole'])('test_unusual_role_name: %s', (name) => {
    const sim = new Simulator();
    sim.delegations = [{ delegator: 'targets', role: name }];
    expect(find(sim, 'nonexistent target', START_MS)).toBe(false);
    expect(sim.visited).toEqual([name]); // by its name alone: nothing is a path or an address
  });
});

/** Every case of the suite. */
const suite = `
  test_basic_init_and_refresh test_implicit_refresh test_invalid_initial_root test_unsigned_initial_root test_custom_fields test_timestamp_content_changes
  test_timestamp_eq_versions_check test_new_targets_hash_mismatch test_new_targets_version_mismatch test_simple_snapshot_rollback
  test_new_timestamp_version_rollback test_snapshot_rollback test_targets_rollback test_new_snapshot_version_mismatch
  test_new_timestamp_fast_forward_recovery test_new_snapshot_fast_forward_recovery test_new_targets_fast_forward_recovery test_root_expired
  test_timestamp_expired test_snapshot_expired test_targets_expired test_expired_metadata test_delegated_targets_expired
  test_expired_local_delegated_targets test_expired_local_delegated_targets_updates test_snapshot_threshold test_root_has_keys_but_not_snapshot
  test_wrong_hashing_algorithm test_duplicate_keys_root test_root_rotation test_non_root_rotations test_graph_traversal test_targetfile_search
  test_unusual_role_name test_static_repo test_client_downloads_expected_file test_client_downloads_expected_file_in_sub_dir
  test_repository_substitutes_target_file test_multiple_changes_to_target`.trim().split(/\s+/);

describe('tuf-conformance', () => {
  it('each case of the suite is a test here, or a reason why it does not apply; never both', () => {
    const source = readFileSync(import.meta.filename, 'utf8');
    const written = suite.filter((name) => source.includes(`'${name}'`) || source.includes(`'${name}: `));
    expect([...written, ...Object.keys(notApplicable)].sort()).toEqual([...suite].sort());
  });
});
