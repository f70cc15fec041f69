//! Sums over ranks on their GPUs, by NCCL. This file compiles (`scripts/check-cuda nccl`) and has never been run.
//!
//! One thread of each process makes every call of NCCL. NCCL itself waits for a lost rank for ever. Whoever needs a sum
//! waits for [`DEADLINE`] and then asks by messages, which name the rank that is missing; the thread, which only
//! watches the GPU, gives the communicator up, and with it the kernels that wait there.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Device, Layout, Shape, Tensor, bail};
use parking_lot::Mutex;
use uuid::Uuid;

use super::gpus::{Gpu, distinct};
use super::{Collective, CollectiveError};

/// All ranks have just met when a sum begins, so it takes seconds; before it, a GPU may have the rest of a backward
/// pass to do.
const DEADLINE: Duration = Duration::from_mins(10);
/// Time between looks at the GPU.
const LOOK: Duration = Duration::from_micros(100);
/// The thread has this long to end in an orderly way.
const FAREWELL: Duration = Duration::from_secs(5);
/// The operation in which NCCL connects the ranks.
const START: &str = "the start of NCCL";

/// What NCCL's thread gives, or why it cannot.
type Outcome<T> = Result<T, String>;

/// The name of a group of ranks, by which they find each other.
type IdBytes = [c_char; 128];

/// A tensor to be added up.
struct Work {
    tensor: Tensor,
    reply: Sender<Outcome<Tensor>>,
}

/// This process in a group of ranks with a GPU each.
#[derive(Debug)]
pub struct NcclRank {
    /// Work for the thread, which ends with it.
    work: Option<Sender<Work>>,
    /// Does nobody wait for the thread any more?
    given_up: Arc<AtomicBool>,
    /// Closes when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl NcclRank {
    /// Joins the GPUs of all ranks; `device` is that of this one, which is on `host`.
    ///
    /// # Errors
    /// Two ranks with one GPU, NCCL's own errors, and everything that [`Collective::exchange`] may fail with.
    pub fn join(ranks: &dyn Collective, device: &Device, host: &str) -> Result<Self, CollectiveError> {
        let (rank, size) = (ranks.rank(), ranks.size());
        let failed = |problem: String| CollectiveError::Nccl { rank, what: START, problem };
        let stream = device.as_cuda_device().map_err(|error| failed(error.to_string()))?.cuda_stream();
        distinct(ranks, &gpu(&stream, host).map_err(failed)?)?;
        let id = share_id(ranks)?;
        let (work, inbox) = channel();
        let (ready, started) = channel();
        let (end, ended) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&given_up);
        let run = move || {
            match connect(stream, rank, size, id) {
                Ok(comm) => {
                    let _ = ready.send(Ok(()));
                    serve(&comm, &inbox, &flag);
                }
                Err(problem) => drop(ready.send(Err(problem))),
            }
            drop(end);
        };
        std::thread::Builder::new().name("nccl".to_owned()).spawn(run).map_err(|error| failed(error.to_string()))?;
        let joined = Self { work: Some(work), given_up, ended: Mutex::new(ended) };
        joined.wait(ranks, START, &started)?;
        Ok(joined)
    }

    /// The sum over all ranks of a tensor of 32-bit numbers. The ranks must have met just before.
    ///
    /// # Errors
    /// NCCL's own errors, and a rank that is missing.
    pub fn sum(&self, ranks: &dyn Collective, what: &'static str, tensor: &Tensor) -> Result<Tensor, CollectiveError> {
        let (reply, answer) = channel();
        let work = Work { tensor: tensor.clone(), reply };
        let sent = self.work.as_ref().is_some_and(|inbox| inbox.send(work).is_ok());
        if sent { self.wait(ranks, what, &answer) } else { Err(CollectiveError::Ended) }
    }

    /// The thread's answer. Where it does not come in time, a rank that is missing does not come to a barrier either,
    /// whose error names it.
    fn wait<T>(
        &self,
        ranks: &dyn Collective,
        what: &'static str,
        answer: &Receiver<Outcome<T>>,
    ) -> Result<T, CollectiveError> {
        let problem = match answer.recv_timeout(DEADLINE) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(problem)) => problem,
            Err(RecvTimeoutError::Disconnected) => "its thread has ended".to_owned(),
            Err(RecvTimeoutError::Timeout) => {
                self.given_up.store(true, Ordering::Relaxed);
                ranks.barrier(what)?;
                format!("no end within {} s, while all ranks are alive", DEADLINE.as_secs())
            }
        };
        Err(CollectiveError::Nccl { rank: ranks.rank(), what, problem })
    }
}

impl Drop for NcclRank {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.work = None;
        // A process that ends while the thread is within NCCL may crash.
        let _ = self.ended.lock().recv_timeout(FAREWELL);
    }
}

/// The group's name, which rank 0 makes and hands round.
fn share_id(ranks: &dyn Collective) -> Result<IdBytes, CollectiveError> {
    let own = if ranks.rank() == 0 {
        let failed = |error| CollectiveError::Nccl { rank: 0, what: START, problem: in_words(&error) };
        Id::new().map_err(failed)?.internal().iter().map(|byte| *byte as u8).collect()
    } else {
        Vec::new()
    };
    let id = <[u8; 128]>::try_from(ranks.broadcast("NCCL's id", own)?);
    let different =
        |_| CollectiveError::Different { rank: 0, problem: "sent something else than NCCL's id".to_owned() };
    Ok(id.map_err(different)?.map(|byte| byte as c_char))
}

fn gpu(stream: &CudaStream, host: &str) -> Outcome<Gpu> {
    let context = stream.context();
    let id = context.uuid().map_err(|error| error.to_string())?;
    let id = Uuid::from_bytes(id.bytes.map(|byte| byte as u8));
    Ok(Gpu { host: host.to_owned(), name: format!("cuda:{}", context.ordinal()), id: format!("GPU-{id}") })
}

fn connect(stream: Arc<CudaStream>, rank: usize, size: usize, id: IdBytes) -> Outcome<Comm> {
    stream.context().bind_to_thread().map_err(|error| error.to_string())?;
    Comm::from_rank(stream, rank, size, Id::uninit(id)).map_err(|error| in_words(&error))
}

/// Adds up what comes, until an error or the end. The communicator goes with it, and ends what still waits on the GPU.
fn serve(comm: &Comm, inbox: &Receiver<Work>, given_up: &AtomicBool) {
    for Work { tensor, reply } in inbox {
        let sum = tensor.apply_op1_no_bwd(&AllReduce(comm)).map_err(|error| error.to_string());
        let sum = sum.and_then(|sum| watch(&comm.stream(), given_up).map(|()| sum));
        let failed = sum.is_err();
        // Nobody may be waiting any more.
        let _ = reply.send(sum);
        if failed {
            return;
        }
    }
}

/// Returns once everything on the stream is done.
fn watch(stream: &CudaStream, given_up: &AtomicBool) -> Outcome<()> {
    let done = stream.record_event(None).map_err(|error| error.to_string())?;
    while !done.try_is_complete().map_err(|error| error.to_string())? {
        if given_up.load(Ordering::Relaxed) {
            return Err("given up".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// NCCL's name of an error.
fn in_words(error: &NcclError) -> String {
    format!("{:?}", error.0)
}

/// The sum over all ranks, as an operation on a tensor.
struct AllReduce<'c>(&'c Comm);

impl CustomOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "sum over ranks"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        bail!("NCCL adds up on GPUs only")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("NCCL needs values without gaps") };
        let device = storage.device().clone();
        // Not in place: tensors share their storage.
        let mut sum = device.alloc_zeros::<f32>(end - start)?;
        let own = storage.as_cuda_slice::<f32>()?.slice(start..end);
        match self.0.all_reduce(&own, &mut sum, &ReduceOp::Sum) {
            Ok(_) => Ok((CudaStorage::wrap_cuda_slice(sum, device), layout.shape().clone())),
            Err(error) => bail!("{}", in_words(&error)),
        }
    }
}
