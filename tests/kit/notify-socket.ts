import { call, libc } from '../../src/linux/ffi/libc.js';
import { allocate, writeUint64 } from '../../src/linux/ffi/memory.js';
import { AF, SOCK } from '../../src/linux/net/socket-address.js';

/** What a service manager gets: the text of a datagram, and a descriptor. */
export interface Notified {
  readonly text: string;
  readonly fd?: number;
}

/** The service manager's end of sd_notify(3): a datagram socket at a path, or at an abstract name that begins with `@`. */
export class NotifySocket {
  readonly #fd = call(libc.socket(AF.unix, SOCK.datagram | SOCK.nonblock | SOCK.cloexec, 0), 'socket');

  constructor(path: string) {
    const name = Buffer.from(path);
    if (path.startsWith('@')) name[0] = 0;
    const address = allocate(110);
    address.view.setUint16(0, AF.unix, true);
    address.bytes.set(name, 2);
    call(libc.bind(this.#fd, address.address, 2 + name.length), `bind ${path}`);
  }

  /** The next datagram; undefined if there is none yet. */
  read(): Notified | undefined {
    const [body, part, control, message] = [allocate(4096), allocate(16), allocate(64), allocate(56)];
    writeUint64(part.view, 0, body.address);
    writeUint64(part.view, 8, 4096);
    writeUint64(message.view, 16, part.address);
    writeUint64(message.view, 24, 1);
    writeUint64(message.view, 32, control.address);
    writeUint64(message.view, 40, 64);
    const length = libc.recvmsg(this.#fd, message.address, 0);
    if (length < 0) return undefined;
    const text = Buffer.from(body.bytes.slice(0, length)).toString();
    const hasFd = message.view.getUint32(40, true) > 0;
    return hasFd ? { text, fd: control.view.getInt32(16, true) } : { text };
  }

  /** Everything that has come. */
  readAll(): Notified[] {
    const all: Notified[] = [];
    for (let next = this.read(); next !== undefined; next = this.read()) all.push(next);
    return all;
  }

  close(): void {
    libc.close(this.#fd);
  }
}
