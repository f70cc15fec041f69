//! The engine over several servers: publishes weights to all of them, and spreads a step's prompts by tokens in flight.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, future};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::exchange::{Fault, Http};
use super::folder::Folder;
use super::protocol::{Identity, Peer, Protocol, Version};
use super::question::{Question, data_urls};
use super::server::{Has, Server};
use crate::train::engine::{EngineSetup, RolloutEngine, Stop, TrainedAdapters};
use crate::train::group::Sampled;
use crate::train::publication::Publication;
use crate::train::rollout::{Rollout, RolloutSettings};
use crate::train::source::Prompt;
use crate::train::{EngineError, TrainError};

/// Pause between two looks at whether to stop, and at whether a server has rested.
const LOOK: Duration = Duration::from_millis(100);
/// How often one prompt is asked before the attempt is given up.
const MOST_TRIES: u32 = 12;
/// What the end of an attempt may take on each server.
const GOODBYE: Duration = Duration::from_secs(5);
/// The name of weights that were never replaced.
const UNTOUCHED: [&str; 2] = ["", "default"];

/// Samples on servers.
pub(super) struct Sampler {
    setup: EngineSetup,
    protocol: Box<dyn Protocol>,
    http: Http,
    servers: Vec<Server>,
    folder: Folder,
    /// Are adapters sent alone?
    adapters: bool,
    /// Adapters that a server keeps: rollouts in flight may still use older ones.
    keep: usize,
    published: Mutex<Option<Arc<Published>>>,
    batches: AtomicU64,
    /// Seconds for which no server answered, since they were asked for.
    waited: Mutex<f64>,
    runtime: Option<Runtime>,
}

/// The weights that sample.
#[derive(Debug)]
struct Published {
    version: Version,
    dir: PathBuf,
}

/// A batch of prompts that is being answered.
struct Batch<'a> {
    number: u64,
    prompts: &'a [Prompt],
    settings: &'a RolloutSettings,
    published: &'a Published,
}

impl Sampler {
    pub(super) fn open(setup: EngineSetup, protocol: Box<dyn Protocol>, key: &str) -> Result<Self, EngineError> {
        let spec = &setup.spec.rollout.engine;
        let setting = |field: &'static str, problem: &str| EngineError::Setting { field, problem: problem.to_owned() };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if setup.attempt.is_empty() || !setup.attempt.chars().all(plain) {
            return Err(EngineError::Folder(format!("`{}` cannot name a folder", setup.attempt)));
        }
        let adapters = spec.sends_adapters(setup.adapters == TrainedAdapters::Decoder);
        if adapters && setup.adapters == TrainedAdapters::Vision {
            let problem = "it is \"adapter\", but servers do not apply adapters to the vision tower: set it to \
                           \"weights\", or `train.freeze_vision` to true";
            return Err(setting("sync", problem));
        }
        let keep = spec.staleness as usize + 2;
        let shared = spec.shared_dir.as_deref().ok_or_else(|| setting("shared_dir", "it is required"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self {
            protocol,
            http: Http::new(key, Duration::from_secs_f64(spec.timeout_seconds)),
            servers: spec.urls.iter().flatten().map(|url| Server::new(url)).collect(),
            folder: Folder::create(shared, &setup.attempt, keep)?,
            adapters,
            keep,
            published: Mutex::default(),
            batches: AtomicU64::new(0),
            waited: Mutex::default(),
            runtime: Some(runtime.map_err(|error| EngineError::Unreachable(error.to_string()))?),
            setup,
        })
    }

    fn runtime(&self) -> Result<&Runtime, EngineError> {
        self.runtime.as_ref().ok_or(EngineError::Stopped)
    }

    fn peer<'a>(&'a self, server: &'a Server) -> Peer<'a> {
        Peer { http: &self.http, url: &server.url }
    }

    /// Sees to it that a server has the published weights, and says what else it is.
    async fn ready(&self, server: &Server, published: &Published, batch: u64) -> Result<Identity, Fault> {
        let mut has = server.has.lock().await;
        let identity = if let Some(identity) = &has.identity {
            identity.clone()
        } else {
            let spec = &self.setup.spec.rollout;
            let wanted = spec.engine.model.as_deref();
            let found = self.protocol.identify(self.peer(server), wanted, spec.temperature).await?;
            has.identity.insert(found).clone()
        };
        if self.adapters {
            self.bring_adapter(server, &mut has, &identity, published).await?;
        } else if has.checked != batch || has.weights.as_ref() != Some(&published.version.name) {
            self.bring_weights(server, &mut has, published).await?;
            has.checked = batch;
        }
        Ok(identity)
    }

    async fn bring_adapter(
        &self,
        server: &Server,
        has: &mut Has,
        identity: &Identity,
        published: &Published,
    ) -> Result<(), Fault> {
        let name = &published.version.name;
        let known = has.adapters.contains(name);
        if known && !has.unsure {
            return Ok(());
        }
        let peer = self.peer(server);
        self.protocol.load_adapter(peer, identity, &published.version, &published.dir).await?;
        has.unsure = false;
        if !known {
            has.adapters.push(name.clone());
        }
        let surplus = has.adapters.len().saturating_sub(self.keep);
        for old in has.adapters.drain(..surplus) {
            if let Err(fault) = self.protocol.unload_adapter(peer, &old).await {
                tracing::warn!(server = %server.url, adapter = %old, ?fault, "a server did not unload an adapter");
            }
        }
        Ok(())
    }

    /// The server says which weights it has before every batch: it may have been started anew, or serve another job.
    async fn bring_weights(&self, server: &Server, has: &mut Has, published: &Published) -> Result<(), Fault> {
        let (peer, wanted) = (self.peer(server), &published.version.name);
        let version = |found: String| {
            Fault::Final(EngineError::Version { url: server.url.clone(), wanted: wanted.clone(), found })
        };
        if has.weights.as_ref() == Some(wanted) {
            let found = self.protocol.weight_version(peer).await?;
            if found == *wanted {
                return Ok(());
            }
            if !UNTOUCHED.contains(&found.as_str()) && !found.starts_with(&self.setup.attempt) {
                return Err(version(found));
            }
        }
        let loaded = {
            let _alone = server.gate.write().await;
            has.weights = None;
            self.protocol.load_weights(peer, &published.version, &published.dir).await
        };
        loaded?;
        let found = self.protocol.weight_version(peer).await?;
        if found != *wanted {
            return Err(version(found));
        }
        has.weights = Some(found);
        Ok(())
    }

    /// Asks one server for the responses to one prompt.
    async fn answer(&self, server: &Server, prompt: &Prompt, batch: &Batch<'_>) -> Result<Vec<Rollout>, Fault> {
        let identity = self.ready(server, batch.published, batch.number).await?;
        let _passage = server.gate.read().await;
        let name = &batch.published.version.name;
        let model = if self.adapters { name } else { &identity.model };
        let images = data_urls(prompt).map_err(Fault::Final)?;
        let question = Question { prompt, setup: &self.setup, settings: batch.settings, model, images: &images };
        let body = self.protocol.body(&question, &identity);
        let bytes = match self.peer(server).post("/v1/chat/completions", &body).await {
            // It was started anew, or has dropped the adapter: what it has is looked at again.
            Err(Fault::Unknown(problem)) => return Err(Fault::Passing(problem)),
            answered => answered.map_err(|fault| fault.into_final(&server.url))?,
        };
        let reply = self.protocol.read(&bytes)?;
        if self.adapters && reply.model != *name {
            let (url, wanted, found) = (server.url.clone(), name.clone(), reply.model);
            return Err(Fault::Final(EngineError::Version { url, wanted, found }));
        }
        reply.rollouts(&question, &server.url)
    }

    /// The same, counted among what the server has to do; a failure lets it rest.
    fn counted<'a>(
        &'a self,
        server: &'a Server,
        index: usize,
        batch: &'a Batch<'a>,
    ) -> impl Future<Output = (usize, Result<Vec<Rollout>, Fault>)> + 'a {
        let prompt = &batch.prompts[index];
        let busy = server.begin(Question::tokens(prompt, batch.settings));
        async move {
            let answered = self.answer(server, prompt, batch).await;
            drop(busy);
            match &answered {
                Ok(_) => server.answered(),
                Err(fault) => self.failed(server, fault).await,
            }
            (index, answered)
        }
    }

    async fn failed(&self, server: &Server, fault: &Fault) {
        if let Fault::Passing(problem) = fault {
            server.failed(problem);
            // Whatever it had may be gone.
            let mut has = server.has.lock().await;
            (has.identity, has.checked, has.unsure) = (None, 0, true);
        }
    }

    /// The server with the least to do, among those that can take a request.
    fn least_busy(&self) -> Option<&Server> {
        let able = self.servers.iter().filter_map(|server| Some((server.room()?, server)));
        able.min_by_key(|(tokens, _)| *tokens).map(|(_, server)| server)
    }

    fn problems(&self) -> String {
        let known: Vec<String> = self.servers.iter().filter_map(Server::problem).collect();
        known.join("; ")
    }

    /// Groups of responses to all prompts of a batch. What a server fails to answer goes to the others.
    async fn gather(&self, batch: &Batch<'_>, stop: &Stop) -> Result<Vec<Vec<Rollout>>, EngineError> {
        let count = batch.prompts.len();
        let mut groups: Vec<Option<Vec<Rollout>>> = (0..count).map(|_| None).collect();
        let mut waiting: VecDeque<usize> = (0..count).collect();
        let (mut tries, mut idle) = (vec![0_u32; count], 0.0);
        let mut running = FuturesUnordered::new();
        loop {
            while let (Some(index), Some(server)) = (waiting.front().copied(), self.least_busy()) {
                waiting.pop_front();
                running.push(self.counted(server, index, batch));
            }
            if running.is_empty() && waiting.is_empty() {
                return Ok(groups.into_iter().flatten().collect());
            }
            if stop.is_raised() {
                return Err(EngineError::Stopped);
            }
            if running.is_empty() {
                tokio::time::sleep(LOOK).await;
                idle += LOOK.as_secs_f64();
                *self.waited.lock() += LOOK.as_secs_f64();
                let patience = self.setup.spec.rollout.engine.patience_seconds;
                if idle > patience {
                    let problem =
                        format!("no server answered for {patience} s (`patience_seconds`): {}", self.problems());
                    return Err(EngineError::Unreachable(problem));
                }
                continue;
            }
            let Ok(Some((index, answered))) = tokio::time::timeout(LOOK, running.next()).await else { continue };
            match answered {
                Ok(group) => {
                    idle = 0.0;
                    groups[index] = Some(group);
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(problem) | Fault::Unknown(problem) | Fault::Refused(problem)) => {
                    tries[index] += 1;
                    if tries[index] >= MOST_TRIES {
                        let row = batch.prompts[index].example.index;
                        let problem = format!("row {row} was asked {MOST_TRIES} times in vain: {problem}");
                        return Err(EngineError::Unreachable(problem));
                    }
                    waiting.push_back(index);
                }
            }
        }
    }

    /// Brings the published weights to every server that does not rest. One that fails gets them before its next
    /// request.
    async fn spread(&self, published: &Published, stop: &Stop) -> Result<(), EngineError> {
        let batch = self.batches.load(Ordering::Relaxed);
        let bring = |server| async move {
            match self.ready(server, published, batch).await {
                Err(Fault::Final(error)) => Err(error),
                Err(fault) => {
                    self.failed(server, &fault).await;
                    Ok(())
                }
                Ok(_) => Ok(()),
            }
        };
        let able = self.servers.iter().filter(|server| server.room().is_some());
        let all = future::try_join_all(able.map(bring));
        let stopped = async {
            while !stop.is_raised() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            all = all => all.map(drop),
            () = stopped => Err(EngineError::Stopped),
        }
    }

    /// Lets every server forget the adapters of this attempt.
    async fn leave(&self) {
        let forget = async |server: &Server| {
            let names = server.has.try_lock().map(|has| has.adapters.clone()).unwrap_or_default();
            for name in names {
                let _ = self.protocol.unload_adapter(self.peer(server), &name).await;
            }
        };
        let all = future::join_all(self.servers.iter().map(forget));
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }
}

impl RolloutEngine for Sampler {
    fn publish(&self, weights: &Publication<'_>, version: u64, stop: &Stop) -> Result<(), TrainError> {
        let dir = self.folder.write(weights, version, self.adapters)?;
        let version = Version { step: version, name: format!("{}-{version}", self.setup.attempt) };
        let published = Arc::new(Published { version, dir });
        *self.published.lock() = Some(Arc::clone(&published));
        Ok(self.runtime()?.block_on(self.spread(&published, stop))?)
    }

    fn sample(
        &self,
        prompts: Vec<Prompt>,
        settings: &RolloutSettings,
        stop: &Stop,
    ) -> Result<Vec<Sampled>, TrainError> {
        let published = self.published.lock().clone();
        let published =
            published.ok_or_else(|| EngineError::Unreachable("no weights were published yet".to_owned()))?;
        let number = self.batches.fetch_add(1, Ordering::Relaxed) + 1;
        let batch = Batch { number, prompts: &prompts, settings, published: &published };
        let groups = self.runtime()?.block_on(self.gather(&batch, stop))?;
        let version = Some(published.version.step);
        let sampled = |(prompt, rollouts)| Sampled { prompt, rollouts, version };
        Ok(prompts.into_iter().zip(groups).map(sampled).collect())
    }

    fn waited(&self) -> f64 {
        std::mem::take(&mut self.waited.lock())
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            if self.adapters {
                runtime.block_on(self.leave());
            }
            runtime.shutdown_background();
        }
    }
}
