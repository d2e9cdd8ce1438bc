import { formatEndpoint } from '../../../ip/endpoint.js';
import { isPrivate } from './candidates.js';
import type { Candidate, PeerPath } from './peer-path.js';

/** Explains a path to people. @param whyNoRelay undefined if there is a relay */
export function explainPath(peer: PeerPath, isActive: boolean, whyNoRelay: string | undefined): string {
  const { current } = peer;
  if (current !== undefined) return whyDirect(current);
  if (whyNoRelay !== undefined) return whyNothing(peer, isActive, whyNoRelay);
  if (!isActive) return 'no traffic: a direct path is searched for when there is some';
  if (peer.relay.unanswered >= 3) return 'no answer through the relay either: the peer may be off';
  return whyNotDirect(peer);
}

function whyDirect(candidate: Candidate): string {
  const { address } = candidate.endpoint!;
  if (isPrivate(address)) return 'it answers at an address of a local network';
  const where =
    candidate.source === 'called' ? 'an address that it announced' : 'the source address of its probes';
  return `it answers at ${where}${address.length === 16 ? ', over IPv6' : ''}`;
}

function whyNothing(peer: PeerPath, isActive: boolean, whyNoRelay: string): string {
  if (peer.last === undefined) return `there is no relay (${whyNoRelay}), and no direct path was ever found`;
  const where = formatEndpoint(peer.last.endpoint!);
  if (!isActive) return `there is no relay (${whyNoRelay}): its last endpoint ${where} will be tried`;
  return `there is no relay (${whyNoRelay}), and no answer from ${where}, its last endpoint`;
}

function whyNotDirect(peer: PeerPath): string {
  const lost = peer.lost === undefined ? '' : `${peer.lost} stopped answering; `;
  const all = [...peer.candidates.values()];
  const narrow = all.find((candidate) => candidate.narrow);
  if (narrow !== undefined)
    return `${lost}${formatEndpoint(narrow.endpoint!)} answers, but packets of full size do not pass`;
  if (all.length === 0) return `${lost}it has not announced its addresses yet`;
  if (all.some(({ rtt }) => rtt !== undefined)) return `${lost}a direct path is being tried`;
  const [first, second, ...more] = all.map(({ endpoint }) => formatEndpoint(endpoint!));
  const names = second === undefined ? first : `${first}, ${second}`;
  return `${lost}no answer from ${names}${more.length === 0 ? '' : ` and ${more.length} more`}`;
}
