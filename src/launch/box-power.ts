/** Boxes that are started, stopped, and configured without being started. */
import { Failure, quoted } from '../errors.js';
import { alone, type Box, requireBox } from './box.js';
import { makeBoxConf } from './box-conf.js';
import { type BoxShell, type Started, startStopped } from './box-engine.js';

/** Starts a box; its conf is made if it has none. @throws UserError, Failure or ErrorList; it is stopped then */
export const startBox = async (box: Box): Promise<Started> =>
  await alone(box, async () => {
    if (box.engine.runs()) return { outcome: 'running', degraded: [] };
    await prepared(box);
    return await box.engine.start();
  });

/** All that keeps it from starting is told while it still runs, if it does. */
async function prepared({ name, places, settings, engine }: Box): Promise<void> {
  const { current } = requireBox(places.wafers, name);
  makeBoxConf(settings, name);
  await engine.prepare(current.instance);
}

/** Stops a box and starts it; one that does not run is only started. */
export const restartBox = async (box: Box): Promise<Started> =>
  await alone(box, async () => {
    await prepared(box);
    await box.engine.stop();
    return await startStopped(box.engine);
  });

/** @returns false where it did not run */
export const stopBox = async (box: Box): Promise<boolean> =>
  await alone(box, async () => await box.engine.stop());

/**
 * Ends a box with no service asked to stop. It does not wait for whoever else is at it: that may be what hangs.
 * @returns false where it did not run
 */
export async function terminateBox({ name, places, engine }: Box): Promise<boolean> {
  requireBox(places.wafers, name);
  return await engine.stop({ kill: true });
}

/**
 * Has a shell run in a box that is not started: its root is mounted and its rights are what they are when it runs, but
 * nothing of it is. When the shell has ended, all of it ends.
 * @returns the shell's exit status
 */
export async function configureBox(box: Box, shell: BoxShell): Promise<number> {
  const { name, engine } = box;
  return await alone(box, async () => {
    if (engine.runs())
      throw new Failure({
        what: `box ${quoted(name)} runs`,
        todo: `boxctl login ${name} enters it as it is, boxctl poweroff ${name} stops it`,
      });
    await prepared(box);
    return await engine.configure(shell);
  });
}
