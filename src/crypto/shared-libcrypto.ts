/**
 * The OpenSSL library that node links to, as the packages of distributions do. Other builds of node contain OpenSSL, and
 * export it: a second one in the process would call functions of the first, and crash.
 *
 * @throws Error when node contains its own OpenSSL
 */
export function sharedLibcrypto(): string {
  const { node_shared_openssl: isShared } = process.config.variables as { node_shared_openssl?: boolean };
  if (isShared !== true) throw new Error('this node contains its own OpenSSL');
  return 'libcrypto.so.3';
}
