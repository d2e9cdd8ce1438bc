/** RFC 1035 §2.3.4. */
export const LABEL_LENGTH = 63;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a text is a DNS label: RFC 1035 §2.3.1 in lower case, with digits in front allowed (RFC 1123 §2.1). */
export const isLabel = (text: string): boolean => LABEL.test(text);

/** The advice in an error about a name. */
export const LABEL_RULE = 'use 1 to 63 of a-z, 0-9 and "-"';

/** Makes a DNS label from a machine's name, without its domain. @returns undefined when nothing usable is left */
export function toLabel(text: string): string | undefined {
  const [first = ''] = text.toLowerCase().split('.');
  const label = cutLabel(first.replaceAll(/['’]/g, '').replaceAll(/[^a-z0-9-]+/g, '-'), LABEL_LENGTH);
  return label === '' ? undefined : label;
}

/** Shortens a label, and removes hyphens at its ends. */
export const cutLabel = (label: string, length: number): string =>
  label.replace(/^-+/, '').slice(0, length).replace(/-+$/, '');

/** Whether a text is a host name: labels, the last of which is not a number, because that would look like an IPv4 address. */
export const isHostName = (text: string): boolean =>
  text.length <= 253 && !/(?:^|\.)\d+$/.test(text) && text.toLowerCase().split('.').every(isLabel);
