/** A program of the host in the foreground: with our stdin, stdout and stderr, and so with our terminal. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Failure } from '../errors.js';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A terminal sends it these as well as us: what they mean is for it to say. */
const ITS_OWN = ['SIGINT', 'SIGQUIT'] as const;
const HANDED_ON = ['SIGTERM', 'SIGHUP'] as const;

/**
 * Runs a program to its end.
 * @returns its exit status, 128+n for signal n
 */
export async function attach(argv: readonly string[]): Promise<number> {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { stdio: 'inherit', env: { PATH, LANG: 'C.UTF-8' } });
  const ignore = (): void => {};
  const handOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ITS_OWN) process.on(signal, ignore);
  for (const signal of HANDED_ON) process.on(signal, handOn);
  try {
    return await new Promise((done, fail) => {
      child.once('exit', (code, signal) => done(code ?? 128 + (signal ? constants.signals[signal] : 0)));
      child.once('error', (cause) =>
        fail(new Failure({ what: `cannot run ${file}: ${cause.message}`, cause })),
      );
    });
  } finally {
    for (const signal of ITS_OWN) process.off(signal, ignore);
    for (const signal of HANDED_ON) process.off(signal, handOn);
  }
}
