import { expect } from 'chai';
import {
  CAPABILITIES,
  capabilityMask,
  capabilityWarnings,
  DEFAULT_CAPABILITIES,
  hasUserNamespace,
} from '../../../src/config/capabilities.js';
import { parseCables } from '../../../src/net/cable.js';

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

describe('hasUserNamespace', () => {
  const cases: [what: string, caps: readonly string[] | undefined, own: boolean][] = [
    ['the default set', DEFAULT_CAPABILITIES, true],
    ['less than the default set', ['CHOWN'], true],
    ['no capability', [], true],
    ['SYS_PTRACE too, which counts towards its own processes', [...DEFAULT_CAPABILITIES, 'SYS_PTRACE'], true],
    ['SYS_NICE too, which counts on the host only', [...DEFAULT_CAPABILITIES, 'SYS_NICE'], false],
    ['SYS_ADMIN', ['SYS_ADMIN'], false],
    ['all capabilities', undefined, false],
  ];
  for (const [what, caps, own] of cases)
    it(`is ${own} with ${what}`, () => expect(hasUserNamespace(caps)).to.equal(own));
});

describe('capabilityWarnings', () => {
  const cables = parseCables('=', 'a');
  const warned = (caps: readonly string[] | undefined, wires = cables): string[] =>
    capabilityWarnings({ conf: '/c', ...(caps && { caps }), cables: wires });

  it('names what keeps NET_ADMIN in the user namespace of the host', () => {
    expect(warned([...DEFAULT_CAPABILITIES, 'SYS_NICE', 'MKNOD'])).to.deep.equal([
      "/c: CAPS: SYS_NICE, MKNOD counts on the host only, so the subhost has no user namespace of its own, and its NET_ADMIN reaches the host's interfaces over its cables: add -NET_ADMIN where that is not meant",
    ]);
  });

  it('says nothing without NET_ADMIN, without a cable, of the default set, and of all', () => {
    expect(warned(['SYS_NICE'])).to.deep.equal([]);
    expect(warned(['SYS_NICE', 'NET_ADMIN'], [])).to.deep.equal([]);
    expect(warned(DEFAULT_CAPABILITIES)).to.deep.equal([]);
    expect(warned(undefined)).to.deep.equal([]);
  });
});
