import { expect } from 'chai';
import { MarkScanner, markText } from '../../../src/launch/output-mark.js';

const MARK = markText(Buffer.alloc(16, 0xab));

/** What a scanner tells of a stream that comes in these pieces: output as text, the rest by name. */
function scan(pieces: readonly string[]): string[] {
  const told: string[] = [];
  let text = '';
  const tell = (word: string): void => {
    if (text !== '') told.push(text);
    text = '';
    told.push(word);
  };
  const scanner = new MarkScanner(MARK, {
    output: (bytes) => {
      text += bytes.toString('latin1');
    },
    ready: () => tell('(ready)'),
    end: (status) => tell(`(end ${status})`),
  });
  for (const piece of pieces) scanner.push(Buffer.from(piece, 'latin1'));
  if (text !== '') told.push(text);
  return told;
}

describe('the marks in the output of a terminal', () => {
  const cases: readonly (readonly [string, string, readonly string[]])[] = [
    ['plain output is passed on', 'hello\xff\x00', ['hello\xff\x00']],
    ['the first mark says that input may come', `${MARK}+$ `, ['(ready)', '$ ']],
    ['the last one gives the exit status', `${MARK}+bye${MARK}143\n`, ['(ready)', 'bye', '(end 143)']],
    ['a terminal that is not raw yet ends lines its own way', `no\r\n${MARK}1\r\n`, ['no\r\n', '(end 1)']],
    ['what comes after the end is nobody’s', `${MARK}0\nmore${MARK}1\n`, ['(end 0)']],
    ['what only looks like a mark is output', `${MARK.slice(0, -1)}x+\n`, [`${MARK.slice(0, -1)}x+\n`]],
    ['a mark may follow a part of one', `\x01\x02a${MARK}7\n`, ['\x01\x02a', '(end 7)']],
  ];
  for (const [title, stream, expected] of cases)
    it(`${title}, however the stream is cut`, () => {
      expect(scan([stream])).to.deep.equal(expected);
      expect(scan([...stream])).to.deep.equal(expected);
      for (let cut = 1; cut < stream.length; cut++)
        expect(scan([stream.slice(0, cut), stream.slice(cut)]), `cut at ${cut}`).to.deep.equal(expected);
    });

  it('never keep what somebody types waiting', () => {
    for (let byte = 3; byte < 256; byte++) {
      const text = String.fromCharCode(byte);
      expect(scan([text])).to.deep.equal([text]);
    }
  });
});
