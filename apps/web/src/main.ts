/**
 * zod compiles code for its schemas, which the content security policy forbids. It has to know before the first schema
 * is made, and what is in one bundle is evaluated in the bundler's order: so the dashboard is imported after.
 */
import { config } from 'zod';

config({ jitless: true });
void import('./dashboard.js');
