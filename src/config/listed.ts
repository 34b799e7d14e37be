/** The subhosts of /etc/subhosts.conf with their names, without running a command of theirs. */
import { basename } from 'node:path';
import { parseAssignments } from './assignments.js';
import { readSubhostsList } from './subhosts-list.js';
import { readTrusted } from './trust.js';

export interface ListedSubhost {
  readonly name: string;
  /** Absolute path of its conf. */
  readonly conf: string;
}

/**
 * What the list holds, in its order. A NAME that a command gives cannot be told without running it; the
 * conf's base name stands for it then, as it does for a conf that cannot be read.
 * @throws UserError when the list itself cannot be read
 */
export function listedSubhosts(file: string): ListedSubhost[] {
  return readSubhostsList(file).map((conf) => ({
    name: literalName(conf) ?? basename(conf).replace(/\.conf$/, ''),
    conf,
  }));
}

function literalName(conf: string): string | undefined {
  try {
    const { assignments } = parseAssignments(readTrusted(conf).text, conf);
    const found = assignments.find(({ name }) => name === 'NAME');
    return found && !found.command && found.value !== '' ? found.value : undefined;
  } catch {
    return undefined; // the boot of it says what is wrong
  }
}
