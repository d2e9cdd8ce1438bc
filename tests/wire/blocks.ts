import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import {
  COOKIE_LIFETIME,
  ERASE_AFTER_TIME,
  JITTER,
  KEEPALIVE_TIMEOUT,
  REJECT_AFTER_TIME,
  REKEY_AFTER_TIME,
  REKEY_AFTER_TIME_RECEIVING,
  REKEY_ATTEMPT_TIME,
  REKEY_TIMEOUT,
} from '../../src/wireguard/constants.js';
import { COOKIE_REPLY, INITIATION, RESPONSE, TRANSPORT } from '../../src/wireguard/messages.js';
import { type Call, type Made, OUTER, type Scene, SECRETS } from './scene.js';

/** The text between `<!-- bytes: NAME -->` and `<!-- end -->` in docs/WIRE.md, by name. */
export type Blocks = Readonly<Record<string, string>>;

/**
 * Replaces the text between `<!-- KIND: NAME -->` and `<!-- end -->`.
 *
 * @throws Error if a marked place has no block, or a block has no marked place
 */
export function fillIn(document: string, blocks: Blocks, kind = 'bytes'): string {
  const unused = new Set(Object.keys(blocks));
  const marked = new RegExp(`(<!-- ${kind}: ([\\w-]+) -->\\n)[\\s\\S]*?(<!-- end -->)`, 'g');
  const filled = document.replace(marked, (_all, open: string, name: string, close: string) => {
    const block = blocks[name];
    if (block === undefined) throw new Error(`the document has an unknown block "${name}"`);
    unused.delete(name);
    return `${open}\`\`\`text\n${block}\n\`\`\`\n${close}`;
  });
  if (unused.size > 0) throw new Error(`the document has no place for ${[...unused].join(', ')}`);
  return filled;
}

export function makeBlocks(scene: Scene): Blocks {
  const initiator = new Trace(scene.initiation.calls);
  const responder = new Trace(scene.response.calls);
  const staticStatic = initiator.next('dh');
  return {
    keys: keys(staticStatic),
    begin: begin(initiator),
    'initiation-steps': initiationSteps(initiator),
    'initiation-mac1': mac1(initiator, 'S_pub_r'),
    initiation: fields(scene.initiation.bytes, INITIATION_FIELDS),
    'response-steps': responseSteps(responder, initiator.last),
    'transport-keys': transportKeys(responder, new Trace(scene.data.calls)),
    'response-mac1': mac1(responder, 'S_pub_i'),
    response: fields(scene.response.bytes, RESPONSE_FIELDS),
    timestamp: timestamp(scene.initiation.calls),
    packet: hexLines(sealed(scene.data.calls).plaintext, 16).join('\n'),
    'data-steps': transportSteps(scene.data.calls, 'T_send_i'),
    data: fields(scene.data.bytes, TRANSPORT_FIELDS),
    'keepalive-steps': transportSteps(scene.keepalive.calls, 'T_send_r'),
    keepalive: fields(scene.keepalive.bytes, TRANSPORT_FIELDS),
    'cookie-steps': cookieSteps(scene.cookieReply.calls),
    'cookie-reply': fields(scene.cookieReply.bytes, COOKIE_REPLY_FIELDS),
    mac2: mac2(scene.secondInitiation.calls),
    'second-initiation': fields(scene.secondInitiation.bytes, INITIATION_FIELDS),
    timeline: timeline(scene),
    'cookie-timeline': cookieTimeline(scene),
    times: times(),
  };
}

/** Reads recorded calls in order. Throws if the order is not that of the document. */
class Trace {
  readonly #calls: readonly Call[];
  #at = 0;
  /** C and H, as the last call for each left them. */
  last: { C: string; H: string } = { C: '', H: '' };

  constructor(calls: readonly Call[]) {
    this.#calls = calls;
  }

  call(of: Call['of']): Call {
    const call = this.#calls[this.#at++];
    if (call?.of !== of) throw new Error(`step ${this.#at} is ${call?.of ?? 'missing'}, not ${of}`);
    return call;
  }

  /** The first output of the next call. */
  next(of: Call['of']): string {
    return hex(this.call(of).outputs[0]!);
  }

  /** Skips all calls up to the next one whose first output is `output`. */
  skipTo(output: string): void {
    while (hex(this.#calls[this.#at++]?.outputs[0] ?? missing(output)) !== output);
  }

  // The steps of a handshake, each with one or more lines.

  hash(step: string, what: string): string[] {
    this.last.H = this.next('hash');
    return [line(step, `H := Hash(H || ${what})`, 'H', this.last.H)];
  }

  chain(step: string, what: string): string[] {
    this.last.C = this.next('kdf');
    return [line(step, `C := Kdf1(C, ${what})`, 'C', this.last.C)];
  }

  key(step: string, what: string): string[] {
    const [C, kappa] = this.call('kdf').outputs.map(hex);
    this.last.C = C!;
    return [line(step, `(C, κ) := Kdf2(C, ${what})`, 'C', C!), line('', '', 'κ', kappa!)];
  }

  dh(step: string, ours: string, theirs: string): string[] {
    const what = `DH(${ours}, ${theirs})`;
    return [line(step, what, '', this.next('dh')), ...this.key('', 'DH(…)')];
  }

  seal(step: string, field: string, what: string): string[] {
    const [first, ...rest] = split(this.next('seal'));
    return [
      line(step, `${field} := Aead(κ, 0, ${what}, H)`, '', first!),
      ...rest.map((part) => line('', '', '', part)),
      ...this.hash('', field),
    ];
  }
}

function missing(output: string): never {
  throw new Error(`no step has the output ${output}`);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
/** Hexadecimal in lines of 32 bytes. */
const split = (text: string): string[] => text.match(/.{1,64}/g) ?? [''];
const line = (step: string, formula: string, name: string, value: string): string =>
  `${step.padEnd(5)}${formula.padEnd(41)}${name.padEnd(2)}${value}`.trimEnd();

function keys(staticStatic: string): string {
  const crypto = new NodeCrypto();
  const pair = (owner: string, index: string, secret: Uint8Array, letter: string): string[] => [
    `${owner.padEnd(34)}${`${letter}_priv_${index}`.padEnd(10)}${hex(secret)}`,
    `${''.padEnd(34)}${`${letter}_pub_${index}`.padEnd(10)}${hex(crypto.privateKey(secret).publicKey.bytes)}`,
  ];
  const { laptop, server, preshared } = SECRETS;
  return [
    ...pair('the laptop, the initiator', 'i', laptop.static, 'S'),
    ...pair('the server, the responder', 'r', server.static, 'S'),
    `${'both, the preshared key'.padEnd(34)}${'Q'.padEnd(10)}${hex(preshared)}`,
    '',
    ...pair("the laptop's, for this handshake", 'i', laptop.ephemeral, 'E'),
    ...pair("the server's, for this handshake", 'r', server.ephemeral, 'E'),
    '',
    `${'DH(S_priv_i, S_pub_r), or r and i'.padEnd(44)}${staticStatic}`,
  ].join('\n');
}

function begin(t: Trace): string {
  const C = t.next('hash');
  const H = t.next('hash');
  return [
    line('', 'C := Hash(CONSTRUCTION)', 'C', C),
    line('', 'H := Hash(C || IDENTIFIER)', 'H', H),
    ...t.hash('', 'S_pub_r'),
  ].join('\n');
}

function initiationSteps(t: Trace): string {
  return [
    ...t.chain('e', 'E_pub_i'),
    ...t.hash('', 'E_pub_i'),
    ...t.dh('es', 'E_priv_i', 'S_pub_r'),
    ...t.seal('s', 'static', 'S_pub_i'),
    ...t.key('ss', 'DH(S_priv_i, S_pub_r)'),
    ...t.seal('{t}', 'timestamp', 'Timestamp()'),
  ].join('\n');
}

/** @param before the initiator's state: the responder must have derived the same, with its own keys */
function responseSteps(t: Trace, before: { readonly C: string; readonly H: string }): string {
  t.skipTo(before.C);
  t.skipTo(before.H);
  return [
    ...t.chain('e', 'E_pub_r'),
    ...t.hash('', 'E_pub_r'),
    ...t.dh('ee', 'E_priv_r', 'E_pub_i'),
    ...t.dh('se', 'E_priv_r', 'S_pub_i'),
    ...presharedKey(t),
    ...t.seal('{}', 'empty', 'ε'),
  ].join('\n');
}

function presharedKey(t: Trace): string[] {
  const [C, tau, kappa] = t.call('kdf').outputs.map(hex);
  t.last.C = C!;
  return [
    line('psk', '(C, τ, κ) := Kdf3(C, Q)', 'C', C!),
    line('', '', 'τ', tau!),
    line('', '', 'κ', kappa!),
    ...t.hash('', 'τ'),
  ];
}

function transportKeys(responder: Trace, initiator: Trace): string {
  const [first, second] = responder.call('kdf').outputs.map(hex);
  initiator.skipTo(responder.last.C); // the two agree
  initiator.skipTo(first!);
  return [
    line('', '(T_send_i, T_recv_i) := Kdf2(C, ε)', '', `${first}  T_send_i = T_recv_r`),
    line('', '', '', `${second}  T_recv_i = T_send_r`),
  ].join('\n');
}

function mac1(t: Trace, receiver: string): string {
  const key = t.next('hash');
  return [
    line('', `Hash(LABEL_MAC1 || ${receiver})`, '', key),
    line('', 'mac1 := Mac(Hash(…), msg_α)', '', t.next('mac')),
  ].join('\n');
}

/** The key and the plaintext of a message's last AEAD. */
function sealed(calls: readonly Call[]): { readonly key: Uint8Array; readonly plaintext: Uint8Array } {
  const [key, plaintext] = calls.findLast(({ of }) => of === 'seal')!.inputs;
  return { key: key!, plaintext: plaintext! };
}

function timestamp(calls: readonly Call[]): string {
  const label = hex(sealed(calls).plaintext);
  return [
    `${label.slice(0, 16)}  2^62 + 10 + the seconds since 1970, big-endian`,
    `${label.slice(16).padEnd(16)}  nanoseconds, rounded down to a multiple of 2^24`,
  ].join('\n');
}

function transportSteps(calls: readonly Call[], name: string): string {
  const { key, plaintext } = sealed(calls);
  const what = plaintext.length === 0 ? 'ε' : 'P || 0…';
  const [first, ...rest] = split(hex(calls.findLast(({ of }) => of === 'seal')!.outputs[0]!));
  return [
    line('', name, '', hex(key)),
    line('', `packet := Aead(${name}, 0, ${what}, ε)`, '', first!),
    ...rest.map((part) => line('', '', '', part)),
  ].join('\n');
}

function cookieSteps(calls: readonly Call[]): string {
  const t = new Trace(calls);
  t.next('mac'); // checks mac1
  const cookie = t.call('mac');
  const sealed = t.call('xseal');
  return [
    line('', 'R_m, random, new every two minutes', '', hex(cookie.inputs[0]!)),
    line('', `A_m', ${OUTER.laptop.text}`, '', hex(cookie.inputs[1]!)),
    line('', "τ := Mac(R_m, A_m')", '', hex(cookie.outputs[0]!)),
    line('', 'Hash(LABEL_COOKIE || S_pub_r)', '', hex(sealed.inputs[0]!)),
    line('', 'cookie := Xaead(Hash(…), nonce, τ, M)', '', hex(sealed.outputs[0]!)),
  ].join('\n');
}

function mac2(calls: readonly Call[]): string {
  const [first, second] = calls.filter(({ of }) => of === 'mac');
  return [
    line('', 'mac1 := Mac(Hash(…), msg_α)', '', hex(first!.outputs[0]!)),
    line('', 'mac2 := Mac(τ, msg_β)', '', hex(second!.outputs[0]!)),
  ].join('\n');
}

/** The fields of a message: name, offset and remark. */
type Fields = readonly (readonly [name: string, at: number, remark: string])[];

const INITIATION_FIELDS: Fields = [
  ['type', 0, '1 and three zeros'],
  ['sender', INITIATION.sender, 'I_i, little-endian'],
  ['ephemeral', INITIATION.ephemeral, 'E_pub_i'],
  ['static', INITIATION.static, 'S_pub_i, encrypted'],
  ['timestamp', INITIATION.timestamp, 'TAI64N, encrypted'],
  ['mac1', INITIATION.mac1, ''],
  ['mac2', INITIATION.mac2, ''],
];
const RESPONSE_FIELDS: Fields = [
  ['type', 0, '2 and three zeros'],
  ['sender', RESPONSE.sender, 'I_r, little-endian'],
  ['receiver', RESPONSE.receiver, "I_i, the initiation's sender"],
  ['ephemeral', RESPONSE.ephemeral, 'E_pub_r'],
  ['empty', RESPONSE.empty, 'nothing, encrypted'],
  ['mac1', RESPONSE.mac1, ''],
  ['mac2', RESPONSE.mac2, ''],
];
const COOKIE_REPLY_FIELDS: Fields = [
  ['type', 0, '3 and three zeros'],
  ['receiver', COOKIE_REPLY.receiver, "I_i, the initiation's sender"],
  ['nonce', COOKIE_REPLY.nonce, 'random'],
  ['cookie', COOKIE_REPLY.cookie, 'τ, encrypted'],
];
const TRANSPORT_FIELDS: Fields = [
  ['type', 0, '4 and three zeros'],
  ['receiver', TRANSPORT.receiver, "the receiver's own index"],
  ['counter', TRANSPORT.counter, 'little-endian'],
  ['packet', TRANSPORT.payload, 'encrypted; the last 16 bytes are the tag'],
];

function fields(message: Uint8Array, layout: Fields): string {
  const rows = layout.map(([name, at, remark], i) => {
    const end = layout[i + 1]?.[1] ?? message.length;
    const [first, ...rest] = split(hex(message.subarray(at, end)));
    const front = `${`${at}`.padStart(3)} ${`${end - at}`.padStart(4)}  ${name.padEnd(10)}`;
    const room = remark === '' || first!.length > 48 ? '' : `  ${remark}`;
    return [`${front}${first}${room}`, ...rest.map((part) => `${''.padEnd(20)}${part}`)];
  });
  return [' at size  field     bytes', ...rows.flat(), `    ${`${message.length}`.padStart(4)}  total`].join(
    '\n',
  );
}

function hexLines(bytes: Uint8Array, width: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += width) {
    const part = bytes.subarray(at, at + width);
    const text = [...part].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'));
    const pairs = hex(part).match(/../g)!.join(' ');
    lines.push(`${`${at}`.padStart(3)}  ${pairs.padEnd(3 * width)} ${text.join('')}`);
  }
  return lines;
}

const OUT = 'laptop ───────────────────▶ server';
const BACK = 'laptop ◀─────────────────── server';

const moment = ({ at, bytes }: Made, arrow: string, what: string): string =>
  `${at.toFixed(0).padStart(7)} ms   ${arrow}   ${what.padEnd(34)}${`${bytes.length}`.padStart(4)} bytes`;

const timeline = (scene: Scene): string =>
  [
    moment(scene.initiation, OUT, 'initiation: e, es, s, ss, {t}'),
    moment(scene.response, BACK, 'response: e, ee, se, psk, {}'),
    moment(scene.data, OUT, 'data, counter 0'),
    moment(scene.keepalive, BACK, 'keepalive, counter 0'),
  ].join('\n');

const cookieTimeline = (scene: Scene): string =>
  [
    moment(scene.initiation, OUT, 'initiation, mac2 zeros'),
    moment(scene.cookieReply, BACK, 'cookie reply'),
    moment(scene.secondInitiation, OUT, 'another initiation, with mac2'),
  ].join('\n');

function times(): string {
  const rows: readonly (readonly [string, number, string])[] = [
    ['REKEY_AFTER_TIME', REKEY_AFTER_TIME, '[W] 6.1'],
    ['REJECT_AFTER_TIME', REJECT_AFTER_TIME, '[W] 6.1'],
    ['REKEY_ATTEMPT_TIME', REKEY_ATTEMPT_TIME, '[W] 6.1'],
    ['REKEY_TIMEOUT', REKEY_TIMEOUT, '[W] 6.1'],
    ['JITTER', JITTER, '[W] 6.1'],
    ['KEEPALIVE_TIMEOUT', KEEPALIVE_TIMEOUT, '[W] 6.1'],
    ['REKEY_AFTER_TIME_RECEIVING', REKEY_AFTER_TIME_RECEIVING, '[W] 6.2'],
    ['ERASE_AFTER_TIME', ERASE_AFTER_TIME, '[W] 6.3'],
    ['COOKIE_LIFETIME', COOKIE_LIFETIME, '[W] 5.4.7'],
  ];
  return rows
    .map(([name, time, source]) => `${name.padEnd(28)}${`${time / 1000}`.padStart(7)} s   ${source}`)
    .join('\n');
}
