import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { assertTrusted, readTrusted } from '../../../src/config/trust.js';
import { UserError } from '../../../src/errors.js';

/** The tests run as anyone: what "root" may own, the one who runs them owns. */
const uid = process.geteuid?.() ?? 0;
const owner = uid === 0 ? 'root' : `uid ${uid}`;

describe('a file that root runs things from', () => {
  let dir: string;
  let conf: string;

  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'trust-')));
    chmodSync(dir, 0o755);
    conf = join(dir, 'web.conf');
    writeFileSync(conf, 'BASE=.\n', { mode: 0o644 });
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const refusal = (file = conf, wanted = uid): string => {
    try {
      readTrusted(file, { uid: wanted });
      return '';
    } catch (error) {
      expect(error).to.have.property('exitCode', 2);
      return (error as Error).message;
    }
  };

  it('is read, and its real path is told', () => {
    symlinkSync('web.conf', join(dir, 'link.conf'));
    expect(readTrusted(conf, { uid })).to.deep.equal({ path: conf, text: 'BASE=.\n' });
    expect(readTrusted(join(dir, 'link.conf'), { uid })).to.deep.equal({ path: conf, text: 'BASE=.\n' });
  });

  for (const mode of [0o664, 0o646, 0o666])
    it(`is refused with mode ${mode.toString(8)}`, () => {
      chmodSync(conf, mode);
      expect(refusal()).to.equal(`${conf}: is writable by others than ${owner}: chmod go-w ${conf}`);
    });

  it('is refused when its directory can be written by others', () => {
    chmodSync(dir, 0o775);
    expect(refusal()).to.equal(
      `${dir}: the directory of web.conf is writable by others than ${owner}: chmod go-w ${dir}`,
    );
  });

  it('is refused in a directory like /tmp, which is left as it is', () => {
    chmodSync(dir, 0o1777);
    expect(refusal()).to.equal(
      `${dir}: the directory of web.conf is writable by others than ${owner}: move the file to a directory of its own`,
    );
  });

  it('is refused when it and its directory belong to somebody else, both named', () => {
    expect(refusal(conf, uid + 1)).to.equal(
      [
        `${conf}: belongs to uid ${uid}, not to uid ${uid + 1}: chown ${uid + 1} ${conf}`,
        `${dir}: the directory of web.conf belongs to uid ${uid}, not to uid ${uid + 1}: chown ${uid + 1} ${dir}`,
      ].join('\n'),
    );
  });

  it('is refused through a link in a directory that others can write', () => {
    const open = join(dir, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    symlinkSync(conf, join(open, 'link.conf'));
    expect(refusal(join(open, 'link.conf'))).to.equal(
      `${open}: the directory of link.conf is writable by others than ${owner}: chmod go-w ${open}`,
    );
  });

  it('is refused when it is missing, a directory, a FIFO, too large, or a link to itself', () => {
    const fifo = join(dir, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const large = join(dir, 'large');
    writeFileSync(large, Buffer.alloc((1 << 20) + 1));
    symlinkSync('loop', join(dir, 'loop'));
    expect(refusal(join(dir, 'none'))).to.equal(`${dir}/none: there is no such file`);
    expect(refusal(dir)).to.equal(`${dir}: is no regular file`);
    expect(refusal(fifo)).to.equal(`${fifo}: is no regular file`);
    expect(refusal(large)).to.equal(`${large}: is larger than 1 MiB, which no configuration is`);
    expect(refusal(join(dir, 'loop'))).to.equal(`${dir}/loop: symbolic links without an end`);
  });

  it('is refused when a line that counts is no UTF-8; a comment may be anything', () => {
    writeFileSync(conf, Buffer.from('# caf\xe9\nBASE=.\n', 'latin1'));
    expect(readTrusted(conf, { uid }).text).to.equal('# caf\ufffd\nBASE=.\n');
    writeFileSync(conf, Buffer.from('# caf\xe9\nBASE=caf\xe9\n', 'latin1'));
    expect(refusal()).to.equal(`${conf}:2: not UTF-8: save the file in UTF-8`);
  });

  it('is the one that was opened, whatever is put in its place meanwhile', () => {
    const fd = openSync(conf, 'r');
    try {
      chmodSync(conf, 0o666);
      renameSync(conf, join(dir, 'moved.conf'));
      writeFileSync(conf, 'BASE=.\n', { mode: 0o644 });
      assertTrusted(conf, { uid });
      expect(() => assertTrusted(conf, { uid, openedFd: fd })).to.throw(UserError, 'is writable by others');
    } finally {
      closeSync(fd);
    }
  });
});
