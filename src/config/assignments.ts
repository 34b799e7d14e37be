/**
 * The conf language: text to assignments. It walks the lines itself, because here the rest of a line is the value:
 * no quoting, no escapes, no comment after it. Nothing is evaluated here.
 */
import { quoted } from '../errors.js';
import { nearest } from './nearest.js';
import { VARIABLE_NAMES, type VariableName, variableOf } from './variables.js';

export interface Assignment {
  readonly name: VariableName;
  /** The value; of a command what follows the `!`, as it is. */
  readonly value: string;
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** The value is what the command prints. */
  readonly command: boolean;
}

export interface ParsedConf {
  /** The conf as messages name it. */
  readonly file: string;
  /** In the order of the file; one for each variable, but for SHARE. */
  readonly assignments: readonly Assignment[];
  /** What was ignored, `file:line: what: why`. */
  readonly warnings: readonly string[];
}

/** Space, tab, CR, FF and VT; a no-break space is none. */
const BLANKS = ' \t\r\f\v';

/** The text without the blanks at both ends. By index: a regular expression for the end is quadratic. */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && BLANKS.includes(text.charAt(start))) start++;
  while (end > start && BLANKS.includes(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}

/** The words of a value, separated by blanks. */
export const words = (text: string): string[] => text.split(/[ \t\r\f\v]+/).filter((word) => word !== '');

/** An assignment as it is written in a conf, without its name. */
export const asWritten = ({ command, value }: Assignment): string => (command ? `!${value}` : value);

/**
 * Reads a conf. Never fails: what is no assignment is ignored with a warning.
 * @param file  the name that messages give to the conf
 */
export function parseAssignments(text: string, file: string): ParsedConf {
  const assignments: Assignment[] = [];
  const warnings: string[] = [];
  const firstLine = new Map<VariableName, number>();
  text.split('\n').forEach((source, index) => {
    const line = index + 1;
    if (source.startsWith('#') || trimBlanks(source) === '') return;
    const equals = source.indexOf('=');
    const variable = equals < 0 ? undefined : variableOf(source.slice(0, equals));
    if (!variable) {
      warnings.push(`${file}:${line}: ${whyIgnored(source, equals)}`);
      return;
    }
    const { name, repeatable } = variable;
    const first = firstLine.get(name);
    if (first !== undefined && !repeatable) {
      warnings.push(`${file}:${line}: ${name} is assigned again: ignored: the one in line ${first} holds`);
      return;
    }
    firstLine.set(name, line);
    const value = trimBlanks(source.slice(equals + 1));
    const command = !repeatable && value.startsWith('!');
    assignments.push({ name, value: command ? value.slice(1) : value, file, line, command });
  });
  return { file, assignments, warnings };
}

function whyIgnored(source: string, equals: number): string {
  const head = equals < 0 ? '' : source.slice(0, equals);
  const name = trimBlanks(head);
  if (name === '' || name.startsWith('#') || /[ \t\r\f\v]/.test(name))
    return 'neither an assignment nor a comment: ignored: write VARIABLE=value, or # at the start of the line';
  if (variableOf(name)) {
    return head.startsWith(name)
      ? `blank between ${name} and "=": ignored: write ${name}=`
      : `${name} is indented: ignored: write ${name}= at the start of the line`;
  }
  return `unknown variable ${quoted(name)}: ignored: the nearest known one is ${nearest(name, VARIABLE_NAMES)}`;
}
