/** Where the API of a stack listens. */
import { createServer } from 'node:net';
import { StackError } from './stack-lock.js';

const DEFAULT_PORT = 3000;
const FOREIGN_ADDRESS = new Set(['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EINVAL']);
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
  if (wanted !== undefined && wanted !== 0) return listens(host, wanted);
  for (const port of wanted === 0 ? [] : [last, DEFAULT_PORT]) {
    const free = port === undefined ? undefined : await listens(host, port).catch(() => undefined);
    if (free !== undefined) return free;
  }
  return listens(host, 0);
}

/** The port on which a server could listen. @throws StackError with what stands against it */
async function listens(host: string, port: number): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(new StackError(refusal(error, host, port))));
    server.listen(port, host, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : port));
    });
  });
}

function refusal({ code = '', message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === 'EADDRINUSE') return `expected port ${port} to be free: choose another with --port`;
  if (code === 'EACCES')
    return `expected a port that this user may listen on, got ${port}: choose one of 1024 or above with --port`;
  if (FOREIGN_ADDRESS.has(code))
    return `expected --host to be an address of this machine, got ${host}: 127.0.0.1 is for it alone, 0.0.0.0 for all`;
  return `expected to listen on port ${port} of ${host}: ${message}`;
}
