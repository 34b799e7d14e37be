import { expect } from 'chai';
import {
  type Column,
  durationText,
  jsonText,
  paint,
  printable,
  sizeText,
  textTable,
} from '../../../src/cli/common-table.js';

interface Row {
  readonly name: string;
  readonly size?: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', text: ({ name }) => name, colour: ({ name }) => (name === 'bad' ? 'red' : undefined) },
  { title: 'SIZE', align: 'right', text: ({ size }) => size },
];

describe('textTable', () => {
  it('lines the columns up, numbers to the right, "-" for nothing', () => {
    const rows = [{ name: 'a', size: '1' }, { name: 'longest', size: '12345' }, { name: 'b' }];
    expect(textTable(COLUMNS, rows).split('\n')).to.deep.equal([
      'NAME      SIZE',
      'a            1',
      'longest  12345',
      'b            -',
    ]);
  });

  it('colours the text of a cell on a terminal only, and the columns stay in line', () => {
    const rows = [{ name: 'bad', size: '1' }];
    expect(textTable(COLUMNS, rows, { fancy: true }).split('\n')[1]).to.equal(
      '\u001b[31mbad\u001b[0m      1',
    );
    expect(textTable(COLUMNS, rows).split('\n')[1]).to.equal('bad      1');
  });

  it('takes a "$" in a cell for itself', () => {
    expect(textTable(COLUMNS, [{ name: '$&$1' }]).split('\n')[1]).to.equal('$&$1     -');
  });

  it('gives the titles alone where there are no rows', () =>
    expect(textTable(COLUMNS, [])).to.equal('NAME  SIZE'));

  it('shows control characters instead of sending them', () =>
    expect(textTable(COLUMNS, [{ name: 'a\u001b[2Jb' }])).to.include('a\\x1b[2Jb'));
});

describe('printable', () => {
  const cases: readonly [string, string][] = [
    ['plain text, ümlaut, 漢字', 'plain text, ümlaut, 漢字'],
    ['a\tb', 'a\tb'],
    ['a\nb\r', 'a\\x0ab\\x0d'],
    ['\u001b]0;x\u0007', '\\x1b]0;x\\x07'],
    ['\u009b31m', '\\x9b31m'],
    ['\u007f', '\\x7f'],
  ];
  for (const [text, expected] of cases)
    it(`writes ${JSON.stringify(text)} as ${expected}`, () => expect(printable(text)).to.equal(expected));
});

describe('paint', () => {
  it('leaves text without a colour as it is', () => expect(paint('x', undefined)).to.equal('x'));
});

describe('sizeText', () => {
  const cases: readonly [number, string][] = [
    [0, '0B'],
    [1023, '1023B'],
    [1024, '1.0K'],
    [1536, '1.5K'],
    [1024 * 1024 - 1, '1.0M'],
    [5 * 1024 ** 3, '5.0G'],
    [3000 * 1024 ** 4, '3000.0T'],
  ];
  for (const [bytes, text] of cases)
    it(`writes ${bytes} as ${text}`, () => expect(sizeText(bytes)).to.equal(text));
});

describe('durationText', () => {
  const cases: readonly [number, string][] = [
    [-1, '0s'],
    [0.9, '0s'],
    [42, '42s'],
    [60, '1min'],
    [187, '3min 7s'],
    [7500, '2h 5min'],
    [3600, '1h'],
    [86400 + 59, '1d'],
    [3 * 86400 + 4 * 3600 + 5, '3d 4h'],
  ];
  for (const [seconds, text] of cases)
    it(`writes ${seconds} seconds as ${text}`, () => expect(durationText(seconds)).to.equal(text));
});

describe('jsonText', () => {
  it('has no control character that a terminal would take', () => {
    const value = { log: 'a\x1b[2J \x7f \x9b2J \u{1f600}' };
    const text = jsonText(value);
    expect(text).to.equal('{"log":"a\\u001b[2J \\u007f \\u009b2J \u{1f600}"}');
    expect(JSON.parse(text)).to.deep.equal(value);
  });

  it('is indented as it is told', () => expect(jsonText([1], 2)).to.equal('[\n  1\n]'));
});
