// What the dashboard's scripts name in their JSDoc, and the types of its calls: all of it follows from openapi/vgpo.json.
import type { ComponentChildren } from 'preact';
import type uPlot from 'uplot';
import type { components, paths } from './openapi';

type Verb = 'get' | 'post' | 'patch' | 'delete';
type Operation<V extends Verb, P extends keyof paths> = paths[P][V];
type PathOf<V extends Verb> = {
  [P in keyof paths]: paths[P] extends Record<V, { responses: unknown }> ? P : never;
}[keyof paths];

type Content<T> = T extends { content: { 'application/json': infer Body } } ? Body : never;
/** The JSON of a successful answer; null where there is none. */
type Answer<V extends Verb, P extends keyof paths> =
  Operation<V, P> extends { responses: infer R }
    ? [Content<R[keyof R & (200 | 201 | 202)]>] extends [never]
      ? null
      : Content<R[keyof R & (200 | 201 | 202)]>
    : never;
/** What a call sends; nothing where it takes no body, or need not have one. */
type Body<V extends Verb, P extends keyof paths> =
  Operation<V, P> extends { requestBody: infer B } ? Content<B> : Sent<Operation<V, P>> | undefined;
type Sent<O> = O extends { requestBody?: infer B } ? Content<Exclude<B, undefined>> : never;

type Settings = { signal?: AbortSignal | undefined; headers?: Record<string, string> };
type Parts<V extends Verb, P extends keyof paths> =
  Operation<V, P> extends { parameters: infer A } ? Pick<A, keyof A & ('path' | 'query')> : {};
type Call<V extends Verb, P extends keyof paths> = Parts<V, P> & Settings;
/** A call's last argument; it may be left out where nothing in it is required. */
type Last<C> = {} extends C ? [call?: C] : [call: C];

type Entry<P extends keyof paths> = Answer<'get', P> extends { data: (infer T)[]; has_more: boolean } ? T : never;
type ListPath = { [P in PathOf<'get'>]: [Entry<P>] extends [never] ? never : P }[PathOf<'get'>];

declare global {
  /** Schemas of the API: `Api['Run']`. */
  type Api = components['schemas'];

  interface Client {
    get<P extends PathOf<'get'>>(path: P, ...call: Last<Call<'get', P>>): Promise<Answer<'get', P>>;
    post<P extends PathOf<'post'>>(
      path: P,
      body: Body<'post', P>,
      ...call: Last<Call<'post', P>>
    ): Promise<Answer<'post', P>>;
    patch<P extends PathOf<'patch'>>(
      path: P,
      body: Body<'patch', P>,
      ...call: Last<Call<'patch', P>>
    ): Promise<Answer<'patch', P>>;
    remove<P extends PathOf<'delete'>>(path: P, ...call: Last<Call<'delete', P>>): Promise<Answer<'delete', P>>;
    list<P extends ListPath>(path: P, ...call: Last<Call<'get', P> & { most?: number }>): Promise<Entry<P>[]>;
    address<P extends PathOf<'get'>>(path: P, ...call: Last<Parts<'get', P>>): string;
    can<V extends Verb>(verb: V, path: PathOf<V>): boolean;
  }

  /** The data of events by kind (src/domain/event.rs). */
  interface EventData {
    job: Api['JobChanged'];
    'job.waiting': Api['JobWaiting'];
    'job.updated': Api['JobUpdated'];
    'run.deleted': Api['RunDeleted'];
    metrics: Api['MetricsEvent'];
    samples: Api['SamplesEvent'];
    checkpoint: Api['CheckpointEvent'];
    'checkpoint.deleted': Api['CheckpointEvent'];
    'checkpoint.damaged': Api['CheckpointEvent'];
    rewind: Api['RewindEvent'];
    dataset: Api['DatasetChanged'];
    model: Api['ModelChanged'];
    'worker.crashed': Api['CrashEvent'];
    alert: Api['AlertEvent'];
  }
  type EventOf<K, D> = Omit<Api['Event'], 'kind' | 'data'> & { kind: K; data: D };
  /** An event of the live stream; trainers have warnings of their own. */
  type LiveEvent =
    | { [K in keyof EventData]: EventOf<K, EventData[K]> }[keyof EventData]
    | EventOf<`warning.${string}`, { detail?: string; message?: string }>;

  /** What a page is given: the parts of its address and the values behind the question mark. */
  type PageProps = { parts: string[]; query: Record<string, string> };

  /** What a chart's points stand on. */
  type XKind = 'step' | 'time' | 'tokens' | 'samples' | 'progress' | 'token';
  type Numbers = (number | null)[];
  /** A series of a chart; `lo` and `hi` make a band. */
  type Series = {
    label: string;
    colour: string;
    x: number[];
    y: Numbers;
    lo?: Numbers;
    hi?: Numbers;
    dash?: number[] | undefined;
    title?: string;
  };
  /** A point of a run's series, from the server's buckets or from the live stream. */
  type Point = Api['MetricPoint'];
  type PointSeries = Omit<Api['MetricSeries'], 'run_id'>;
  /** What reads series by key: those of a run, or those with finer points laid over them. */
  type SeriesReader = {
    map: Map<string, PointSeries>;
    get(key: string): PointSeries | undefined;
    has(key: string): boolean;
    last(key: string): number | null;
    matching(pattern: RegExp): string[];
  };

  type UPlot = uPlot;
  type AlignedData = uPlot.AlignedData;
  /** The value of a series at a place of the aligned data, or the newest one. */
  type ReadValue = (index: number, place: number | null | undefined) => number | null | undefined;
  /** A point of a small series. */
  type Spark = [step: number, value: number | null, count: number];
  /** What a model's folder says of it (`vgpo_card.json`); all of it may be missing. */
  type Card = {
    title?: string;
    task?: string;
    limits?: string;
    license?: string;
    examples?: string[];
    accepts?: { image_sizes?: [number, number][] };
  };

  type Grid = { rows: number; cols: number; values: number[] };
  type ColourMap = 'viridis' | 'inferno' | 'diverging';
  type Child = ComponentChildren;
  type Options = [value: string, text: string][];
  type OptionGroup = { label: string; options: Options };
  /** A state of a job, a worker, a data set or a model, or a verdict. */
  type BadgeState = Api['JobState'] | Api['WorkerState'] | Api['DatasetState'] | Api['ModelState'] | 'right' | 'wrong';
  /** What a field hands to its input, so that labels and complaints belong to it. */
  type FieldAttributes = { id: string; 'aria-describedby': string; 'aria-invalid': boolean };
}
