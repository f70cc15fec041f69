//! The engine inside this process: one compute thread per loaded model, which owns it.

mod admission;
mod decode;
mod decode_batches;
mod job;
mod output;
mod parallel;
mod prefill;
mod prefill_queue;
mod prefix_cache;
mod prompt_key;
mod running;
mod score;
mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tracing::Instrument as _;

use super::ServingError;
use super::answer::ScoreAnswer;
use super::attention_capture::CapturePlan;
use super::engine::{CancelFlag, Engine, GenerateStream, LoadedModel, ModelRef};
use super::model::ServedModel;
use super::prepare::{PreparedPrompt, prepare_generate, prepare_score};
use super::request::{GenerateRequest, ScoreRequest};
use super::scored;
use super::usage::{Held, Totals};
use crate::clock::{Stopwatch, random_seed};
use crate::config::serving::EngineLimits;
use crate::domain::device::DeviceName;
use crate::domain::engine::EngineUsage;
use crate::domain::weights::WeightFormat;
use admission::{Arrivals, PreprocessPool, TokenBudget, TokenClaim, pause};
use job::{GenerateJob, Job, Sampling, ScoreJob};
use output::OutputProcessor;

pub(super) use job::{Ablation, RawScore};

/// How a model is loaded; tests may replace it.
pub type Loader = Arc<dyn Fn(&ModelRef) -> Result<ServedModel, ServingError> + Send + Sync>;

/// The engine inside this process.
pub struct LocalEngine {
    limits: EngineLimits,
    loader: Loader,
    preprocess_pool: PreprocessPool,
    /// Least recently used first.
    slots: Mutex<Vec<Slot>>,
    totals: Arc<Totals>,
}

/// A model that is in memory or being loaded.
#[derive(Clone)]
struct Slot {
    model: ModelRef,
    loaded: Arc<OnceCell<Arc<Loaded>>>,
}

/// A model in memory with its compute thread, which ends when the last `Loaded` is dropped.
struct Loaded {
    served: Arc<ServedModel>,
    queue: SyncSender<Job>,
    arrivals: Arc<Arrivals>,
    held: Arc<Held>,
    totals: Arc<Totals>,
    limit: usize,
    tokens: TokenBudget,
}

impl LocalEngine {
    /// An engine on the CPU.
    pub fn new(limits: EngineLimits) -> Self {
        Self::on(DeviceName::CPU, WeightFormat::Native, limits)
    }

    /// An engine on a device, which is opened with the first model; weights are kept in `format`.
    pub fn on(device: DeviceName, format: WeightFormat, limits: EngineLimits) -> Self {
        Self::with_loader(limits, Arc::new(move |model| ServedModel::open(model, device, format)))
    }

    /// An engine with its own loader.
    pub fn with_loader(limits: EngineLimits, loader: Loader) -> Self {
        Self {
            preprocess_pool: PreprocessPool::new(&limits),
            limits,
            loader,
            slots: Mutex::new(Vec::new()),
            totals: Arc::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock()
    }

    /// The model, loaded if needed; the least recently used model is unloaded to make room.
    async fn loaded_model(&self, model: &ModelRef) -> Result<Arc<Loaded>, ServingError> {
        let slot = {
            let mut slots = self.slots();
            let known = slots.iter().position(|slot| slot.model == *model).map(|at| slots.remove(at));
            let slot = known.unwrap_or_else(|| Slot { model: model.clone(), loaded: Arc::default() });
            slots.push(slot.clone());
            let surplus = slots.len().saturating_sub(self.limits.loaded_models.max(1));
            slots.drain(..surplus);
            slot
        };
        let loaded = slot.loaded.get_or_try_init(|| self.read_model(model)).await;
        if loaded.is_err() {
            self.slots().retain(|other| !Arc::ptr_eq(&other.loaded, &slot.loaded));
        }
        loaded.cloned()
    }

    async fn read_model(&self, model: &ModelRef) -> Result<Arc<Loaded>, ServingError> {
        let (loader, wanted) = (Arc::clone(&self.loader), model.clone());
        let served = Arc::new(blocking(move || loader(&wanted)).await?);
        let limit = self.limits.queued_requests.max(1);
        let (queue, jobs) = sync_channel(limit);
        let arrivals = Arc::<Arrivals>::default();
        let held = Arc::<Held>::default();
        let (thread_model, thread_arrivals) = (Arc::clone(&served), Arc::clone(&arrivals));
        let watched = thread::Watched { totals: Arc::clone(&self.totals), held: Arc::clone(&held) };
        let limits = self.limits;
        std::thread::Builder::new()
            .name(format!("engine {}", model.id))
            .spawn(move || thread::run(&thread_model, &jobs, &thread_arrivals, &limits, &watched))
            .map_err(|e| ServingError::Engine(format!("no compute thread: {e}")))?;
        tracing::info!(model = %model.id, folder = %model.dir.display(), "model loaded");
        let tokens = TokenBudget::new(limits.queued_tokens);
        Ok(Arc::new(Loaded { served, queue, arrivals, held, totals: Arc::clone(&self.totals), limit, tokens }))
    }
}

impl Loaded {
    fn full(&self) -> ServingError {
        let (waiting, working) = (self.arrivals.waiting(), self.held.rows());
        // Waiting requests have their share of the tokens in flight; once those are processed, the queue is empty.
        let share = waiting as f64 / (waiting + working).max(1) as f64;
        let retry_after = pause(self.tokens.taken() as f64 * share, self.totals.pace());
        ServingError::Overloaded { model: self.served.id.clone(), waiting: self.limit, retry_after }
    }

    /// A request's part of the token budget.
    fn claim(&self, tokens: usize) -> Result<TokenClaim, ServingError> {
        self.tokens.claim(&self.served.id, tokens, self.totals.pace())
    }

    /// Rejects a request before its images are decoded if the queue is already full.
    fn check_room(&self) -> Result<(), ServingError> {
        if self.arrivals.waiting() < self.limit { Ok(()) } else { Err(self.full()) }
    }

    fn submit(&self, job: Job) -> Result<(), ServingError> {
        self.arrivals.enter();
        self.queue.try_send(job).map_err(|error| {
            self.arrivals.leave();
            match error {
                TrySendError::Full(_) => self.full(),
                TrySendError::Disconnected(_) => ServingError::Stopped,
            }
        })
    }

    fn describe(&self) -> LoadedModel {
        let info = self.served.model.info();
        LoadedModel {
            id: self.served.id.clone(),
            family: info.family.clone(),
            parameters: info.parameters,
            max_positions: info.max_positions,
            queued_requests: self.arrivals.waiting(),
            layers: info.layers,
            attention_layers: info.attention_layers.clone(),
        }
    }
}

#[async_trait]
impl Engine for LocalEngine {
    async fn generate(&self, model: &ModelRef, request: GenerateRequest) -> Result<GenerateStream, ServingError> {
        let loaded = self.loaded_model(model).await?;
        let (served, limits) = (Arc::clone(&loaded.served), self.limits);
        loaded.check_room()?;
        let pending = loaded.arrivals.announce();
        let permit = self.preprocess_pool.acquire(&model.id).await?;
        let (request, prompt, length) = blocking(move || {
            let _permit = permit;
            let (prompt, length) = prepare_generate(&request, &served, &limits)?;
            Ok((request, Arc::new(prompt), length))
        })
        .await?;
        let claim = loaded.claim(prompt.len() + request.n * length)?;
        let seed = request.seed.unwrap_or_else(random_seed);
        let (raw, raw_events) = mpsc::unbounded_channel();
        let (events, answers) = mpsc::unbounded_channel();
        let cancelled = CancelFlag::default();
        let stream = GenerateStream::new(answers, cancelled.clone());
        let prompt_tokens = prompt.len();
        let output = OutputProcessor::new(Arc::clone(&loaded.served), Arc::clone(&prompt), &request, seed);
        let job = generate_job((&request, length), prompt, seed, &loaded.served, raw, cancelled, claim);
        loaded.submit(Job::Generate(Box::new(job)))?;
        drop(pending);
        output.start(raw_events, events, generation_span(&model.id, prompt_tokens));
        Ok(stream)
    }

    async fn score(&self, model: &ModelRef, request: ScoreRequest) -> Result<ScoreAnswer, ServingError> {
        let loaded = self.loaded_model(model).await?;
        let (served, limits) = (Arc::clone(&loaded.served), self.limits);
        loaded.check_room()?;
        let permit = self.preprocess_pool.acquire(&model.id).await?;
        let (finish, prompt, responses) = blocking(move || {
            let _permit = permit;
            let finish = scored::Finish::new(&request)?;
            let (prompt, responses) = prepare_score(&request, &served, &limits)?;
            Ok((finish, Arc::new(prompt), responses))
        })
        .await?;
        let (result, scores) = oneshot::channel();
        let plan = CapturePlan::new(finish.attention(), &loaded.served.model.info().attention_layers);
        let job = ScoreJob {
            prompt: Arc::clone(&prompt),
            responses: responses.clone(),
            plan,
            ablation: finish.ablation(),
            // Responses are scored one after the other.
            claim: loaded.claim(prompt.len() + responses.iter().map(Vec::len).max().unwrap_or(0))?,
            result,
        };
        let span = score_span(&model.id, prompt.len(), &responses);
        loaded.submit(Job::Score(Box::new(job)))?;
        let scores = scores.instrument(span).await.map_err(|_| ServingError::Stopped)??;
        let served = Arc::clone(&loaded.served);
        blocking(move || finish.answer(&served, &prompt, &responses, scores)).await
    }

    async fn load(&self, model: &ModelRef) -> Result<LoadedModel, ServingError> {
        Ok(self.loaded_model(model).await?.describe())
    }

    async fn unload(&self, id: &str) -> bool {
        let mut slots = self.slots();
        let before = slots.len();
        slots.retain(|slot| slot.model.id != id);
        slots.len() < before
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        self.slots().iter().rev().filter_map(|slot| slot.loaded.get()).map(|loaded| loaded.describe()).collect()
    }

    fn usage(&self) -> EngineUsage {
        let slots = self.slots();
        let loaded = slots.iter().filter_map(|slot| slot.loaded.get());
        self.totals.with(loaded.map(|l| l.held.usage(&l.served.id, l.arrivals.waiting())).collect())
    }
}

/// The span of a generation, from its acceptance to its last token.
fn generation_span(model: &str, prompt_tokens: usize) -> tracing::Span {
    use tracing::field::Empty;
    tracing::info_span!(
        "engine",
        model,
        prompt_tokens = prompt_tokens as i64,
        queue_seconds = Empty,
        prefill_seconds = Empty,
        decode_seconds = Empty
    )
}

/// The span of a score request, from its acceptance to the last score.
fn score_span(model: &str, prompt_tokens: usize, responses: &[Vec<u32>]) -> tracing::Span {
    // Signed, because unsigned numbers are exported as strings.
    let response_tokens = responses.iter().map(Vec::len).sum::<usize>() as i64;
    let (prompt_tokens, responses) = (prompt_tokens as i64, responses.len() as i64);
    tracing::info_span!("engine", model, prompt_tokens, responses, response_tokens)
}

fn generate_job(
    (request, max_new_tokens): (&GenerateRequest, usize),
    prompt: Arc<PreparedPrompt>,
    seed: u64,
    served: &ServedModel,
    events: mpsc::UnboundedSender<job::RawEvent>,
    cancelled: CancelFlag,
    claim: TokenClaim,
) -> GenerateJob {
    GenerateJob {
        prompt,
        sampling: Sampling {
            max_new_tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            seed,
            stop: request.stop.clone(),
            choices: request.n,
            top_logprobs: request.logprobs,
            alone: request.deterministic,
        },
        plan: CapturePlan::new(&request.attention, &served.model.info().attention_layers),
        events,
        cancelled,
        claim: Some(claim),
        waiting: Stopwatch::start(),
    }
}

/// Runs work that takes milliseconds on a blocking thread; a panic in it only fails this request.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServingError> + Send + 'static,
) -> Result<T, ServingError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(ServingError::Engine(format!("preparing the request: {error}"))))
}

/// Turns a panic into an error of the affected requests; the model itself keeps no state between jobs.
fn guarded<T>(work: impl FnOnce() -> Result<T, ServingError>) -> Result<T, ServingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(ServingError::Engine(text.unwrap_or_else(|| "it panicked".to_owned())))
    })
}
