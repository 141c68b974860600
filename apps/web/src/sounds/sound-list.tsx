/** Sounds to look at and to listen to. */
import type { Artifact, Run } from '#libs/contracts';
import { useEffect, useMemo, useRef, useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { fileName, useWhole } from '../figures/files.js';
import { envelope, readWav, spectrogram, type Sound } from './sound.js';
import { Loaded } from '../ui/states.js';
import { themeColour, useTheme } from '../ui/colours.js';

const [WIDTH, WAVE_HEIGHT] = [480, 48];
/** About 32 ms, so that both a voice's pitch and its syllables can be told apart. */
const windowOf = ({ sampleRate }: Sound): number => 2 ** Math.max(5, Math.round(Math.log2(sampleRate * 0.032)));

/** Each with its course, its spectrogram and a play button. Nothing where there are none. */
export const SoundList = ({ run, sounds }: { run: Pick<Run, 'id'>; sounds: readonly Artifact[] }) =>
  sounds.length === 0 ? null : (
    <ul className="sounds">
      {sounds.map((file) => (
        <SoundItem
          key={file.id}
          name={`${file.name}${file.step === null ? '' : `, step ${file.step}`}`}
          url={client.artifactUrl(run.id, file.id)}
        />
      ))}
    </ul>
  );

function SoundItem({ name, url }: { name: string; url: string }) {
  const sound = useLive(
    ['sound', url],
    async () => {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`expected the sound ${name}, got HTTP ${answer.status}`);
      return readWav(await answer.arrayBuffer());
    },
    { live: false },
  );
  const player = useRef<HTMLAudioElement>(null);
  const [at, setAt] = useState(0);
  const [plays, setPlays] = useState(false);
  useEffect(() => {
    if (!plays) return;
    let timer = 0;
    const follow = () => {
      const { currentTime, duration } = player.current!;
      setAt(duration > 0 ? currentTime / duration : 0);
      timer = requestAnimationFrame(follow);
    };
    follow();
    return () => cancelAnimationFrame(timer);
  }, [plays]);
  const { element, menu } = useWhole(name, {
    name: fileName(name.replace('.wav', '')),
    drawn: () => stacked([...element.current!.querySelectorAll('canvas')]),
    rows: () => [
      ['second', 'sample'],
      ...Array.from(sound.data?.samples ?? [], (value, i) => [i / sound.data!.sampleRate, value]),
    ],
  });
  return (
    <li>
      <button
        aria-label={`${plays ? 'Stop' : 'Play'} ${name}`}
        onClick={() => {
          const element = player.current!;
          if (plays) element.pause();
          else void element.play().catch(() => setPlays(false));
        }}
      >
        {plays ? '◼' : '▶'}
      </button>
      <audio
        ref={player}
        src={url}
        preload="none"
        onPlay={() => setPlays(true)}
        onPause={() => setPlays(false)}
        onEnded={() => {
          setPlays(false);
          setAt(0);
        }}
      />
      <span className="name">{name}</span>
      <div className="sound whole" ref={element as React.RefObject<HTMLDivElement>}>
        <Loaded query={sound} lines={2}>
          {(data) => (
            <>
              <Wave sound={data} name={name} />
              <Frequencies sound={data} name={name} />
              <i className="now" style={{ left: `${100 * at}%` }} />
            </>
          )}
        </Loaded>
      </div>
      {menu}
    </li>
  );
}

/** What is drawn one over the other, as large as on print. */
function stacked(canvases: readonly HTMLCanvasElement[]): HTMLCanvasElement {
  const [width, height] = [2 * WIDTH, 4 * WAVE_HEIGHT];
  const all = Object.assign(document.createElement('canvas'), { width, height: canvases.length * height });
  const context = all.getContext('2d')!;
  context.fillStyle = themeColour('paper');
  context.fillRect(0, 0, width, all.height);
  context.imageSmoothingEnabled = false;
  canvases.forEach((canvas, i) => context.drawImage(canvas, 0, i * height, width, height));
  return all;
}

function Wave({ sound, name }: { sound: Sound; name: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  useEffect(() => {
    const context = canvas.current!.getContext('2d')!;
    context.clearRect(0, 0, WIDTH, WAVE_HEIGHT);
    context.fillStyle = themeColour('accent');
    const course = envelope(sound.samples, WIDTH);
    for (let x = 0; x < WIDTH; x++) {
      const [low, high] = [course[2 * x]!, course[2 * x + 1]!];
      context.fillRect(x, ((1 - high) / 2) * WAVE_HEIGHT, 1, Math.max(1, ((high - low) / 2) * WAVE_HEIGHT));
    }
  }, [sound, theme]);
  return (
    <canvas
      ref={canvas}
      width={WIDTH}
      height={WAVE_HEIGHT}
      role="img"
      aria-label={`Course of ${name}, ${(sound.samples.length / sound.sampleRate).toFixed(1)} s`}
    />
  );
}

/** Time to the right, low frequencies at the bottom. */
function Frequencies({ sound, name }: { sound: Sound; name: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { frames, bins, values } = useMemo(() => spectrogram(sound, windowOf(sound)), [sound]);
  useEffect(() => {
    const pixels = new ImageData(frames, bins);
    for (let frame = 0; frame < frames; frame++) {
      for (let bin = 0; bin < bins; bin++)
        pixels.data.set(heat(values[frame * bins + bin]!), 4 * ((bins - 1 - bin) * frames + frame));
    }
    canvas.current!.getContext('2d')!.putImageData(pixels, 0, 0);
  }, [frames, bins, values]);
  return (
    <canvas
      ref={canvas}
      width={frames}
      height={bins}
      className="frequencies"
      role="img"
      aria-label={`Spectrogram of ${name}, from 0 to ${(sound.sampleRate / 2000).toFixed(1)} kHz`}
    />
  );
}

/** From black over violet and orange to light yellow, as bright as the value. */
const heat = (value: number): [number, number, number, number] => [
  255 * Math.min(1, 1.6 * value),
  255 * value ** 1.7,
  255 * (value < 0.4 ? 1.4 * value : Math.max(0.15, 0.56 - 0.9 * (value - 0.4))),
  255,
];
