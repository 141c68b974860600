import { expect, test } from 'vitest';
import { markdownHtml } from './markdown.js';

test('text, tables and links are what CommonMark makes of them, headings below the title of the page', () => {
  expect(markdownHtml('# Views\n\n**Crop** & <colour>')).toBe(
    '<h2>Views</h2>\n<p><strong>Crop</strong> &amp; &lt;colour&gt;</p>\n',
  );
  expect(markdownHtml('###### deep')).toBe('<h6>deep</h6>\n');
  expect(markdownHtml('|a|b|\n|-|-|\n|1|2|')).toMatch(
    /^<div class="scroll"[^>]*><table>\s*<thead>[^]*<\/table><\/div>$/,
  );
  expect(markdownHtml('[run](#/runs/1) https://example.org/a')).toBe(
    '<p><a href="#/runs/1" rel="noopener noreferrer">run</a> ' +
      '<a href="https://example.org/a" rel="noopener noreferrer">https://example.org/a</a></p>\n',
  );
});

/** Each of these would run a program, or ask another machine for something, were it taken as it is. */
const ATTACKS = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<svg/onload=alert(1)>',
  '<iframe src="javascript:alert(1)"></iframe>',
  '<style>@import url(//evil.example)</style>',
  '[x](javascript:alert(1))',
  '[x](JaVaScRiPt:alert(1))',
  '[x]( java\tscript:alert(1))',
  '[x](&#106;avascript:alert(1))',
  '[x](java&Tab;script:alert(1))',
  '[x](%6aavascript:alert(1))',
  '[x](vbscript:msgbox)',
  '[x](data:text/html,<script>alert(1)</script>)',
  '[x](file:///etc/passwd)',
  '[x](//evil.example)',
  '![x](https://evil.example/pixel.png)',
  '![x](javascript:alert(1))',
  '<javascript:alert(1)>',
  '[x]: javascript:alert(1)\n\n[x]',
  '[x](https://a.example "\\" onmouseover=alert(1) \\"")',
  '[a](https://a.example/"onmouseover="alert(1))',
  '```"><script>alert(1)</script>\n<script>\n```',
  '| <script> |\n|-|\n| <img src=x onerror=alert(1)> |',
];

test.each(ATTACKS)('%j stays text', (text) => {
  const html = markdownHtml(text);
  const tags = [...html.matchAll(/<\/?([a-z0-9]+)((?:\s+[a-z-]+="[^"]*")*)\s*>/g)];
  // All that looks like a tag is one that the renderer writes, and nothing is left of what is none.
  expect(html.replaceAll(/<\/?[a-z0-9]+(?:\s+[a-z-]+="[^"]*")*\s*>/g, '')).not.toMatch(/[<>]/);
  for (const [, name, attributes] of tags) {
    expect(name).toMatch(/^(p|a|pre|code|div|table|thead|tbody|tr|th|td)$/);
    for (const [, attribute, value] of attributes!.matchAll(/([a-z-]+)="([^"]*)"/g)) {
      expect(attribute).toMatch(/^(href|rel|title|class|tabindex|role|aria-label)$/);
      if (attribute === 'href') expect(value).toMatch(/^https:\/\/(a|evil)\.example/);
    }
  }
});

test('what is nested without end, or made to be slow, is read', () => {
  for (const text of ['['.repeat(40_000), '*a '.repeat(15_000), '> '.repeat(20_000), '`'.repeat(49_999)])
    expect(markdownHtml(text).length).toBeGreaterThan(0);
});
