/**
 * The store, which is the wafers tree with three more rules. An image is a sealed wafer (while it is edited it has
 * `open` in place of `sealed`); an instance is a wafer IMAGE@POINT upon its image; a point is WAFERS/points/POINT
 * with a directory for each generation, in which `instance` and `replaced` are symbolic links, and with the
 * symbolic link `current`. Reading only; src/launch/store-*.ts change it.
 */
import { accessSync, constants, existsSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, Failure, quoted, UserError } from '../errors.js';
import { checkWaferName, isWaferName, NAME_MAX_BYTES, readParent, readWafer } from './from-wafers.js';

/** The directory of WAFERS that has the points. */
export const POINTS = 'points';

/** What `instance` of an IMAGE@POINT name parts. */
const AT = '@';

export interface Image {
  readonly name: string;
  /** The image that it lies on; a base has none. */
  readonly parent: string | undefined;
  /** Open: between edit-image and close-image. */
  readonly state: 'sealed' | 'open';
}

/** A wafer of a point's own, upon an image. */
export interface Instance {
  /** IMAGE@POINT */
  readonly name: string;
  readonly image: string;
  readonly point: string;
}

/** What a point has been: an instance, and the number of the generation that it took the place of. */
export interface Generation {
  readonly number: number;
  readonly instance: string;
  readonly replaced: number | undefined;
}

export interface Point {
  readonly name: string;
  /** Absolute path of WAFERS/points/NAME. */
  readonly directory: string;
  /** By number. */
  readonly generations: readonly Generation[];
  readonly current: Generation;
}

export const instanceName = (image: string, point: string): string => `${image}${AT}${point}`;

/** The image and the point of an instance's name; undefined for what is none. */
export function parseInstanceName(name: string): Instance | undefined {
  if (!name.includes(AT)) return undefined;
  const [image, point, ...more] = name.split(AT);
  return image && point && more.length === 0 ? { name, image, point } : undefined;
}

/** The image that an instance is of; what is no instance's name as it is. */
export const imageOfInstance = (instance: string): string => parseInstanceName(instance)?.image ?? instance;

/** Is a name that of an instance of this point? */
export const isInstanceOf =
  (point: string) =>
  (name: string): boolean =>
    parseInstanceName(name)?.point === point;

/** @throws UserError for what cannot be the name of an image or a point: one name space, and no `@` */
export function checkStoreName(name: string): void {
  checkWaferName(name);
  if (name.includes(AT))
    throw new UserError({
      what: `${quoted(name)}: "@" is in the names of instances only`,
      todo: 'leave it out',
    });
}

/** @throws UserError where IMAGE@POINT is longer than a file's name can be */
export function checkInstanceName(image: string, point: string): string {
  for (const name of [image, point]) checkStoreName(name);
  const name = instanceName(image, point);
  if (isWaferName(name)) return name;
  throw new UserError({
    what: `${quoted(name)} is longer than the ${NAME_MAX_BYTES} bytes that a name can have`,
    todo: 'use shorter names of image and point',
  });
}

/**
 * What nobody could tell from an empty store later on.
 * @throws UserError for WAFERS that is no directory, Failure for one that the caller may not read
 */
export function checkReadable(wafers: string): void {
  try {
    accessSync(`${wafers}/.`, constants.R_OK | constants.X_OK);
  } catch (error) {
    if (errnoOf(error) === 'EACCES') throw cannotRead(wafers, error);
    if (errnoOf(error) === 'ENOTDIR')
      throw new UserError({
        what: `${wafers} is no directory`,
        todo: 'WAFERS is to be that of the images',
        cause: error,
      });
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/** For what only root, or who was let in, may look at. */
export const cannotRead = (path: string, cause: unknown): Failure =>
  new Failure({ what: `${path}: cannot be read`, todo: 'be root', cause });

/** What there is in the store by one look at it. */
export interface StoreContents {
  /** By name. */
  readonly images: readonly Image[];
  /** By name. */
  readonly instances: readonly Instance[];
}

/** All images and instances. Only what is needed of each is read: there may be thousands. */
export function readStore(wafers: string): StoreContents {
  const images: Image[] = [];
  const instances: Instance[] = [];
  for (const name of directoriesIn(wafers)) {
    if (!isWaferName(name)) continue;
    const instance = parseInstanceName(name);
    const image = name.includes(AT) ? undefined : readImage(wafers, name);
    if (instance) instances.push(instance);
    if (image) images.push(image);
  }
  return { images, instances };
}

/** The image of that name; undefined where there is none, or a wafer that is no image. */
export function readImage(wafers: string, name: string): Image | undefined {
  // Of a thousand images these three are most of the time: no path is taken apart, no Stats made.
  const directory = `${wafers}/${name}`;
  const state = existsSync(`${directory}/sealed`)
    ? 'sealed'
    : existsSync(`${directory}/open`)
      ? 'open'
      : undefined;
  // Neither can be seen in a directory that is closed, too.
  if (!state) statSync(`${directory}/sealed`, { throwIfNoEntry: false });
  return state && { name, parent: readParent(directory), state };
}

/**
 * @returns the image, sealed or open
 * @throws UserError where there is none of that name
 */
export function requireImage(wafers: string, name: string): Image {
  checkStoreName(name);
  const image = readImage(wafers, name);
  if (image) return image;
  const wafer = readWafer(wafers, name);
  throw new UserError(
    wafer
      ? {
          what: `${quoted(name)} is a wafer, no image`,
          todo: `stacko close-image ${name} seals it and so makes it one`,
        }
      : { what: `no image ${quoted(name)}`, todo: 'stacko list-images shows those that there are' },
  );
}

/** @throws UserError where there is none, Failure where it is open: nothing is put upon what still changes */
export function requireSealed(wafers: string, name: string): Image {
  const image = requireImage(wafers, name);
  if (image.state === 'sealed') return image;
  throw new Failure({
    what: `image ${quoted(name)} is open for editing`,
    todo: `stacko close-image ${name} first`,
  });
}

/** The names of the wafers that lie upon one: images, instances and others. */
export const childrenOf = (wafers: string, name: string): string[] =>
  directoriesIn(wafers).filter((child) => isWaferName(child) && readParent(`${wafers}/${child}`) === name);

/** The names of the points, sorted. */
export const pointNames = (wafers: string): string[] =>
  directoriesIn(join(wafers, POINTS)).filter(isWaferName);

export const pointDirectory = (wafers: string, point: string): string => join(wafers, POINTS, point);

/** The instances of a point, by name, whether or not a generation is left that names them. */
export const instancesOf = (wafers: string, point: string): Instance[] =>
  directoriesIn(wafers)
    .flatMap((name) => parseInstanceName(name) ?? [])
    .filter((instance) => instance.point === point);

/**
 * The point of that name, or undefined where there is none.
 * @throws Failure for one that has lost a part
 */
export function readPoint(wafers: string, name: string): Point | undefined {
  const directory = pointDirectory(wafers, name);
  for (let before: string | undefined; ; ) {
    const numbers = numbersIn(directory);
    const link = linkTarget(`${directory}/current`);
    try {
      return numbers && pointOf(name, { directory, numbers, link });
    } catch (error) {
      // Whoever changes it may have done so while it was looked at: then it looks otherwise now.
      const seen = [link, ...(numbers ?? [])].join();
      if (seen === before) throw error;
      before = seen;
    }
  }
}

interface PointParts {
  readonly directory: string;
  readonly numbers: readonly number[];
  readonly link: string | undefined;
}

function pointOf(name: string, { directory, numbers, link }: PointParts): Point {
  // The first has replaced none: a number only ever leads to a lower one.
  const generations = numbers.map((number, i) => readGeneration(directory, number, i === 0));
  const current = generations.find(({ number }) => String(number) === link);
  if (current) return { name, directory, generations, current };
  throw new Failure({
    what: `point ${quoted(name)} is corrupt: ${link === undefined ? 'no link' : `${quoted(link)} is no generation, but the target of`} ${directory}/current`,
    todo: `make it a link to one of the numbers beside it; or stacko delete-stackpoint ${name}`,
  });
}

/** The instances that are current, without a look at anything else of their points. */
export const currentInstances = (wafers: string): Set<string> =>
  new Set(
    pointNames(wafers).map((name) =>
      lastPart(linkTarget(`${pointDirectory(wafers, name)}/current/instance`)),
    ),
  );

/** The numbers of a point's generations; undefined where there is no such directory. */
function numbersIn(directory: string): number[] | undefined {
  try {
    return readdirSync(directory)
      .filter((entry) => /^[1-9][0-9]*$/.test(entry))
      .map(Number)
      .sort((a, b) => a - b);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function readGeneration(directory: string, number: number, isFirst: boolean): Generation {
  const place = `${directory}/${number}`;
  const instance = lastPart(linkTarget(`${place}/instance`));
  const replaced = isFirst ? 0 : Number(lastPart(linkTarget(`${place}/replaced`)));
  if (parseInstanceName(instance)) return { number, instance, replaced: replaced || undefined };
  throw new Failure({
    what: `point corrupt: ${place}/instance is no link to an instance`,
    todo: 'make it one, as those of the other generations are',
  });
}

const lastPart = (path = ''): string => path.slice(path.lastIndexOf('/') + 1);

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (['ENOENT', 'EINVAL', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** @throws UserError where there is none of that name */
export function requirePoint(wafers: string, name: string): Point {
  checkStoreName(name);
  const point = readPoint(wafers, name);
  if (point) return point;
  throw new UserError({
    what: `no point ${quoted(name)}`,
    todo: 'stacko list-stackpoints shows those that there are',
  });
}

/**
 * The generation that fallback goes to: the one that the current one replaced. One that names the same instance, as
 * is so when the instance between the two has been deleted, is passed over.
 */
export function fallbackOf({
  current,
  generations,
}: Pick<Point, 'current' | 'generations'>): Generation | undefined {
  const byNumber = new Map(generations.map((generation) => [generation.number, generation]));
  const seen = new Set<number>();
  for (let at: Generation | undefined = current; at && !seen.has(at.number); ) {
    if (at.instance !== current.instance) return at;
    seen.add(at.number);
    at = byNumber.get(at.replaced ?? 0);
  }
  return undefined;
}

function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
