/** A picture of bands one over the other, with a word for each at its side. */
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
