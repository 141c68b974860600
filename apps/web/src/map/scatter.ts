/**
 * Fifty thousand points at the speed of the graphics card, by deck.gl, which compiles shaders and no JavaScript: the
 * content security policy allows no eval.
 */
import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core';
import { LineLayer, ScatterplotLayer } from '@deck.gl/layers';
import { PointGrid } from './latent.js';
import type { MapShown } from './map-picture.js';

export interface ScatterProps {
  /** Coordinates [2N], in about [-1, 1]. */
  points: Float32Array;
  /** A colour of each point, RGBA [4N]. */
  colours: Uint8Array;
  /** Ends of short lines, [x, y, x, y] each: contours that lie over the points. */
  lines?: Float32Array | undefined;
  onHover(point: number | undefined, x: number, y: number): void;
  onPick(point: number): void;
}

let draws: boolean | undefined;

/** Whether this browser draws WebGL, without which there is no scatter. Asked once: contexts are few. */
export function drawsWebGl(): boolean {
  if (draws === undefined) {
    const context = document.createElement('canvas').getContext('webgl2');
    draws = context !== null;
    context?.getExtension('WEBGL_lose_context')?.loseContext();
  }
  return draws;
}

/** Pixels from a point within which the pointer means it, and that the pointer may move during a click. */
const REACH = 8;
const CLICK = 4;
/** Pixels that a point has at most, however near one looks. */
const MOST_RADIUS = 12;
const LINE_COLOUR = [128, 134, 148, 230] as const;

const contours = (lines: Float32Array) =>
  new LineLayer({
    id: 'contours',
    data: {
      length: lines.length / 4,
      attributes: {
        getSourcePosition: { value: lines, size: 2, stride: 16 },
        getTargetPosition: { value: lines, size: 2, stride: 16, offset: 8 },
      },
    },
    getColor: [...LINE_COLOUR],
    getWidth: 1.25,
    widthUnits: 'pixels',
    pickable: false,
  });

export class Scatter {
  private readonly deck: Deck<OrthographicView>;
  private props: ScatterProps;
  private view: OrthographicViewState = { target: [0, 0, 0], zoom: 0 };
  private moved = false;
  /**
   * Finds the point under the pointer, so that nothing is read back from the graphics card. Made of the points drawn,
   * when the pointer first moves over them.
   */
  private grid: { of: Float32Array; grid: PointGrid } | undefined;
  private hovering = false;
  private readonly listening = new AbortController();
  private readonly followers = new Set<() => void>();
  private data:
    | {
        points: Float32Array;
        colours: Uint8Array;
        length: number;
        attributes: Record<string, { value: Float32Array | Uint8Array; size: number; normalized?: boolean }>;
      }
    | undefined;

  constructor(
    private readonly box: HTMLElement,
    props: ScatterProps,
  ) {
    this.props = props;
    this.deck = new Deck({
      parent: box as HTMLDivElement,
      views: new OrthographicView({ flipY: false }),
      controller: { dragRotate: false, inertia: 200 },
      useDevicePixels: true,
      initialViewState: this.home(),
      layers: this.layers(),
      onViewStateChange: ({ viewState }) => {
        this.view = viewState;
        this.moved = true;
        this.draw();
      },
      getCursor: ({ isDragging }) => {
        if (isDragging) return 'grabbing';
        return this.hovering ? 'pointer' : 'grab';
      },
      onResize: () => {
        if (!this.moved) this.fit();
      },
      onError: () => true,
    });
    this.listen();
  }

  private listen(): void {
    const {
      box,
      listening: { signal },
    } = this;
    const at = ({ clientX, clientY }: PointerEvent): [number, number] => {
      const { left, top } = box.getBoundingClientRect();
      return [clientX - left, clientY - top];
    };
    let pressed: [number, number] | undefined;
    box.addEventListener(
      'pointermove',
      (event) => {
        const [x, y] = at(event);
        const point = event.buttons === 0 ? this.pointAt(x, y) : undefined;
        this.hovering = point !== undefined;
        this.props.onHover(point, x, y);
      },
      { signal },
    );
    box.addEventListener(
      'pointerleave',
      () => {
        this.hovering = false;
        this.props.onHover(undefined, 0, 0);
      },
      { signal },
    );
    // Captured before deck.gl's own listener, which may stop the event.
    box.addEventListener(
      'pointerdown',
      (event) => {
        pressed = event.button === 0 ? at(event) : undefined;
      },
      { signal, capture: true },
    );
    box.addEventListener(
      'pointerup',
      (event) => {
        const [x, y] = at(event);
        if (pressed && Math.hypot(x - pressed[0], y - pressed[1]) <= CLICK) {
          const point = this.pointAt(x, y);
          if (point !== undefined) this.props.onPick(point);
        }
        pressed = undefined;
      },
      { signal, capture: true },
    );
  }

  private pointAt(x: number, y: number): number | undefined {
    const { points } = this.props;
    if (this.grid?.of !== points) this.grid = { of: points, grid: new PointGrid(points) };
    return this.grid.grid.nearest(...this.unproject(x, y), REACH / 2 ** (this.view.zoom as number));
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

  /** Coordinates of the points at a place in the box, in pixels. */
  unproject(x: number, y: number): [number, number] {
    const scale = 2 ** (this.view.zoom as number);
    const [cx = 0, cy = 0] = this.view.target ?? [];
    return [cx + (x - this.box.clientWidth / 2) / scale, cy - (y - this.box.clientHeight / 2) / scale];
  }

  /** Place of coordinates of the map in the box, in pixels. */
  placeOf(x: number, y: number): [number, number] {
    const scale = 2 ** (this.view.zoom as number);
    const [cx = 0, cy = 0] = this.view.target ?? [];
    return [this.box.clientWidth / 2 + (x - cx) * scale, this.box.clientHeight / 2 - (y - cy) * scale];
  }

  /** What is in view, for a picture of it. */
  shown(): MapShown {
    const { points, colours } = this.props;
    return {
      width: this.box.clientWidth,
      height: this.box.clientHeight,
      radius: this.radius(),
      count: points.length / 2,
      colours,
      place: (point) => this.placeOf(points[2 * point]!, points[2 * point + 1]!),
    };
  }

  /** Calls `moved` whenever the view has another place or size. Returns what ends that. */
  onMove(moved: () => void): () => void {
    this.followers.add(moved);
    return () => this.followers.delete(moved);
  }

  destroy(): void {
    this.listening.abort();
    this.deck.finalize();
  }

  private home(): OrthographicViewState {
    return (this.view = {
      target: [0, 0, 0],
      zoom: Math.log2(Math.min(this.box.clientWidth, this.box.clientHeight) / 2.12 || 100),
      minZoom: 4,
      maxZoom: 20,
    });
  }

  private draw(): void {
    this.deck.setProps({ layers: this.layers() });
    for (const moved of this.followers) moved();
  }

  /** Radius of a point in pixels: less where there are many, more the nearer one looks. */
  private radius(): number {
    const home = Math.log2(Math.min(this.box.clientWidth, this.box.clientHeight) / 2.12 || 100);
    const usual = Math.max(1.1, Math.min(3.2, 180 / Math.sqrt(this.props.points.length / 2)));
    return Math.min(MOST_RADIUS, usual * 2 ** (0.35 * ((this.view.zoom as number) - home)));
  }

  private layers() {
    const { points, colours, lines } = this.props;
    const count = points.length / 2;
    // The same object as long as nothing in it has changed: deck.gl uploads a new one.
    if (this.data?.points !== points || this.data.colours !== colours)
      this.data = {
        points,
        colours,
        length: count,
        attributes: {
          getPosition: { value: points, size: 2 },
          getFillColor: { value: colours, size: 4, normalized: true },
        },
      };
    return [
      new ScatterplotLayer({
        id: 'points',
        data: this.data,
        getRadius: 1,
        radiusScale: this.radius(),
        radiusUnits: 'pixels',
        radiusMaxPixels: MOST_RADIUS,
        pickable: false,
        stroked: false,
        antialiasing: true,
      }),
      ...(lines ? [contours(lines)] : []),
    ];
  }
}
