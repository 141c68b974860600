/** Lists that a browser keeps for all pages of an address. */
import { Watched } from '../data/watched.js';

/** A list of which the newest `most` are kept, the newest first. What another page changes is changed here too. */
export class Kept<Item> extends Watched<readonly Item[]> {
  constructor(
    private readonly key: string,
    private readonly isItem: (value: unknown) => value is Item,
    private readonly most: number,
  ) {
    super([]);
    this.read();
    addEventListener('storage', (event) => {
      if (event.key === key) this.read();
    });
  }

  /** As it stands now, whatever another page has just done to it. */
  change(next: (items: readonly Item[]) => readonly Item[]): void {
    this.read();
    const items = next(this.get()).slice(0, this.most);
    try {
      localStorage.setItem(this.key, JSON.stringify(items));
    } catch {
      // A browser that keeps nothing still shows it for as long as the page is open.
    }
    this.set(items);
  }

  /** What is kept; what can't be read is none. */
  private read(): void {
    const text = localStorage.getItem(this.key);
    if (text === null) return;
    let kept: unknown = [];
    try {
      kept = JSON.parse(text);
    } catch {
      // As where there is none.
    }
    this.set(Array.isArray(kept) ? kept.filter(this.isItem) : []);
  }
}
