//! A model that tells what it was asked, waits at a gate, and panics when told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use candle_core::{Device, Tensor};
use vgpo::config::serving::EngineLimits;
use vgpo::domain::device::DeviceName;
use vgpo::domain::weights::WeightFormat;
use vgpo::model::{Batch, Capture, ImagePatches, KvCache, ModelError, ModelInfo, Tape, VisionLanguageModel};
use vgpo::serving::{LocalEngine, ServedModel};

/// Longer than any test keeps its gate closed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
pub struct Watch {
    passes: Mutex<Vec<(usize, usize)>>,
    closed: Mutex<bool>,
    /// How many passes there were when the gate was closed.
    before: AtomicUsize,
    opened: Condvar,
    panic: AtomicBool,
}

impl Watch {
    pub fn close(&self) {
        self.before.store(self.rows().len(), Ordering::SeqCst);
        *self.closed.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    pub fn panic_once(&self) {
        self.panic.store(true, Ordering::SeqCst);
    }

    /// Rows of every forward pass so far.
    pub fn rows(&self) -> Vec<usize> {
        self.passes().into_iter().map(|(rows, _)| rows).collect()
    }

    /// Rows and columns of every forward pass so far.
    pub fn passes(&self) -> Vec<(usize, usize)> {
        self.passes.lock().unwrap().clone()
    }

    /// Waits until `count` passes were asked for since the gate was closed (the last one may stand at it).
    pub async fn pass(&self, count: usize) {
        for _ in 0..2000 {
            if self.rows().len() >= self.before.load(Ordering::SeqCst) + count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no pass began");
    }

    fn begin(&self, batch: &Batch) {
        self.passes.lock().unwrap().push((batch.rows, batch.seq_len));
        let closed = self.closed.lock().unwrap();
        // A test that failed before it opened the gate must not hang: its engine waits for this thread.
        drop(self.opened.wait_timeout_while(closed, PATIENCE, |closed| *closed).unwrap());
        assert!(!self.panic.swap(false, Ordering::SeqCst), "told to panic");
    }
}

struct Spy {
    inner: Arc<dyn VisionLanguageModel>,
    info: ModelInfo,
    watch: Arc<Watch>,
}

impl VisionLanguageModel for Spy {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn device(&self) -> &Device {
        self.inner.device()
    }

    fn encode_images(&self, images: &[Arc<ImagePatches>]) -> Result<Vec<Tensor>, ModelError> {
        self.inner.encode_images(images)
    }

    fn forward(
        &self,
        batch: &Batch,
        features: Option<&Tensor>,
        cache: Option<&mut KvCache>,
        capture: &mut Capture,
    ) -> Result<Tensor, ModelError> {
        self.watch.begin(batch);
        self.inner.forward(batch, features, cache, capture)
    }

    fn forward_on<'m>(&'m self, batch: &'m Batch, tape: &mut Tape<'m>) -> Result<Tensor, ModelError> {
        self.inner.forward_on(batch, tape)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.inner.logits(hidden)
    }

    fn new_cache(&self, rows: usize, capacity: usize) -> Result<KvCache, ModelError> {
        self.inner.new_cache(rows, capacity)
    }
}

/// `model`, watched.
pub fn watch(model: &Arc<dyn VisionLanguageModel>, watch: &Arc<Watch>) -> Arc<dyn VisionLanguageModel> {
    watch_as(model.info().clone(), model, watch)
}

/// `model`, watched, which says this of itself.
pub fn watch_as(
    info: ModelInfo,
    model: &Arc<dyn VisionLanguageModel>,
    watch: &Arc<Watch>,
) -> Arc<dyn VisionLanguageModel> {
    Arc::new(Spy { inner: Arc::clone(model), info, watch: Arc::clone(watch) })
}

/// An engine whose models are watched.
pub fn watched(limits: EngineLimits) -> (Arc<LocalEngine>, Arc<Watch>) {
    let told = Arc::new(Watch::default());
    let shared = Arc::clone(&told);
    let engine = LocalEngine::with_loader(
        limits,
        Arc::new(move |model| {
            let mut served = ServedModel::open(model, DeviceName::CPU, WeightFormat::Native)?;
            served.model = watch(&served.model, &shared);
            Ok(served)
        }),
    );
    (Arc::new(engine), told)
}
