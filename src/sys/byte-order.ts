/** Numbers as the kernel and C programs have them in memory: in this machine's own byte order. */

const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Two bytes, unsigned. */
export function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  if (littleEndian) bytes.writeUInt16LE(value);
  else bytes.writeUInt16BE(value);
  return bytes;
}

/** Four bytes, unsigned. */
export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  if (littleEndian) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return bytes;
}

export const readU16 = (bytes: Buffer, offset = 0): number =>
  littleEndian ? bytes.readUInt16LE(offset) : bytes.readUInt16BE(offset);

export const readU32 = (bytes: Buffer, offset = 0): number =>
  littleEndian ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
