import { describe, expect, it } from 'vitest';
import { Lifecycle, type StopFailure } from '../../runtime/lifecycle.js';

function recorded(budgetMs?: number): { lifecycle: Lifecycle; failures: StopFailure[] } {
  const failures: StopFailure[] = [];
  return { failures, lifecycle: new Lifecycle({ ...(budgetMs === undefined ? {} : { budgetMs }), onFailure: (failure) => failures.push(failure) }) };
}

describe('a lifecycle', () => {
  it('stops every part in reverse order, although some throw, reject or hang', async () => {
    const { lifecycle, failures } = recorded();
    const stopped: string[] = [];
    lifecycle.add({ name: 'first', stop: () => void stopped.push('first') });
    lifecycle.add({ name: 'throws', stop: () => { throw new Error('full disk'); } });
    lifecycle.add({ name: 'hangs', stop: () => new Promise(() => undefined), stopMs: 20 });
    lifecycle.add({ name: 'rejects', stop: () => Promise.reject(new Error('gone')) });
    lifecycle.add({ name: 'last', stop: async () => { await Promise.resolve(); stopped.push('last'); } });
    await lifecycle.stop();
    expect(stopped).toEqual(['last', 'first']);
    expect(failures.map(({ part, timedOut }) => [part, timedOut])).toEqual([['rejects', false], ['hangs', true], ['throws', false]]);
  });

  it('keeps to its budget over many parts that hang', async () => {
    const { lifecycle, failures } = recorded(30);
    for (let i = 0; i < 5; i++) lifecycle.add({ name: `part ${i}`, stop: () => new Promise(() => undefined), stopMs: 3_600_000 });
    await lifecycle.stop(); // an hour each without the budget
    expect(failures).toHaveLength(5);
  });

  it('has ended at once when no part needs to be waited for, stops once, and stops what comes too late', () => {
    const { lifecycle } = recorded();
    let stops = 0;
    lifecycle.add({ name: 'file', stop: () => { stops += 1; } });
    void lifecycle.stop();
    void lifecycle.stop();
    expect(stops).toBe(1);
    lifecycle.add({ name: 'late', stop: () => { stops += 1; } });
    expect(stops).toBe(2);
  });

  it('does not report a part twice that fails after its deadline', async () => {
    const { lifecycle, failures } = recorded();
    let fail = (): void => undefined;
    lifecycle.add({ name: 'slow', stop: () => new Promise((_resolve, reject) => { fail = () => reject(new Error('late')); }), stopMs: 5 });
    await lifecycle.stop();
    fail();
    await new Promise((resolve) => { setImmediate(resolve); });
    expect(failures).toHaveLength(1);
  });
});
