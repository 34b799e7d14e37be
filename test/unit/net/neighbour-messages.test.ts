import { endianness } from 'node:os';
import { expect } from 'chai';
import { neighbourMessage, parseNeighbour } from '../../../src/net/neighbour-messages.js';

describe('neighbour messages', () => {
  before(function () {
    if (endianness() !== 'LE') this.skip();
  });
  const address = Buffer.from([192, 0, 2, 9]);
  const data = (state: string): Buffer => Buffer.from(`0200000003010000${state}0001`, 'hex');

  const states: readonly [string, string, boolean][] = [
    ['incomplete', '0100', true],
    ['failed', '2000', true],
    ['reachable', '0200', false],
    ['stale', '0400', false],
    ['permanent', '8000', false],
  ];
  for (const [name, state, unanswered] of states)
    it(`read a neighbour that is ${name} as ${unanswered ? 'un' : ''}answered`, () =>
      expect(parseNeighbour(data(state), () => new Map([[1, address]]))).to.deep.equal({
        family: 2,
        link: 259,
        unanswered,
        address,
      }));

  it('name the one to forget by its family, link and address', () =>
    expect(neighbourMessage({ family: 2, link: 259, unanswered: true, address })).to.deep.equal([
      Buffer.from('020000000301000000000000', 'hex'),
      [1, address],
    ]));
});
