import { expect } from 'chai';
import { isMountPoint, parseMountinfo } from '../../../src/sys/mountinfo.js';

describe('parseMountinfo', () => {
  it('reads a line with optional fields, and undoes the escapes', () => {
    const text =
      '36 35 98:0 /a\\134b /mnt/x\\040y rw,nodev shared:1 master:2 - ext4 /dev/loop0 rw,errors=continue\n';
    const [mount, ...others] = parseMountinfo(text);
    expect(others).to.deep.equal([]);
    expect(mount).to.deep.equal({
      id: 36,
      parentId: 35,
      device: '98:0',
      mountPoint: '/mnt/x y',
      type: 'ext4',
      source: '/dev/loop0',
      root: '/a\\b',
      options: ['rw', 'nodev'],
      propagation: ['shared:1', 'master:2'],
      superOptions: 'rw,errors=continue',
    });
  });

  it('reads a line without optional fields', () => {
    const [mount] = parseMountinfo('1 0 0:2 / / rw - tmpfs none rw');
    expect(mount).to.include({ mountPoint: '/', type: 'tmpfs', source: 'none' });
  });
});

describe('isMountPoint', () => {
  it('tells a mount point from a directory', () => {
    expect(isMountPoint('/proc')).to.equal(true);
    expect(isMountPoint('/proc/self')).to.equal(false);
  });
});
