/** Whether a box starts with the host: a line of subhosts.conf, and its unit where systemd runs. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { trimBlanks } from '../config/assignments.js';
import type { Settings } from '../config/settings.js';
import { readSubhostsList } from '../config/subhosts-list.js';
import { Failure } from '../errors.js';
import { realPath } from '../stack/root-kind.js';
import { writeFileAtomic } from '../sys/files.js';
import { requireBox } from './box.js';
import { boxConf, makeBoxConf } from './box-conf.js';
import { engineOfBox } from './box-nspawn-conf.js';
import { requireSystemd, SYSTEMD } from './box-nspawn-seen.js';
import { lockAlone, type StorePlaces } from './store-lock.js';

type Waits = Pick<StorePlaces, 'onWait'>;

/**
 * Its conf is made if it has none.
 * @returns false where it was so already
 * @throws UserError for one that this host cannot run
 */
export async function enableBox(settings: Settings, name: string, places: StorePlaces): Promise<boolean> {
  const { wafers } = places;
  const conf = boxConf(settings, name);
  requireBox(wafers, name);
  makeBoxConf(settings, name);
  const engine = engineOfBox(settings, name);
  if (engine === 'nspawn') requireSystemd(conf);
  const changed = await changeList(settings, places, (lines) =>
    lines.some((line) => line.conf === conf) ? lines : [...lines, { text: conf, conf }],
  );
  try {
    // What is no subhost is started by subhosts-generator(8)'s box-start@NAME.service, for the line in the list.
    await systemctl(engine === 'subhost' ? 'enable' : 'disable', name);
  } catch (error) {
    if (changed) await disableInList(settings, name, places);
    throw error;
  }
  return changed;
}

/** @returns false where it was so already */
export async function disableBox(settings: Settings, name: string, waits: Waits): Promise<boolean> {
  const changed = await disableInList(settings, name, waits);
  await systemctl('disable', name); // which has subhosts-generator(8) run over the list again
  return changed;
}

async function disableInList(settings: Settings, name: string, waits: Waits): Promise<boolean> {
  const conf = boxConf(settings, name);
  return await changeList(settings, waits, (lines) => lines.filter((line) => line.conf !== conf));
}

/** A line as it stands there, and the conf that it names; none for a comment. */
interface Line {
  readonly text: string;
  readonly conf: string | undefined;
}

/** Replaces the list by one rename, as the only one who does. @returns false where nothing is changed */
async function changeList(
  { subhosts }: Settings,
  { onWait }: Waits,
  change: (lines: readonly Line[]) => readonly Line[],
): Promise<boolean> {
  const path = realPath(subhosts);
  for (;;) {
    const lock = openSync(path, 'a+', 0o644);
    try {
      await lockAlone(lock, {
        onWait,
        busy: (holder) =>
          new Failure({ what: `${path} is being changed by ${holder}`, todo: 'try again when that is done' }),
      });
      // Whoever had it has replaced the file: the lock of the one that is there now is to be had.
      if (statSync(path, { throwIfNoEntry: false })?.ino !== fstatSync(lock).ino) continue;
      readSubhostsList(path); // not one that somebody else may write to
      const before = linesOf(path);
      const after = change(before);
      if (after.length === before.length) return false;
      const text = after.map((line) => `${line.text}\n`).join('');
      const { mode, uid, gid } = fstatSync(lock);
      writeFileAtomic(path, Buffer.from(text, 'latin1'), { mode: mode & 0o777, owner: { uid, gid } });
      return true;
    } finally {
      closeSync(lock);
    }
  }
}

/** A character for each byte, since comments may be in any encoding. */
function linesOf(path: string): Line[] {
  const text = readFileSync(path, 'latin1').replace(/\n$/, '');
  return (text === '' ? [] : text.split('\n')).map((line) => {
    const name = trimBlanks(Buffer.from(line, 'latin1').toString());
    const isConf = name !== '' && !name.startsWith('#');
    return { text: line, conf: isConf ? realPath(resolve(dirname(path), name)) : undefined };
  });
}

async function systemctl(verb: string, name: string): Promise<void> {
  if (!existsSync(SYSTEMD)) return;
  const { runProgram } = await import('../sys/run.js');
  await runProgram(['systemctl', '--quiet', verb, `subhosts@${name}.service`]);
}
