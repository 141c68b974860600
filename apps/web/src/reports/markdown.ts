/** Markdown of a report as HTML that holds nothing but text: no HTML of its writer, no pictures, no other schemes. */
import MarkdownIt from 'markdown-it';

/** Where a link may lead: pages, letters, and places of this dashboard. What is no link stays text. */
const LINKS = /^(?:https?:\/\/|mailto:|#\/)/i;
const DEEPEST_HEADING = 6;

const reader = new MarkdownIt({ html: false, linkify: true });
// A picture of elsewhere would tell elsewhere who reads the report, and be missing from a file that opens offline.
reader.disable('image');
reader.validateLink = (url) => LINKS.test(url.trim());
reader.core.ruler.push('headings-below-the-title', ({ tokens }) => {
  for (const token of tokens)
    if (token.type === 'heading_open' || token.type === 'heading_close')
      token.tag = `h${Math.min(DEEPEST_HEADING, Number(token.tag.slice(1)) + 1)}`;
});
reader.renderer.rules['table_open'] = () => '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>';
reader.renderer.rules['table_close'] = () => '</table></div>';
reader.renderer.rules['link_open'] = (tokens, at, options, _, renderer) => {
  tokens[at]!.attrSet('rel', 'noopener noreferrer');
  return renderer.renderToken(tokens, at, options);
};

/** HTML that is safe to put into a page: headings begin at the second level, below the title. */
export const markdownHtml = (text: string): string => reader.render(text);
