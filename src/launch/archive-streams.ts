/**
 * Bytes on their way through host programs. All of them go through this process, so that each program has lost an end
 * of its pipes, and ends, when this process is killed: signal(7), SIGPIPE.
 */
import type { StartedProgram } from '../sys/run.js';

/**
 * What a program makes of these bytes.
 * @throws at the end of it: what is wrong with the bytes, or ProgramFailure where the program has not ended well
 */
export async function* throughProgram(
  program: StartedProgram,
  bytes: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  const fed = feed(program, bytes);
  fed.catch(() => {}); // told below
  try {
    yield* outputOf(program);
    await fed;
  } catch (error) {
    await fed; // a program that was not given all of them complains, too
    throw error;
  } finally {
    await fed.catch(() => {});
  }
}

/** What a program writes. @throws ProgramFailure at the end of it, where the program has not ended well */
export async function* outputOf({ stdin, stdout, done }: StartedProgram): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stdout ?? []) yield chunk as Buffer;
    await done;
  } finally {
    stdin?.destroy();
    stdout?.destroy();
    await done.catch(() => {}); // it ends with its pipes
  }
}

/** @throws what is wrong with the bytes. Why a program does not want any more of them is told by its end */
async function feed(program: StartedProgram, bytes: AsyncIterable<Buffer>): Promise<void> {
  try {
    for await (const chunk of bytes) if (!(await isTaken(program, chunk))) return;
    program.stdin?.end();
  } finally {
    program.stdin?.destroy();
  }
}

const isTaken = async (program: StartedProgram, chunk: Buffer): Promise<boolean> =>
  await give(program, chunk).then(
    () => true,
    () => false,
  );

/** Hands bytes to a program, and waits until it has room for more. @throws ProgramFailure where it has ended in failure */
export async function give({ stdin, done }: StartedProgram, bytes: Buffer): Promise<void> {
  if (!stdin || stdin.destroyed || stdin.write(bytes)) {
    if (stdin?.destroyed) await done;
    return;
  }
  await new Promise<void>((resolve) => {
    const goOn = (): void => {
      stdin.off('drain', goOn).off('close', goOn);
      resolve();
    };
    stdin.on('drain', goOn).on('close', goOn);
  });
  if (stdin.destroyed) await done; // which says why
}
