/** What is done between the steps of a compilation. */
let between = (): void => undefined;

/**
 * From now on, `call` is called between the steps of each compilation on this thread. What a step made and the next one does not read is garbage by
 * then, and a process with little memory can collect it before more comes.
 */
export function onPause(call: () => void): void {
  between = call;
}

/** Between two steps of a compilation. */
export const pause = (): void => between();
