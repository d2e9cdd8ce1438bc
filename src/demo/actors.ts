import { createServer, get } from 'node:http';

/**
 * Two programs that know nothing of tunnels: the office's web server, and the laptop's client that reads a page
 * from it. Run as `node actors.js serve ADDRESS` and `node actors.js fetch ADDRESS`.
 */
const PAGE = 'The launch is on Friday. Tell nobody outside the office.\n';

const [role, address] = process.argv.slice(2);
if (role === 'serve') serve(address!);
else if (role === 'fetch') fetchPage(address!);
else process.exitCode = 2;

function serve(host: string): void {
  createServer((_request, response) => {
    response.sendDate = false;
    response.writeHead(200, {
      'Content-Type': 'text/plain',
      'Content-Length': PAGE.length,
      Connection: 'close',
    });
    response.end(PAGE);
  }).listen({ host, port: 80 }, () => console.log('listening'));
}

function fetchPage(host: string): void {
  const headers = { Host: host, Cookie: 'session=alice-7f3a', Connection: 'close' };
  const request = get({ host, path: '/plans.txt', headers, timeout: 5000 }, (response) => {
    console.log(`HTTP/${response.httpVersion} ${response.statusCode} ${response.statusMessage}`);
    response.setEncoding('utf8').on('data', (text: string) => process.stdout.write(text));
  });
  request.on('timeout', () => request.destroy(new Error('no answer in 5 s')));
  request.on('error', (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
