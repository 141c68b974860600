/** Fifty thousand points at the speed of the graphics card, by deck.gl, which compiles shaders and no JavaScript: the content security policy allows no eval. */
import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core';
import { ScatterplotLayer } from '@deck.gl/layers';

export interface ScatterProps {
  /** [2N], about -1 to 1. */
  points: Float32Array;
  /** RGBA [4N]. */
  colours: Uint8Array;
  onHover(point: number | undefined, x: number, y: number): void;
  onPick(point: number): void;
}

export class Scatter {
  private readonly deck: Deck<OrthographicView>;
  private props: ScatterProps;
  private view: OrthographicViewState = { target: [0, 0, 0], zoom: 0 };
  private moved = false;
  private data: { points: Float32Array; colours: Uint8Array; length: number; attributes: Record<string, { value: Float32Array | Uint8Array; size: number; normalized?: boolean }> } | undefined;

  constructor(private readonly box: HTMLElement, props: ScatterProps) {
    this.props = props;
    this.deck = new Deck({
      parent: box as HTMLDivElement, views: new OrthographicView({ flipY: false }), controller: { dragRotate: false, inertia: 200 }, pickingRadius: 6, useDevicePixels: true,
      initialViewState: this.home(), layers: this.layers(),
      onViewStateChange: ({ viewState }) => { this.view = viewState; this.moved = true; this.draw(); },
      onHover: ({ index, x, y }) => this.props.onHover(index < 0 ? undefined : index, x, y),
      onClick: ({ index }) => { if (index >= 0) this.props.onPick(index); },
      getCursor: ({ isDragging, isHovering }) => (isDragging ? 'grabbing' : isHovering ? 'pointer' : 'grab'),
      onResize: () => { if (!this.moved) this.fit(); },
      onError: () => true,
    });
  }

  /** The whole map with a margin. */
  fit(): void {
    this.moved = false;
    this.deck.setProps({ initialViewState: this.home() });
    this.draw();
  }

  zoom(by: number): void {
    this.moved = true;
    this.view = { ...this.view, zoom: (this.view.zoom as number) + by };
    this.deck.setProps({ initialViewState: this.view });
    this.draw();
  }

  update(props: Partial<ScatterProps>): void {
    this.props = { ...this.props, ...props };
    this.draw();
  }

  /** From pixels of the box to the coordinates of the points. */
  unproject(x: number, y: number): [number, number] {
    const scale = 2 ** (this.view.zoom as number);
    const [cx = 0, cy = 0] = this.view.target ?? [];
    return [cx + (x - this.box.clientWidth / 2) / scale, cy - (y - this.box.clientHeight / 2) / scale];
  }

  destroy(): void { this.deck.finalize(); }

  private home(): OrthographicViewState {
    return this.view = { target: [0, 0, 0], zoom: Math.log2(Math.min(this.box.clientWidth, this.box.clientHeight) / 2.12 || 100), minZoom: 4, maxZoom: 20 };
  }

  private draw(): void { this.deck.setProps({ layers: this.layers() }); }

  private layers() {
    const { points, colours } = this.props;
    const count = points.length / 2;
    // The same object as long as nothing in it has changed: deck.gl uploads a new one.
    if (this.data?.points !== points || this.data.colours !== colours) this.data = { points, colours, length: count, attributes: { getPosition: { value: points, size: 2 }, getFillColor: { value: colours, size: 4, normalized: true } } };
    const home = Math.log2(Math.min(this.box.clientWidth, this.box.clientHeight) / 2.12 || 100);
    const radius = Math.max(1.1, Math.min(3.2, 180 / Math.sqrt(count))) * 2 ** (0.35 * ((this.view.zoom as number) - home));
    return [new ScatterplotLayer({
      id: 'points', data: this.data, getRadius: 1, radiusScale: radius, radiusUnits: 'pixels', radiusMaxPixels: 12, pickable: true, stroked: false, antialiasing: true,
    })];
  }
}
