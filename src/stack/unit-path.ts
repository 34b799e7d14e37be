/** Paths as systemd encodes them in the names of mount units: systemd.unit(5), "String Escaping for Inclusion in Unit Names". */
import { quoted, UserError } from '../errors.js';

const MAX_COMPONENT_BYTES = 255;

/**
 * The absolute path that a name stands for: `-` is `/`, `\xNN` a byte, a lone `-` the root.
 * @throws UserError for a name that stands for no path, or for one that is not normal
 */
export function pathOfUnitName(name: string): string {
  if (name === '-') return '/';
  const path = `/${unescapeName(name)}`;
  const mistake = mistakeIn(path);
  if (!mistake) return path;
  throw new UserError({
    what: `${quoted(name)} stands for ${quoted(path)}, ${mistake}`,
    todo: 'systemd-escape --path writes such names',
  });
}

/** In bytes, since a `\xNN` can be a part of a character. */
function unescapeName(name: string): string {
  const bytes: Buffer[] = [];
  for (const piece of name.split(/(\\.{0,3})/su)) {
    if (!piece.startsWith('\\')) bytes.push(Buffer.from(piece.replaceAll('-', '/')));
    else if (/^\\x[0-9a-fA-F]{2}$/.test(piece)) bytes.push(Buffer.from(piece.slice(2), 'hex'));
    else throw new UserError({ what: `${quoted(name)}: ${quoted(piece)} is no escape`, todo: 'write \\xNN' });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes));
  } catch (cause) {
    throw new UserError({ what: `${quoted(name)} stands for bytes that are no UTF-8 text`, cause });
  }
}

function mistakeIn(path: string): string | undefined {
  if (path.includes('\0')) return 'which has a NUL byte in it';
  const components = path.slice(1).split('/');
  if (components.includes('')) return 'which has an empty component';
  if (components.some((one) => one === '.' || one === '..')) return 'which has "." or ".." in it';
  if (components.some((one) => Buffer.byteLength(one) > MAX_COMPONENT_BYTES))
    return 'which has too long a name in it';
  return undefined;
}
