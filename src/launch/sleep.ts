/** For what gives no event to wait for. @param ms  milliseconds */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds of a clock that nobody sets, for what has to end some time: CLOCK_MONOTONIC, clock_gettime(2). */
export const monotonicMs = (): number => process.uptime() * 1000;
