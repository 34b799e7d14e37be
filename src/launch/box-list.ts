/** What boxes there are, what they are and whether they run. Reading only. */
import type { Settings } from '../config/settings.js';
import type { Engine } from '../config/subhost-config.js';
import { readSubhostsList } from '../config/subhosts-list.js';
import { isSubhostName } from '../config/values.js';
import { errnoOf, Failure } from '../errors.js';
import { realPath } from '../stack/root-kind.js';
import { fallbackOf, pointNames, readPoint } from '../stack/store.js';
import { imageOfInstance, instanceInUse } from './box.js';
import { boxConf, configureConf, confNames } from './box-conf.js';
import { engineOfBox } from './box-nspawn-conf.js';
import { seenByNspawn } from './box-nspawn-seen.js';
import { pointRows } from './point-rows.js';
import { type FoundSubhost, findSubhosts } from './status.js';
import { type ImageRow, imageRows } from './store-images.js';
import type { WaferPlaces } from './wafers.js';

/** What is seen of a box that runs, whatever runs it. */
export interface SeenBox {
  /** As a subhost, or in the words for one. */
  readonly found: FoundSubhost;
  /** Its root is mounted, but nothing of it is started. */
  readonly configuring: boolean;
  readonly engine: Engine;
  /** The program that is a login shell in it; undefined where it is entered as a subhost. */
  readonly shell?: (term: string | undefined) => readonly string[];
}

/** One that does not run and is nowhere listed is `stopped`. */
export interface BoxRow extends SeenBox {
  readonly name: string;
  /** What the store knows of it; undefined where it has no such point, or may not be looked into. */
  readonly point: BoxPoint | undefined;
  /** The image that it runs on, where that is another: it was cut over without boxctl. */
  readonly runsOn: string | undefined;
  /** Starts with the host; undefined where that may not be looked at. */
  readonly enabled: boolean | undefined;
}

export interface BoxPoint {
  readonly image: string;
  readonly instance: string;
  readonly generation: number;
  readonly fallback: string | undefined;
}

/** Does it run, or begin or cease to? */
export const isUp = ({ found }: BoxRow): boolean => found.word !== 'stopped' && found.word !== 'failed';

/** What is asked of boxes. */
export interface BoxQuestion {
  /** Told what could not be read; one bad file does not hide the other boxes. */
  readonly note: (message: string) => void;
  /** Of these names, with a conf or without. */
  readonly only?: readonly string[] | undefined;
  /** May what runs be asked itself? */
  readonly asRoot: boolean;
}

/**
 * The boxes, by name: points whose name can be a subhost's. Where the store may not be looked into, those with a conf.
 */
export async function boxRows(
  places: WaferPlaces,
  settings: Settings,
  { note, only, asRoot }: BoxQuestion,
): Promise<BoxRow[]> {
  const subhosts = new Map(findSubhosts(settings, note).map((found) => [found.name, found]));
  const running = [...subhosts.values()].filter(({ name, state }) => state?.conf === boxConf(settings, name));
  const contained = await seenByNspawn(places, settings, { asRoot, note });
  const up = [...running.map(({ name }) => name), ...contained.keys()];
  const known = quietly(() => pointNames(places.wafers).filter(isSubhostName)) ?? confNames(settings);
  const names = only ?? [...new Set([...known, ...up])].sort();
  const confs = quietly(() => readSubhostsList(settings.subhosts))?.map(realPath);
  return names.map((name) => {
    const conf = boxConf(settings, name);
    const found = subhosts.get(name);
    const configuring = found?.conf === configureConf(settings, name);
    // Another subhost of that name is not the box.
    const own = found && (configuring || found.conf === undefined || realPath(found.conf) === conf);
    const point = attempt(() => pointOf(places, name), note);
    const engine = quietly(() => engineOfBox(settings, name)) ?? 'subhost';
    const row = { name, configuring, point, enabled: confs?.includes(conf), engine, runsOn: undefined };
    const container = contained.get(name);
    if (container) return { ...row, ...container };
    if (!own) return { ...row, found: { name, word: 'stopped', conf } };
    const inUse = found.state && quietly(() => instanceInUse(places, name));
    const runsOn = inUse === undefined || inUse === point?.instance ? undefined : imageOfInstance(inUse);
    const runner = found.state ? 'subhost' : engine;
    return { ...row, found, runsOn, engine: runner };
  });
}

function pointOf({ wafers }: WaferPlaces, name: string): BoxPoint | undefined {
  const point = readPoint(wafers, name);
  if (!point) return undefined;
  const { instance, number } = point.current;
  const before = fallbackOf(point);
  return {
    image: imageOfInstance(instance),
    instance,
    generation: number,
    fallback: before && imageOfInstance(before.instance),
  };
}

/** WAFERS may be root's alone: then it is not known, which is no mistake. */
const quietly = <T>(read: () => T): T | undefined => attempt(read, () => {});

function attempt<T>(read: () => T, note: (message: string) => void): T | undefined {
  try {
    return read();
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') note(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** An image, and the points that are it, that fall back to it, and that have another instance of it. */
export interface BoxImageRow extends ImageRow {
  readonly current: readonly string[];
  readonly fallback: readonly string[];
}

/** All images, by name. @throws Failure where WAFERS is root's alone */
export function boxImageRows(places: WaferPlaces): BoxImageRow[] {
  try {
    return readImageRows(places);
  } catch (cause) {
    if (errnoOf(cause) !== 'EACCES') throw cause;
    throw new Failure({ what: `${places.wafers}: cannot be read`, todo: 'be root', cause });
  }
}

function readImageRows(places: WaferPlaces): BoxImageRow[] {
  const points = pointRows(places);
  return imageRows(places).map((row) => ({
    ...row,
    current: points.filter(({ image }) => image === row.name).map(({ name }) => name),
    fallback: points.filter(({ fallback }) => fallback === row.name).map(({ name }) => name),
  }));
}
