/** Requests from an address of their own: all of 127.0.0.0/8 is this machine. */
import { Agent, request, type ClientRequest, type IncomingMessage } from 'node:http';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

export interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** A client at an address such as 127.0.0.2. */
export class ClientAt {
  private readonly agent: Agent;
  private readonly open = new Set<ClientRequest>();

  constructor(
    private readonly url: string,
    private readonly address: string,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets: 2000 });
  }

  ask(path: string, { method = 'GET', headers = {}, body }: Sent = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.start(path, { method, headers }, reject, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }));
        response.on('error', reject);
      }).end(body);
    });
  }

  /** The status with which a stream begins; it goes on until `close`. */
  follow(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.start(path, { method: 'GET', headers: {} }, reject, (response) => {
        response.resume();
        response.on('error', () => undefined);
        resolve(response.statusCode!);
      }).end();
    });
  }

  close(): void {
    for (const each of this.open) each.destroy();
    this.agent.destroy();
  }

  private start(
    path: string,
    { method, headers }: Required<Pick<Sent, 'method' | 'headers'>>,
    failed: (error: Error) => void,
    answered: (response: IncomingMessage) => void,
  ): ClientRequest {
    const sent = request(
      this.url + path,
      { method, headers, localAddress: this.address, agent: this.agent, setHost: headers['host'] === undefined },
      answered,
    );
    this.open.add(sent);
    sent.on('error', failed).on('close', () => this.open.delete(sent));
    return sent;
  }
}
