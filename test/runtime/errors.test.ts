import { describe, expect, it } from 'vitest';
import { fetchMessageOf } from '../../runtime/errors.js';

describe('the reason why fetch() failed', () => {
  it('is that of its cause, not "fetch failed"', async () => {
    const error: unknown = await fetch('http://127.0.0.1:1/', { signal: AbortSignal.timeout(10_000) }).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(TypeError);
    expect(fetchMessageOf(error)).toMatch(/bad port|ECONNREFUSED/);
  });

  it('is the code of a cause without a message, as an error for several addresses has none', () => {
    const several = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' });
    expect(fetchMessageOf(new TypeError('fetch failed', { cause: several }))).toBe('ECONNREFUSED');
  });

  it('is the message of an error without a cause, and the text of what is no error', () => {
    expect(fetchMessageOf(new Error('The operation was aborted due to timeout'))).toBe('The operation was aborted due to timeout');
    expect(fetchMessageOf('gone')).toBe('gone');
  });
});
