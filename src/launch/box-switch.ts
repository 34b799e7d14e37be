/** Boxes that become another instance, and go back by themselves where that does not become ready. */
import { Failure, quoted, UserError } from '../errors.js';
import { readWafer } from '../stack/from-wafers.js';
import {
  checkInstanceName,
  fallbackOf,
  type Generation,
  instanceName,
  type Point,
  readPoint,
  requirePoint,
  requireSealed,
} from '../stack/store.js';
import {
  alone,
  aloneWithNew,
  type Box,
  checkBoxName,
  imageOfInstance,
  instanceInUse,
  Overtaken,
  requireBox,
} from './box.js';
import { makeBoxConf, removeBoxConf } from './box-conf.js';
import { oneLine, type Started, startStopped } from './box-engine.js';
import {
  cutover,
  deleteInstance,
  deletePoint,
  newInstance,
  resetInstance,
  setGeneration,
  setInstance,
} from './store-points.js';

/** What a box came to be. */
export interface BoxSwitched {
  /** The image that it is an instance of now. */
  readonly image: string;
  /** False where it was so already. */
  readonly changed: boolean;
  /** Undefined where it did not run before, and does not now. */
  readonly started: Started | undefined;
}

/**
 * Makes a box an instance of another image: stopped, switched, started if it ran. A box that there is not is made, and
 * started.
 * @throws Failure where the new instance does not become ready; the box then is what it was, and runs if it ran
 */
export async function cutoverBox(box: Box, image: string): Promise<BoxSwitched> {
  const { name, places } = box;
  checkBoxName(name);
  checkInstanceName(image, name);
  for (;;)
    try {
      const isThere = readPoint(places.wafers, name) !== undefined;
      return confirmed(box, await (isThere ? switchBox(box, image) : makeBox(box, image)));
    } catch (error) {
      // Of several that make it at once one does. Where it does not start it is gone again, and another one makes it.
      if (!(error instanceof Overtaken)) throw error;
    }
}

async function switchBox(box: Box, image: string): Promise<BoxSwitched> {
  const { name, places } = box;
  const instance = instanceName(image, name);
  return await alone(box, async () => {
    const { current } = requirePoint(places.wafers, name);
    const used = box.engine.runs() ? runningInstance(box, current.instance) : undefined;
    if (used === undefined) {
      const { changed } = await cutover(places, name, image);
      return { image, changed, started: undefined };
    }
    if (used === instance && current.instance === instance)
      return { image, changed: false, started: undefined };
    requireSealed(places.wafers, image);
    const made = await newInstance(places, name, image);
    const started = await restartAs(box, {
      instance,
      used,
      become: async () => void (await setInstance(places, name, image)),
      takeBack: async () => {
        if (made) await deleteInstance(places, name, image);
      },
    });
    return { image, changed: true, started };
  });
}

/** Makes a box and starts it. Of what fails nothing is left. */
async function makeBox(box: Box, image: string): Promise<BoxSwitched> {
  const { name, places, settings, engine } = box;
  requireSealed(places.wafers, image); // before there is so much as a store
  engine.runs(); // something else of that name is an error
  return await aloneWithNew(box, image, async () => {
    let confMade = false;
    try {
      confMade = makeBoxConf(settings, name);
      await engine.prepare(instanceName(image, name));
      return { image, changed: true, started: await engine.start() };
    } catch (error) {
      await deletePoint(places, name).catch(() => undefined); // the error that led here is the one to tell
      if (confMade) removeBoxConf(settings, name);
      throw error;
    }
  });
}

/**
 * What is told is what is so: stacko does not wait for boxctl.
 * @throws Failure where another image was started than the one that was asked for
 */
function confirmed({ name, places }: Box, switched: BoxSwitched): BoxSwitched {
  const used = switched.started && instanceInUse(places, name);
  if (used === undefined || used === instanceName(switched.image, name)) return switched;
  throw new Failure({
    what: `${name} runs, but on ${imageOfInstance(used)}: somebody else has cut it over meanwhile`,
    todo: `boxctl cutover-instance ${name} ${switched.image} once more`,
  });
}

/**
 * Makes a box the generation before again, with every change that it had: stopped, switched, started if it ran.
 * @throws Failure where there is none before, and as cutoverBox() does
 */
export async function fallbackBox(box: Box): Promise<BoxSwitched> {
  const { name, places } = box;
  requireBox(places.wafers, name);
  return await alone(box, async () => {
    const point = requirePoint(places.wafers, name);
    const target = fallbackOf(point);
    if (!target)
      throw new Failure({
        what: `box ${quoted(name)} has nothing to fall back to: ${imageOfInstance(point.current.instance)} replaced no other image`,
      });
    const image = imageOfInstance(target.instance);
    const become = async (): Promise<void> => void (await setGeneration(places, name, target.number));
    if (!box.engine.runs()) {
      await become();
      return { image, changed: true, started: undefined };
    }
    const used = runningInstance(box, point.current.instance);
    const { instance } = target;
    const started = await restartAs(box, { instance, used, become, takeBack: async () => {} });
    return confirmed(box, { image, changed: true, started });
  });
}

/** What it was booted with, which is not the current one where the point was cut over meanwhile. */
const runningInstance = ({ places, name }: Box, current: string): string =>
  instanceInUse(places, name) ?? current;

interface Becoming {
  /** What it becomes, and what it was booted with. */
  readonly instance: string;
  readonly used: string;
  /** Makes the instance the current one. */
  become(): Promise<void>;
  /** Takes back what was made for it, once it is not current any more. */
  takeBack(): Promise<void>;
}

/** Stops a running box and starts it as another instance; as the one that it was if that does not become ready. */
async function restartAs(box: Box, { instance, used, become, takeBack }: Becoming): Promise<Started> {
  const { name, places, engine } = box;
  const before = generationOf(requirePoint(places.wafers, name), used);
  try {
    await engine.prepare(instance);
  } catch (error) {
    await takeBack();
    throw error;
  }
  try {
    await engine.stop();
    await become();
    return await engine.start();
  } catch (error) {
    const { words, logged } = await goBack(box, before);
    const what = logged ? inLogBefore(oneLine(error)) : oneLine(error);
    await takeBack().catch(() => undefined); // an instance that nothing is: delete-instance removes it
    throw new Failure({ what, todo: words, cause: error });
  }
}

/** The generation that a running box is: the last that is its instance. */
const generationOf = ({ current, generations }: Point, instance: string): Generation =>
  current.instance === instance
    ? current
    : (generations.findLast((one) => one.instance === instance) ?? current);

/** @returns what runs now, in words; and whether that has a log by now */
async function goBack(
  { name, places, engine }: Box,
  { number, instance }: Generation,
): Promise<{ readonly words: string; readonly logged: boolean }> {
  const image = imageOfInstance(instance);
  try {
    await setGeneration(places, name, number);
    await engine.start({ interruptible: false });
    return { words: `it runs on ${image} again`, logged: true };
  } catch (error) {
    return { words: `nor does it run on ${image} again: ${oneLine(error)}`, logged: false };
  }
}

/** The next boot has put the log aside that the message of the one before names. */
const inLogBefore = (message: string): string => message.replace(/\(log: (.*)\)$/, '(log: $1.1)');

/** How a box runs that was stopped meanwhile, and as what. */
export interface Restarted {
  readonly image: string;
  readonly started: Started;
}

/**
 * Empties an instance of a box: it is as its image again. Stopped before and started after it, if it runs on that.
 * @throws Failure where it does not start then
 */
export async function resetBox(box: Box, image: string): Promise<Restarted | undefined> {
  const { name, places, engine } = box;
  const instance = checkInstanceName(image, name);
  requireBox(places.wafers, name);
  return await alone(box, async () => {
    const { current } = requirePoint(places.wafers, name);
    requireInstance(box, image);
    if (!engine.runs() || runningInstance(box, current.instance) !== instance) {
      await resetInstance(places, name, image);
      return undefined;
    }
    await engine.prepare(instance);
    await engine.stop();
    try {
      await resetInstance(places, name, image);
    } catch (error) {
      await engine.start({ interruptible: false });
      throw error;
    }
    return { image: imageOfInstance(current.instance), started: await startStopped(engine, 'it is reset') };
  });
}

function requireInstance({ name, places }: Box, image: string): void {
  if (readWafer(places.wafers, instanceName(image, name))) return;
  throw new UserError({
    what: `box ${quoted(name)} has no instance of ${quoted(image)}`,
    todo: 'boxctl list-images shows of which images it has',
  });
}

/**
 * Removes an instance of a box, and what was changed in it. Fallback then goes past it.
 * @throws Failure for the current one, and for one that is in use
 */
export async function deleteBoxInstance(box: Box, image: string): Promise<void> {
  const { name, places } = box;
  const instance = checkInstanceName(image, name);
  requireBox(places.wafers, name);
  await alone(box, async () => {
    requireInstance(box, image);
    if (requirePoint(places.wafers, name).current.instance === instance)
      throw new Failure({
        what: `box ${quoted(name)} is ${image} now`,
        todo: `boxctl cutover-instance ${name} to another image first, or fallback-instance`,
      });
    await deleteInstance(places, name, image);
  });
}
