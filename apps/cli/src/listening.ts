/** Where the API of a stack listens. */
import { createServer } from 'node:net';
import { StackError } from './stack-lock.js';

const DEFAULT_PORT = 3000;
const ANY_ADDRESS = /^(0\.0\.0\.0|::)$/;

/** The URL under which this machine reaches a server that listens there. */
export function urlOf(host: string, port: number): string {
  if (ANY_ADDRESS.test(host)) return `http://127.0.0.1:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * The port that is wanted, which must be free; without one, that of last time, 3000 or any.
 * @throws StackError
 */
export async function choosePort(host: string, wanted: number | undefined, last: number | undefined): Promise<number> {
  if (wanted !== undefined && wanted !== 0) {
    if (await listens(host, wanted)) return wanted;
    throw new StackError(`expected port ${wanted} to be free: choose another with --port`);
  }
  for (const port of wanted === 0 ? [] : [last, DEFAULT_PORT])
    if (port !== undefined && (await listens(host, port))) return port;
  return (await listens(host, 0))!;
}

/** The port, if a server could listen on it. */
async function listens(host: string, port: number): Promise<number | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(port, host, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
}
