/** Where the parts of a figure lead, in words: for the keyboard, and for those who don't see it. */
export function LeadingWords<Word extends string>({
  before,
  words,
  linkOf,
  labelOf = (word) => word,
}: {
  before: string;
  words: readonly Word[];
  linkOf: (word: Word) => string | undefined;
  labelOf?: (word: Word) => string;
}) {
  const links = words.flatMap((word) => {
    const href = linkOf(word);
    return href === undefined ? [] : [{ word, href }];
  });
  if (links.length === 0) return null;
  return (
    <>
      {before}{' '}
      {links.map(({ word, href }, i) => (
        <span key={word}>
          {i > 0 && ', '}
          <a href={href}>{labelOf(word)}</a>
        </span>
      ))}
      .
    </>
  );
}
