import type { Fault } from '#libs/contracts';

export type RequestErrorCode =
  | 'not_found'
  | 'invalid_request'
  | 'conflict'
  | 'payload_too_large'
  | 'idempotency_mismatch'
  | 'invalid_state'
  | 'damaged';

/** A request that can't be done as asked, for a reason that whoever asked can act on. Nothing was changed. */
export class RequestError extends Error {
  constructor(
    readonly code: RequestErrorCode,
    message: string,
    readonly faults: Fault[] = [],
  ) {
    super(message);
    this.name = 'RequestError';
  }

  /** Fields whose values are at fault, each told where it stands in the request. */
  static invalid(faults: Fault[]): RequestError {
    return new RequestError(
      'invalid_request',
      faults.map((fault) => `${fault.path.join('.')}: ${fault.message}`).join('; '),
      faults,
    );
  }
}
