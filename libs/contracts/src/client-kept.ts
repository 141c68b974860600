import type { z } from 'zod';
import type { Dataset } from './artifacts-api.js';
import { Streams } from './client-streams.js';
import type { DataFolder } from './data-root-api.js';
import type { ListPage } from './http.js';
import type { Model } from './model.js';
import { itemsOf, type PageOf } from './pages.js';
import type { ListedReport, ReplaceReport, Report, WriteReport } from './reports-api.js';
import type { SavedQuery, SavedView } from './saved-views-api.js';
import { newKey } from './transport.js';

/** How long a file that is made while one waits may take. */
export const EXPORT_TIMEOUT_MS = 600_000;

/** What is kept until somebody deletes it: views, reports, datasets, models. */
export class Kept extends Streams {
  /** Ways to look at the list of runs that somebody has saved, by name. */
  async savedViews(): Promise<SavedView[]> {
    return (await this.listed<Omit<PageOf<SavedView>, 'nextCursor'>>('/v1/saved-views')).items;
  }
  /** Saves one, in the place of the one of its name. */
  putSavedView(name: string, query: SavedQuery): Promise<SavedView> {
    return this.json(`/v1/saved-views/${encodeURIComponent(name)}`, { method: 'PUT', body: query, repeatable: true });
  }
  async deleteSavedView(name: string): Promise<void> {
    await this.send(`/v1/saved-views/${encodeURIComponent(name)}`, { method: 'DELETE' });
  }

  /** Reports without what is in them, the one that was changed last first. */
  reports(query: Partial<ListPage> = {}): Promise<PageOf<ListedReport>> {
    return this.listed('/v1/reports', query);
  }
  eachReport(): AsyncGenerator<ListedReport> {
    return itemsOf((cursor) => this.reports({ limit: 200, ...cursor }));
  }
  report(id: string): Promise<Report> {
    return this.json(`/v1/reports/${encodeURIComponent(id)}`);
  }
  /** A repeat with the same key returns what the first has written. */
  addReport(report: z.input<typeof WriteReport>, idempotencyKey: string = newKey()): Promise<Report> {
    return this.json('/v1/reports', {
      body: report,
      headers: { 'idempotency-key': idempotencyKey },
      repeatable: true,
    });
  }
  /** Saves an edit of the report of `version`; refused (409) where somebody has saved another since. */
  replaceReport(id: string, report: z.input<typeof ReplaceReport>): Promise<Report> {
    return this.json(`/v1/reports/${encodeURIComponent(id)}`, { method: 'PUT', body: report });
  }
  async deleteReport(id: string): Promise<void> {
    await this.send(`/v1/reports/${encodeURIComponent(id)}`, { method: 'DELETE' });
  }
  /** The report as one HTML file that needs no network. */
  async reportAsHtml(id: string): Promise<string> {
    return (await this.send(`/v1/reports/${encodeURIComponent(id)}/html`, { timeoutMs: EXPORT_TIMEOUT_MS })).text();
  }

  /** A folder below the data root, and what kinds of files are in it and below. */
  dataRoot(path = ''): Promise<DataFolder> {
    return this.json('/v1/data-root', { query: { path } });
  }
  datasets(query: Partial<ListPage> = {}): Promise<PageOf<Dataset>> {
    return this.listed('/v1/datasets', query);
  }
  dataset(reference: string): Promise<Dataset> {
    return this.json(`/v1/datasets/${encodeURIComponent(reference)}`);
  }
  /** Deletes a version of a dataset, `name@digest`, that no run is of. */
  async deleteDataset(reference: string): Promise<void> {
    await this.send(`/v1/datasets/${encodeURIComponent(reference)}`, { method: 'DELETE' });
  }
  models(query: Partial<ListPage> = {}): Promise<PageOf<Model>> {
    return this.listed('/v1/models', query);
  }
  model(reference: string): Promise<Model> {
    return this.json(`/v1/models/${encodeURIComponent(reference)}`);
  }
  /** Deletes a version of a model, `name@digest`, that no run began with. */
  async deleteModel(reference: string): Promise<void> {
    await this.send(`/v1/models/${encodeURIComponent(reference)}`, { method: 'DELETE' });
  }
}
