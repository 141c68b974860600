import { Outbox } from '../dispatch/outbox.js';
import type { Database } from '../machine/database.js';
import { BulkRequests } from './bulk.js';
import { Claims } from './claims.js';
import { Deletion } from './deletion.js';
import { Leases } from './leases.js';
import { Recorder } from './recorder.js';
import { Requests } from './requests.js';
import { Rungs } from './rungs.js';
import { Submission, type SubmissionOptions } from './submission.js';
import { Transitions } from './transitions.js';
import { Workers } from './workers.js';

/** All that changes runs, over one `Transitions`: each member is for one kind of those who ask. */
export class Runs {
  readonly submission: Submission;
  readonly requests: Requests;
  readonly deletion: Deletion;
  readonly bulk: BulkRequests;
  readonly rungs: Rungs;
  readonly workers: Workers;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly recorder: Recorder;
  readonly outbox: Outbox;

  constructor(database: Database, options: SubmissionOptions) {
    const transitions = new Transitions();
    this.rungs = new Rungs(transitions);
    this.submission = new Submission(database, transitions, this.rungs, options);
    this.requests = new Requests(database, transitions);
    this.deletion = new Deletion(database);
    this.bulk = new BulkRequests(database, transitions, this.requests, this.deletion);
    this.workers = new Workers(database);
    this.leases = new Leases(database, transitions, options);
    this.outbox = new Outbox(database, transitions, options);
    this.claims = new Claims(database, transitions, this.leases, this.outbox, options);
    this.recorder = new Recorder(database);
  }
}
