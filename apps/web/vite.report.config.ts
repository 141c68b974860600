/** The program that draws a report in a file of its own: one script and one style, which the API puts into the file. */
import react from '@vitejs/plugin-react';
import path from 'node:path';
import { defineConfig } from 'vite';
import dashboard from './vite.config.js';

export default defineConfig({
  ...dashboard,
  plugins: [react()],
  publicDir: false,
  build: {
    outDir: '../../web-dist/report',
    emptyOutDir: true,
    cssCodeSplit: false,
    modulePreload: false,
    chunkSizeWarningLimit: 2000,
    rolldownOptions: {
      ...dashboard.build?.rolldownOptions,
      input: path.join(import.meta.dirname, 'src', 'reports', 'viewer.ts'),
      output: {
        format: 'es',
        codeSplitting: false,
        entryFileNames: 'viewer.js',
        assetFileNames: 'viewer[extname]',
      },
    },
  },
});
