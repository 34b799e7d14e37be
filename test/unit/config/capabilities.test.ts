import { expect } from 'chai';
import { CAPABILITIES, capabilityMask, DEFAULT_CAPABILITIES } from '../../../src/config/capabilities.js';

describe('capabilityMask', () => {
  const cases: [name: string, number: number][] = [
    ['CHOWN', 0],
    ['NET_ADMIN', 12],
    ['SYS_ADMIN', 21],
    ['MKNOD', 27],
    ['SETFCAP', 31],
    ['SYSLOG', 34],
    ['CHECKPOINT_RESTORE', 40],
  ];
  for (const [name, number] of cases)
    it(`has bit ${number} for ${name}`, () => expect(capabilityMask([name])).to.equal(1n << BigInt(number)));

  it('has every bit for all capabilities, those of later kernels too', () => {
    expect(capabilityMask(undefined)).to.equal(0xffff_ffff_ffff_ffffn);
  });

  it('has the default set of Docker, without MKNOD and with NET_ADMIN', () => {
    // What Docker's containers show as CapBnd is 00000000a80425fb.
    expect(capabilityMask(DEFAULT_CAPABILITIES)).to.equal((0xa80425fbn & ~(1n << 27n)) | (1n << 12n));
  });

  it('refuses a name that is none', () => {
    expect(() => capabilityMask(['FOO'])).to.throw(RangeError, 'no capability FOO');
    expect(CAPABILITIES).to.have.length(41);
  });
});
