/**
 * For what gives no event to wait for.
 * @param ms  milliseconds
 * @param stay  false: the process need not stay for it
 */
export const sleep = (ms: number, { stay = true } = {}): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    if (!stay) timer.unref();
  });

/** Milliseconds of a clock that nobody sets, for what has to end some time: CLOCK_MONOTONIC, clock_gettime(2). */
export const monotonicMs = (): number => process.uptime() * 1000;
