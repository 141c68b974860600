import { Picture } from './picture.js';

/** A picture made of rows, with a word beside each row. */
export const Bands = ({ url, words, alt }: { url: string; words: readonly string[]; alt: string }) => (
  <Picture url={url} alt={alt} frame="bands">
    <span aria-hidden="true">
      {words.map((word, i) => (
        <small key={i}>{word}</small>
      ))}
    </span>
  </Picture>
);
