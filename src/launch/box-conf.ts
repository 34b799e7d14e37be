/**
 * The confs of boxes, BOXES/NAME.conf. One is made when the box first needs it, and from then on is the
 * administrator's: nothing here writes it again.
 */
import { chmodSync, existsSync, linkSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type Assignment, asWritten, parseAssignments } from '../config/assignments.js';
import type { Settings } from '../config/settings.js';
import { readTrusted } from '../config/trust.js';
import { isSubhostName } from '../config/values.js';
import { errnoOf, UserError } from '../errors.js';
import { realPath } from '../stack/root-kind.js';
import { makePath, namesIn, syncDirectory, writeFileAtomic } from '../sys/files.js';
import { removeIfEmpty } from './mount-point.js';
import type { Prepared } from './prepare.js';

/** BASE of the boxes whose conf is made here: what is mounted and shared is relative to it. */
const BASES = '/var/lib/overlay-boot/boxes';

type Places = Pick<Settings, 'boxes' | 'runDir'>;

/** Absolute path of a box's conf, without symbolic links, whether or not it is there. */
export const boxConf = ({ boxes }: Places, name: string): string => realPath(join(boxes, `${name}.conf`));

/** The conf that a box is booted from to be configured: nothing is started then. */
export const configureConf = ({ runDir }: Places, name: string): string =>
  join(realPath(runDir), `.${name}.configure`);

/** Names of the boxes that have a conf, in alphabetical order. */
export const confNames = ({ boxes }: Places): string[] =>
  namesIn(boxes)
    .filter((file) => file.endsWith('.conf'))
    .map((file) => basename(file, '.conf'))
    .filter(isSubhostName);

/**
 * Makes the conf of a box, unless there is one, and the directories that it names.
 * @returns true where it was made
 */
export function makeBoxConf(places: Places, name: string): boolean {
  const conf = boxConf(places, name);
  makePath(dirname(conf), 0o755);
  clearUnfinished(conf);
  const made = !existsSync(conf) && writeNew(conf, confText(name, join(BASES, name)));
  makeBase(conf);
  return made;
}

/** BASE, and LIVE in it unless that is somewhere else: whoever boots the box with the host makes none. */
function makeBase(conf: string): void {
  const { assignments } = parseAssignments(readTrusted(conf).text, conf);
  const base = assignments.find(({ name }) => name === 'BASE');
  if (!base || base.command || base.value === '') return;
  const path = resolve(dirname(conf), base.value);
  makePath(path, 0o755);
  if (!assignments.some(({ name, value }) => name === 'LIVE' && value !== ''))
    makePath(join(path, 'live'), 0o755);
}

const confText = (name: string, base: string): string => `\
# The box ${name}: boxctl(8) has made this file and leaves it alone. overlay-boot.conf(5) has all variables; what is
# changed holds from the next start on.
BASE=${base}
STACK=${name}
# What is started in it, in order: services, or start/stop scripts by their absolute paths. Unless it is said here it is
# for each image /startup, where that has it, else networking and ssh.
#START=networking ssh
# A cable to a bridge of the host. With a MAC address of its own the box is found again at once after a cutover.
#CABLES=br0=02:00:00:00:00:01
`;

/** Writes a file that is not there yet, whole. @returns false where somebody else was quicker */
function writeNew(path: string, text: string): boolean {
  const beside = unfinishedPath(path, process.pid);
  writeFileAtomic(beside, text);
  try {
    chmodSync(beside, 0o644);
    linkSync(beside, path); // rename(2) would replace what is there
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(beside, { force: true });
    syncDirectory(dirname(path));
  }
}

const unfinishedPath = (path: string, pid: number | string): string =>
  join(dirname(path), `.${basename(path)}.${pid}`);

/** Removes what a command that was killed has left of a conf. */
function clearUnfinished(path: string): void {
  const prefix = basename(unfinishedPath(path, ''));
  for (const name of namesIn(dirname(path)).filter((file) => file.startsWith(prefix))) {
    // Not an editor's, nor what another box's name begins with.
    const [, pid] = /^([0-9]+)(\.tmp)?$/.exec(name.slice(prefix.length)) ?? [];
    if (pid && !existsSync(join('/proc', pid))) rmSync(join(dirname(path), name), { force: true });
  }
}

/** Takes back a conf that makeBoxConf() made, and its BASE with the mount point in it, unless there is more in there. */
export function removeBoxConf(places: Places, name: string): void {
  const conf = boxConf(places, name);
  rmSync(conf, { force: true });
  syncDirectory(dirname(conf));
  for (const directory of [join(BASES, name, 'live'), join(BASES, name)]) removeIfEmpty(directory);
}

/** Variables that hold for a box that is configured as they do when it runs. */
const KEPT_TO_CONFIGURE: readonly string[] = ['CAPS', 'MEMORY_MAX', 'CPU_MAX', 'PIDS_MAX', 'RAM_SIZE'];

/** Where the box is, and a log that is not its own. */
interface ConfigurePaths {
  readonly name: string;
  readonly base: string;
  readonly live: string;
  readonly log: string;
}

/**
 * Writes the conf to configure a box with: its root and its rights, without services, cables, shares and hooks.
 * @returns the conf's path
 */
export function writeConfigureConf(places: Places, { name, base, live, log }: ConfigurePaths): string {
  const conf = boxConf(places, name);
  const kept = parseAssignments(readTrusted(conf).text, conf).assignments.filter((one) =>
    KEPT_TO_CONFIGURE.includes(one.name),
  );
  const path = configureConf(places, name);
  const own = [`NAME=${name}`, `BASE=${base}`, `LIVE=${live}`, `STACK=${name}`, 'START=none', `LOG=${log}`];
  const lines = [...own, ...kept.map((one) => `${one.name}=${asWritten(one)}`)];
  writeFileAtomic(path, `${lines.join('\n')}\n`, { durable: false });
  return path;
}

/**
 * A box's conf is the administrator's, but for what makes it the box's.
 * @throws UserError
 */
export function checkBoxConf(
  { identity, config, commands }: Pick<Prepared, 'identity' | 'config' | 'commands'>,
  name: string,
): void {
  const { conf } = identity;
  if (identity.name !== name)
    throw new UserError({
      what: `${conf}: NAME is ${identity.name}`,
      todo: `a box has its own: leave NAME out`,
    });
  if (commands.has('STACK') || config.stack?.kind !== 'named' || config.stack.name !== name)
    throw otherStack(conf, name);
}

/**
 * Of the same mistake, before STACK is looked for.
 * @throws UserError
 */
export function checkBoxStack(places: Places, name: string): void {
  const conf = boxConf(places, name);
  const { assignments } = parseAssignments(readTrusted(conf).text, conf);
  const stack = assignments.find((one) => one.name === 'STACK');
  if (!stack || stack.command || stack.value !== name) throw otherStack(conf, name, stack);
}

const otherStack = (conf: string, name: string, stack?: Assignment): UserError =>
  new UserError({
    ...(stack && { at: stack }),
    what: `${stack ? '' : `${conf}: `}STACK: the stack of a box is its own current instance`,
    todo: `write STACK=${name}`,
  });
