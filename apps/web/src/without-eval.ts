/** Imported before any schema is made: zod then compiles no code, which the content security policy forbids. */
import { z } from 'zod';

z.config({ jitless: true });
