/** /etc/subhosts.conf: the confs that start with the host. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { trimBlanks } from './assignments.js';
import { readTrusted, type TrustOptions } from './trust.js';

/**
 * The confs of the list, absolute, in its order, each once. One path a line, relative to the list's directory; lines
 * that start with `#` and blank ones are passed over. A list that is missing is empty.
 * @throws UserError for a list that is not trusted (what it names runs as root)
 */
export function readSubhostsList(file: string, options: Pick<TrustOptions, 'uid'> = {}): string[] {
  if (!existsSync(file)) return [];
  const { path, text } = readTrusted(file, options);
  const confs = text.split('\n').flatMap((raw, index) => {
    const line = trimBlanks(raw);
    if (line === '' || line.startsWith('#')) return [];
    if (line.includes('\0'))
      throw new UserError({ at: { file, line: index + 1 }, what: 'a NUL byte in a path' });
    return [resolve(dirname(path), line)];
  });
  return [...new Set(confs)];
}
