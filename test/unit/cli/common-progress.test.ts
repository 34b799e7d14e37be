import { expect } from 'chai';
import { ProgressLine, progressText } from '../../../src/cli/common-progress.js';

describe('how far it is', () => {
  it('is told in bytes, with the rate, and in per cent where the end is known', () => {
    expect(progressText({ done: 512 * 1024, total: 1024 * 1024 }, 500)).to.equal(
      '512.0K of 1.0M, 50 %, 1.0M/s',
    );
    expect(progressText({ done: 2048, total: undefined }, 1000)).to.equal('2.0K, 2.0K/s');
  });

  const printed = (fancy: boolean): string[] => {
    const lines: string[] = [];
    let now = 0;
    const line = new ProgressLine({ fancy, print: (text) => lines.push(text) }, () => now);
    for (now = 1000; now <= 21_000; now += 10_000) line.show({ done: now, total: undefined });
    line.clear();
    return lines;
  };

  it('is written over on a terminal', () => {
    expect(printed(true)).to.deep.equal([
      '1000B, 1000B/s\u001b[K',
      '\u001b[A10.7K, 1000B/s\u001b[K',
      '\u001b[A20.5K, 1000B/s\u001b[K',
      '\u001b[A\u001b[K\u001b[A',
    ]);
  });

  it('is a plain line every ten seconds in a log', () => {
    expect(printed(false)).to.deep.equal(['10.7K, 1000B/s', '20.5K, 1000B/s']);
  });
});
