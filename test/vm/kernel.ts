/** The kernel of a Debian image as the emulator can start it at once: it takes seconds to decompress itself there. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** The file that says what is made of it. */
export const KERNEL_RECIPE = __filename;

/** How compressed kernels begin, and who decompresses them. */
const FORMATS = [
  { magic: '28b52ffd', program: 'zstd' },
  { magic: 'fd377a58', program: 'xz' },
  { magic: '1f8b', program: 'gzip' },
];

const SECTOR_BYTES = 512;
/** Behind the compressed kernel stands how long it is without compression. */
const LENGTH_BYTES = 4;

/**
 * The ELF file in a bzImage, Documentation/arch/x86/boot.rst of Linux: setup_sects, payload_offset, payload_length.
 * @throws Error for a compression that is not known here
 */
export function uncompressedKernel(file: string): Buffer {
  const image = readFileSync(file);
  const from = (image.readUInt8(0x1f1) + 1) * SECTOR_BYTES + image.readUInt32LE(0x248);
  const payload = image.subarray(from, from + image.readUInt32LE(0x24c) - LENGTH_BYTES);
  const format = FORMATS.find(({ magic }) => payload.toString('hex', 0, 4).startsWith(magic));
  if (!format) throw new Error(`${file}: unknown compression`);
  return execFileSync(format.program, ['-dc'], { input: payload, maxBuffer: 2 ** 28 });
}
