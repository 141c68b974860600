/** A picture made of rows, with a word beside each row. */
export function Bands({ url, words, alt }: { url: string; words: readonly string[]; alt: string }) {
  return (
    <div className="bands">
      <span aria-hidden="true">
        {words.map((word, i) => (
          <small key={i}>{word}</small>
        ))}
      </span>
      <a href={url}>
        <img src={url} alt={alt} loading="lazy" />
      </a>
    </div>
  );
}
