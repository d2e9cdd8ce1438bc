import { createHash } from 'node:crypto';
import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { call, declare } from '../ffi/libc.js';

const memfd_create = declare<[name: string, flags: number]>(
  'int memfd_create(const char *name, unsigned int flags)',
);
/** linux/memfd.h. */
const MFD_CLOEXEC = 1;

/** Where the content is: offset u32, length u32, its SHA-256. The content follows. */
const HEADER = { at: 0, length: 4, hash: 8, size: 40 } as const;

/**
 * A file in memory, memfd_create(2), that outlives this process if another holds its descriptor. Its content is replaced as
 * a whole: new content goes beside the old, and then the header, in one write, says where it is. A process that is killed
 * meanwhile leaves the old content.
 */
export class MemoryFile {
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Makes an empty file, or takes over that of another process.
   *
   * @param name appears in /proc
   * @param fd of a file that another process has made
   * @throws LinuxError
   */
  static open(name: string, fd?: number): MemoryFile {
    return new MemoryFile(fd ?? call(memfd_create(name, MFD_CLOEXEC), 'memfd_create'));
  }

  /** The content; undefined if there is none, or it is not what was written. */
  read(): Buffer | undefined {
    const header = this.#read(0, HEADER.size);
    if (header.length < HEADER.size) return undefined;
    const content = this.#read(header.readUInt32LE(HEADER.at), header.readUInt32LE(HEADER.length));
    return hashOf(content).equals(header.subarray(HEADER.hash)) ? content : undefined;
  }

  /** Replaces the content. The old one is erased. */
  write(content: Uint8Array): void {
    const old = this.#read(0, HEADER.size);
    const oldAt = old.length < HEADER.size ? HEADER.size : old.readUInt32LE(HEADER.at);
    const oldLength = old.length < HEADER.size ? 0 : old.readUInt32LE(HEADER.length);
    const fitsBefore = HEADER.size + content.length <= oldAt;
    const at = fitsBefore || oldLength === 0 ? HEADER.size : oldAt + oldLength;
    this.#write(at, content);
    const header = Buffer.alloc(HEADER.size);
    header.writeUInt32LE(at, HEADER.at);
    header.writeUInt32LE(content.length, HEADER.length);
    header.set(hashOf(content), HEADER.hash);
    this.#write(0, header);
    if (oldLength > 0) this.#write(oldAt, Buffer.alloc(oldLength));
    ftruncateSync(this.fd, at + content.length);
  }

  #read(at: number, length: number): Buffer {
    const there = Math.max(0, Math.min(length, fstatSync(this.fd).size - at));
    const bytes = Buffer.alloc(there);
    for (let done = 0; done < there; ) {
      const got = readSync(this.fd, bytes, done, there - done, at + done);
      if (got === 0) return bytes.subarray(0, done);
      done += got;
    }
    return bytes;
  }

  #write(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.fd, bytes, done, bytes.length - done, at + done);
  }
}

const hashOf = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
