import { ERRNO } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate, writeUint64 } from '../ffi/memory.js';
import { AF, SOCK } from '../net/socket-address.js';
import { SOL_SOCKET } from '../net/socket-options.js';

/** linux/un.h: family u16, path char[108]. An abstract name begins with a zero byte instead. */
const SOCKADDR_UN = { family: 0, path: 2, pathLength: 108, size: 110 } as const;
/** `struct msghdr` and `struct iovec` of 64-bit machines, sys/socket.h and sys/uio.h. */
const MSGHDR = { name: 0, nameLength: 8, parts: 16, partCount: 24, control: 32, controlLength: 40, size: 56 };
const IOVEC = { base: 0, length: 8, size: 16 } as const;
/** `struct cmsghdr` with one descriptor: CMSG_LEN and CMSG_SPACE of an int. */
const CMSG = { length: 0, level: 8, type: 12, data: 16, used: 20, size: 24 } as const;
const SCM_RIGHTS = 1;
/** asm-generic/fcntl.h. */
const F_SETFD = 2;
const FD_CLOEXEC = 1;
/** The first descriptor that the service manager passes, systemd/sd-daemon.h. */
const LISTEN_FDS_START = 3;

/** What the service manager says in the environment: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). */
const VARIABLES = [
  ...['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'],
  'LISTEN_PIDFDID',
] as const;

/** The descriptors that the service manager passed to this process, which `limitProcess` must keep. */
export function passedDescriptors(environment = process.env, pid = process.pid): number[] {
  const { LISTEN_PID, LISTEN_FDS = '' } = environment;
  const count = LISTEN_PID === `${pid}` && /^\d{1,4}$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : 0;
  return Array.from({ length: count }, (_, i) => LISTEN_FDS_START + i);
}

/**
 * The program that has started this one and watches it: systemd, or another that speaks sd_notify(3). Without one, all of
 * this does nothing. A lost message is not an error: the manager may be restarting.
 */
export class ServiceManager {
  /** How often the manager expects `watchdog`, milliseconds; undefined if it does not. */
  readonly watchdogInterval: number | undefined;
  readonly #socket: string | undefined;
  readonly #given = new Map<string, number>();
  #status = '';

  /** Reads the variables and removes them, so that programs which this one starts do not speak in its name. */
  constructor(environment: NodeJS.ProcessEnv = process.env, pid = process.pid) {
    const read = (name: (typeof VARIABLES)[number]): string => environment[name] ?? '';
    const isMine = (owner: string): boolean => owner === '' || owner === `${pid}`;
    const socket = read('NOTIFY_SOCKET');
    this.#socket = /^[/@]./.test(socket) ? socket : undefined;
    const microseconds = read('WATCHDOG_USEC');
    const isWatched = /^[1-9]\d{0,14}$/.test(microseconds) && isMine(read('WATCHDOG_PID'));
    this.watchdogInterval = isWatched ? Number(microseconds) / 1000 : undefined;
    const names = read('LISTEN_FDNAMES').split(':');
    for (const [i, fd] of passedDescriptors(environment, pid).entries()) {
      libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
      this.#given.set(names[i] ?? '', fd);
    }
    for (const name of VARIABLES) delete environment[name];
  }

  /** Whether messages reach anyone. */
  get isThere(): boolean {
    return this.#socket !== undefined;
  }

  /** Takes a descriptor that an earlier run of this service has stored; undefined if there is none of that name. */
  take(name: string): number | undefined {
    const fd = this.#given.get(name);
    this.#given.delete(name);
    return fd;
  }

  /** The start is complete. */
  ready(): void {
    this.#send('READY=1');
  }

  stopping(): void {
    this.#send('STOPPING=1');
  }

  /** The program works. */
  watchdog(): void {
    this.#send('WATCHDOG=1');
  }

  /** @param text one line for `systemctl status`; sent only if it is new */
  status(text: string): void {
    if (text === this.#status) return;
    this.#status = text;
    this.#send(`STATUS=${text.replaceAll('\n', ' ')}`);
  }

  /** Leaves a descriptor with the manager, which passes it to the next run after a crash or restart. */
  store(name: string, fd: number): void {
    this.#send(`FDSTORE=1\nFDNAME=${name}`, fd);
  }

  #send(text: string, passed?: number): void {
    if (this.#socket === undefined) return;
    const fd = call(libc.socket(AF.unix, SOCK.datagram | SOCK.cloexec, 0), 'open a unix socket');
    try {
      sendDatagram(fd, this.#socket, Buffer.from(text), passed);
    } finally {
      libc.close(fd);
    }
  }
}

/** sendmsg(2) to a unix socket, with one descriptor at most, unix(7). */
function sendDatagram(fd: number, path: string, text: Uint8Array, passed: number | undefined): void {
  const name = Buffer.from(path);
  if (name.length >= SOCKADDR_UN.pathLength) return;
  const isAbstract = name[0] === 0x40; // `@`
  if (isAbstract) name[0] = 0;
  const to = allocate(SOCKADDR_UN.size);
  to.view.setUint16(SOCKADDR_UN.family, AF.unix, true);
  to.bytes.set(name, SOCKADDR_UN.path);
  const body = allocate(text.length);
  body.bytes.set(text);
  const part = allocate(IOVEC.size);
  writeUint64(part.view, IOVEC.base, body.address);
  writeUint64(part.view, IOVEC.length, text.length);
  const control = allocate(CMSG.size);
  const message = allocate(MSGHDR.size);
  writeUint64(message.view, MSGHDR.name, to.address);
  message.view.setUint32(MSGHDR.nameLength, SOCKADDR_UN.path + name.length + (isAbstract ? 0 : 1), true);
  writeUint64(message.view, MSGHDR.parts, part.address);
  writeUint64(message.view, MSGHDR.partCount, 1);
  if (passed !== undefined) {
    writeUint64(control.view, CMSG.length, CMSG.used);
    control.view.setInt32(CMSG.level, SOL_SOCKET, true);
    control.view.setInt32(CMSG.type, SCM_RIGHTS, true);
    control.view.setInt32(CMSG.data, passed, true);
    writeUint64(message.view, MSGHDR.control, control.address);
    writeUint64(message.view, MSGHDR.controlLength, CMSG.size);
  }
  // A socket of its own each time has room, so this waits only while the manager reads nothing.
  while (libc.sendmsg(fd, message.address, 0) < 0 && errno() === ERRNO.EINTR);
}
