import { expect } from 'chai';
import { architectureOf, localArchitecture } from '../../../src/stack/architecture.js';
import { pickVersion } from '../../../src/stack/versioned.js';

describe('pickVersion', () => {
  const cases: readonly [title: string, names: readonly string[], picked: string | undefined][] = [
    ['the newest version', ['m_7.5.9.raw', 'm_7.5.13.raw', 'm_7.5.2.raw'], 'm_7.5.13.raw'],
    ['a release over its candidate', ['m_1~rc1.raw', 'm_1.raw'], 'm_1.raw'],
    ['one for this architecture', ['m_1_x86-64.raw', 'm_2_arm64.raw'], 'm_1_x86-64.raw'],
    ['one for any architecture', ['m_3.raw', 'm_2_x86-64.raw', 'm_4_riscv64.raw'], 'm_3.raw'],
    ['an older one over one without tries left', ['m_1.raw', 'm_2+0-5.raw', 'm_2+0.raw'], 'm_1.raw'],
    ['one with tries left', ['m_1.raw', 'm_2+1-5.raw'], 'm_2+1-5.raw'],
    ['one without tries left where there is no other', ['m_1+0-1.raw', 'm_2+0-1.raw'], 'm_2+0-1.raw'],
    ['of one version the one that is known to work', ['m_2+3.raw', 'm_2.raw', 'm_2+2-1.raw'], 'm_2.raw'],
    ['of one version the one with more tries left', ['m_2+2.raw', 'm_2+3-1.raw'], 'm_2+3-1.raw'],
    ['of one version the one with fewer tries done', ['m_2+3-2.raw', 'm_2+3-1.raw'], 'm_2+3-1.raw'],
    ['counters after the architecture', ['m_1_x86-64+2-1.raw', 'm_9_arm64+2-1.raw'], 'm_1_x86-64+2-1.raw'],
    ['an underscore as a part of the version', ['m_1_2.raw', 'm_1_10.raw'], 'm_1_10.raw'],
    [
      'the example of systemd.v(7)',
      ['m_7.5.13.raw', 'm_7.5.14_x86-64.raw', 'm_7.6.0_arm64.raw', 'm_7.7.0_x86-64+0-5.raw'],
      'm_7.5.14_x86-64.raw',
    ],
    [
      'nothing of another name or suffix',
      ['n_1.raw', 'm_1.img', 'm_1', 'm.raw', 'm_.raw', 'm1.raw', '.m_1.raw'],
      undefined,
    ],
    ['nothing for other architectures only', ['m_1_arm64.raw', 'm_1_x86.raw'], undefined],
    ['nothing of an empty directory', [], undefined],
  ];
  for (const [title, names, picked] of cases)
    it(`takes ${title}`, () => {
      const pattern = { base: 'm', suffix: '.raw', architecture: 'x86-64' };
      expect(pickVersion(names, pattern)).to.equal(picked);
      expect(pickVersion([...names].reverse(), pattern)).to.equal(picked);
    });

  it('has no suffix for directories', () => {
    const pattern = { base: 'layer@1', suffix: '', architecture: 'arm64' };
    expect(pickVersion(['layer@1_2', 'layer@1_10_arm64', 'layer@1_11_x86-64'], pattern)).to.equal(
      'layer@1_10_arm64',
    );
  });
});

describe('architectureOf', () => {
  const cases: readonly [string, 'LE' | 'BE', string][] = [
    ['x86_64', 'LE', 'x86-64'],
    ['i686', 'LE', 'x86'],
    ['aarch64', 'LE', 'arm64'],
    ['armv7l', 'LE', 'arm'],
    ['armv5teb', 'BE', 'arm-be'],
    ['ppc64le', 'LE', 'ppc64-le'],
    ['ppc64', 'BE', 'ppc64'],
    ['mips64', 'LE', 'mips64-le'],
    ['mips', 'BE', 'mips'],
    ['s390x', 'BE', 's390x'],
    ['riscv64', 'LE', 'riscv64'],
    ['loongarch64', 'LE', 'loongarch64'],
  ];
  for (const [machine, order, name] of cases)
    it(`calls ${machine} ${order} ${name}`, () => expect(architectureOf(machine, order)).to.equal(name));

  it('knows this machine', () => expect(localArchitecture()).to.match(/^[a-z0-9-]+$/));
});
