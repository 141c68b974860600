/** Begins with zod, as the dashboard does: the policy of the file forbids that code is compiled. */
import { config } from 'zod';

config({ jitless: true });
void import('./offline.js');
