import { expect } from 'chai';
import fc from 'fast-check';
import { asWritten, parseAssignments, trimBlanks } from '../../../src/config/assignments.js';
import { VARIABLE_NAMES } from '../../../src/config/variables.js';

const valuesIn = (text: string): Record<string, string> =>
  Object.fromEntries(parseAssignments(text, 'web.conf').assignments.map((one) => [one.name, asWritten(one)]));
const warningsIn = (text: string): readonly string[] => parseAssignments(text, 'web.conf').warnings;

describe('parseAssignments', () => {
  const good: [title: string, text: string, values: Record<string, string>][] = [
    ['reads a variable at the start of a line', 'BASE=.\n', { BASE: '.' }],
    ['counts a last line without a newline', 'BASE=.\nNAME=web', { BASE: '.', NAME: 'web' }],
    ['takes CRLF for a line end', 'BASE=.\r\nNAME=web\r\n', { BASE: '.', NAME: 'web' }],
    ['trims space, tab, CR, FF and VT', 'BASE= \t\r\f\v a b \t\r\f\v\n', { BASE: 'a b' }],
    ['keeps a no-break space', 'BASE=\u00a0a\u00a0', { BASE: '\u00a0a\u00a0' }],
    ['keeps a CR inside the value', 'BASE=a\rNAME=b', { BASE: 'a\rNAME=b' }],
    ['keeps a NUL byte, which is refused later', 'BASE=a\0b', { BASE: 'a\0b' }],
    ['knows no quoting, escape or comment', `BASE="a" 'b' #c ;d $e \\`, { BASE: `"a" 'b' #c ;d $e \\` }],
    ['does not join lines', 'BASE=a\\\nNAME=b', { BASE: 'a\\', NAME: 'b' }],
    ['splits at the first "="', 'CABLES==', { CABLES: '=' }],
    ['passes over comments and blank lines', '#BASE=x\n\n \t\r\f\v\nBASE=.', { BASE: '.' }],
    ['lets the first assignment hold', 'NAME=a\nNAME=b', { NAME: 'a' }],
    ['lets the first assignment hold, even an empty one', 'NAME=\nNAME=b', { NAME: '' }],
    ['takes a value with "!" for a command', 'LIVE= !echo "a" # b ', { LIVE: '!echo "a" # b' }],
    ['takes a SHARE with "!" as it is', 'SHARE=!x', { SHARE: '!x' }],
  ];
  for (const [title, text, values] of good) it(title, () => expect(valuesIn(text)).to.deep.equal(values));

  it('gives name, value, file and line', () => {
    expect(parseAssignments('\n# c\nLIVE=! x\n', 'a/web.conf')).to.deep.equal({
      file: 'a/web.conf',
      assignments: [{ name: 'LIVE', value: ' x', file: 'a/web.conf', line: 3, command: true }],
      warnings: [],
    });
  });

  it('adds up SHARE, in order', () => {
    const { assignments, warnings } = parseAssignments('SHARE=a\nSHARE=\nSHARE=!b\nSHARE=a', 'web.conf');
    expect(assignments.map(({ value, command }) => [value, command])).to.deep.equal([
      ['a', false],
      ['', false],
      ['!b', false],
      ['a', false],
    ]);
    expect(warnings).to.deep.equal([]);
  });

  const neither =
    'neither an assignment nor a comment: ignored: write VARIABLE=value, or # at the start of the line';
  const bad: [line: string, warning: string][] = [
    ['LOWR=/', 'unknown variable "LOWR": ignored: the nearest known one is LOWER'],
    ['CABELS==', 'unknown variable "CABELS": ignored: the nearest known one is CABLES'],
    ['base=.', 'unknown variable "base": ignored: the nearest known one is BASE'],
    ['  POST_MOUNT=x', 'unknown variable "POST_MOUNT": ignored: the nearest known one is POSTMOUNT'],
    ['\ufeffBASE=.', 'unknown variable "\\u{feff}BASE": ignored: the nearest known one is BASE'],
    ['SHARE+=x', 'unknown variable "SHARE+": ignored: the nearest known one is SHARE'],
    [' NAME=x', 'NAME is indented: ignored: write NAME= at the start of the line'],
    ['\tNAME =x', 'NAME is indented: ignored: write NAME= at the start of the line'],
    ['NAME =x', 'blank between NAME and "=": ignored: write NAME='],
    ['NAME\t=x', 'blank between NAME and "=": ignored: write NAME='],
    ['NAME', neither],
    ['=x', neither],
    [' # comment', neither],
    [' #NAME=x', neither],
    ['export NAME=x', neither],
    ['\u00a0', neither],
  ];
  for (const [line, warning] of bad)
    it(`ignores ${JSON.stringify(line)} with a warning`, () => {
      expect(valuesIn(`#\n${line}`)).to.deep.equal({});
      expect(warningsIn(`#\n${line}`)).to.deep.equal([`web.conf:2: ${warning}`]);
    });

  it('warns of a second assignment, and names the line that holds', () => {
    expect(warningsIn('NAME=\n\nNAME=b')).to.deep.equal([
      'web.conf:3: NAME is assigned again: ignored: the one in line 1 holds',
    ]);
  });

  it('takes no time for long lines', () => {
    const long = 1 << 20;
    for (const text of [
      `BASE=${' '.repeat(long)}x${' '.repeat(long)}x`,
      'X'.repeat(long),
      `${'X'.repeat(long)}=`,
      `${' '.repeat(long)}=`,
      '='.repeat(long),
      'A=\n'.repeat(long / 16),
    ]) {
      const start = process.cpuUsage();
      parseAssignments(text, 'web.conf');
      expect(process.cpuUsage(start).user / 1000).to.be.below(2000);
    }
  });
});

/** The rule again, in a few words of its own: what a line of a conf holds. */
function oracle(line: string): { name: string; value: string; command: boolean } | undefined {
  const match = /^([A-Z_]+)=([\s\S]*)$/.exec(line);
  const name = match?.[1] ?? '';
  if (!(VARIABLE_NAMES as readonly string[]).includes(name)) return undefined;
  const value = (match?.[2] ?? '').replace(/^[ \t\r\f\v]+/, '').replace(/[ \t\r\f\v]+$/, '');
  const command = name !== 'SHARE' && value[0] === '!';
  return { name, value: command ? value.slice(1) : value, command };
}

const name = fc.constantFrom(...VARIABLE_NAMES);
const noise = fc.string({
  unit: fc.constantFrom(...' \t\r\f\v!#=\\"\'$;:aZ\u00a0\0\u{1f600}'),
  maxLength: 12,
});
const line = fc.oneof(
  fc.tuple(name, noise).map(([variable, value]) => `${variable}=${value}`),
  fc.tuple(noise, name, noise).map((parts) => parts.join('')),
  noise,
  fc.string({ unit: 'binary', maxLength: 30 }).map((text) => text.replaceAll('\n', '')),
);

describe('a conf of any text', () => {
  it('never fails, and each line is an assignment, a warning, a comment or blank', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const { assignments, warnings } = parseAssignments(text, 'f');
        const passed = text.split('\n').filter((one) => one.startsWith('#') || trimBlanks(one) === '');
        expect(assignments.length + warnings.length + passed.length).to.equal(text.split('\n').length);
      }),
    );
  });

  it('holds the values and commands that the rule says, and no others', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        const seen = new Set<string>();
        const expected = lines.flatMap((one, index) => {
          const held = oracle(one);
          if (!held || (held.name !== 'SHARE' && seen.has(held.name))) return [];
          seen.add(held.name);
          return { ...held, file: 'f', line: index + 1 };
        });
        expect(parseAssignments(lines.join('\n'), 'f').assignments).to.have.deep.ordered.members(expected);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps a value byte for byte, but for the blanks around it', () => {
    const value = fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => !text.includes('\n'));
    fc.assert(
      fc.property(name, value, (variable, text) => {
        const [one] = parseAssignments(`${variable}=${text}`, 'f').assignments;
        expect(one && asWritten(one)).to.equal(trimBlanks(text));
      }),
    );
  });

  it('reads the same again when it is printed', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        const { assignments } = parseAssignments(lines.join('\n'), 'f');
        const printed = assignments.map((one) => `${one.name}=${asWritten(one)}`).join('\n');
        const again = parseAssignments(printed, 'f');
        const bare = ({ name, value, command }: (typeof assignments)[number]) => ({ name, value, command });
        expect(again.assignments.map(bare)).to.deep.equal(assignments.map(bare));
        expect(again.warnings).to.deep.equal([]);
      }),
    );
  });
});
