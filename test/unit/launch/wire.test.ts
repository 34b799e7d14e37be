import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { EVENT, encodeFrame, FrameReader, REQUEST } from '../../../src/launch/wire.js';

const WIRE_H = readFileSync(join(__dirname, '../../../src/init/wire.h'), 'utf8');

describe('frames', () => {
  for (const [prefix, table] of [
    ['REQ', REQUEST],
    ['EV', EVENT],
  ] as const)
    it(`have the numbers of src/init/wire.h: ${prefix}_`, () => {
      const inC = [...WIRE_H.matchAll(new RegExp(`^\\t${prefix}_(\\w+) = (\\d+),`, 'gm'))].map(
        ([, name = '', number]) => [name, Number(number)] as const,
      );
      expect(Object.fromEntries(inC)).to.deep.equal(table);
      expect(new Set(Object.values(table)).size).to.equal(inC.length);
    });

  it('are a length, an index, a type and strings that end with NUL', () => {
    const frame = encodeFrame({ index: 258, type: 3, strings: ['ab', '', 'ä'] });
    expect(frame.toString('hex')).to.equal('07000000' + '0201' + '0300' + '616200' + '00' + 'c3a400');
  });

  it('that the init program would not take are refused in words', () => {
    const strings = ['x'.repeat(1 << 20)];
    expect(() => encodeFrame({ index: 0, type: 6, strings })).to.throw(
      /^the plan is larger than 1048576 bytes/,
    );
  });

  it('come out as they went in, however the bytes are cut', () => {
    const text = fc.string({ unit: 'binary' }).map((one) => one.replaceAll('\0', '.'));
    const frames = fc.array(
      fc.record({ index: fc.nat(65_535), type: fc.nat(65_535), strings: fc.array(text, { maxLength: 4 }) }),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(frames, fc.integer({ min: 1, max: 40 }), (sent, step) => {
        const bytes = Buffer.concat(sent.map(encodeFrame));
        const reader = new FrameReader();
        const got = [];
        for (let at = 0; at < bytes.length; at += step)
          got.push(...reader.read(bytes.subarray(at, at + step)));
        expect(got).to.deep.equal(sent);
      }),
    );
  });

  it('that are not whole yet are waited for', () => {
    const reader = new FrameReader();
    const frame = encodeFrame({ index: 0, type: 6, strings: ['x'] });
    expect(reader.read(frame.subarray(0, 9))).to.deep.equal([]);
    expect(reader.read(frame.subarray(9))).to.deep.equal([{ index: 0, type: 6, strings: ['x'] }]);
  });
});
