//! Which engine takes a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::config::serving::ENGINE_LOADING_COST;
use crate::domain::engine::EngineRecord;

/// What this server itself knows of engines: what they do for it, and which of them did not answer.
#[derive(Default)]
pub(super) struct Standing(Mutex<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// Requests that it answers for this server at the moment.
    busy: u64,
    /// It did not answer, and its last heartbeat was then this one.
    lost_at: Option<DateTime<Utc>>,
}

/// A request that an engine answers; it is free again when this is dropped.
pub(super) struct Busy {
    standing: Arc<Standing>,
    engine: String,
}

impl Standing {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engines in the order in which they are asked. One that did not answer comes last until it is heard of again.
    pub(super) fn ranked(&self, mut engines: Vec<EngineRecord>, model: &str) -> Vec<EngineRecord> {
        let mut known = self.known();
        known.retain(|id, known| known.busy > 0 || engines.iter().any(|engine| engine.id == *id));
        engines.sort_by_cached_key(|engine| {
            let (busy, lost_at) = known.get(&engine.id).map_or((0, None), |known| (known.busy, known.lost_at));
            let is_loaded = engine.models.iter().any(|loaded| loaded == model);
            let cost = if is_loaded { 0 } else { ENGINE_LOADING_COST };
            // What it told may be older than what it does for this server.
            (lost_at == Some(engine.heartbeat_at), engine.load.max(busy) + cost)
        });
        engines
    }

    /// Takes note of a request.
    pub(super) fn busy(self: &Arc<Self>, engine: &str) -> Busy {
        self.known().entry(engine.to_owned()).or_default().busy += 1;
        Busy { standing: Arc::clone(self), engine: engine.to_owned() }
    }

    /// It did not answer.
    pub(super) fn lost(&self, engine: &EngineRecord) {
        self.known().entry(engine.id.clone()).or_default().lost_at = Some(engine.heartbeat_at);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(known) = self.standing.known().get_mut(&self.engine) {
            known.busy = known.busy.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(id: &str, load: u64, models: &[&str], beat: i64) -> EngineRecord {
        let at = DateTime::from_timestamp(beat, 0).unwrap();
        EngineRecord {
            id: id.to_owned(),
            address: format!("http://{id}"),
            version: String::new(),
            host: String::new(),
            device: "cpu".to_owned(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            load,
            started_at: at,
            heartbeat_at: at,
        }
    }

    fn order(standing: &Standing, engines: &[EngineRecord]) -> String {
        standing.ranked(engines.to_vec(), "m").into_iter().map(|engine| engine.id).collect()
    }

    #[test]
    fn the_model_counts_and_then_the_load() {
        let standing = Arc::new(Standing::default());
        let engines =
            [engine("a", 1, &[], 1), engine("b", 3, &["m"], 1), engine("c", 0, &[], 1), engine("d", 2, &["m"], 1)];
        assert_eq!(order(&standing, &engines), "dbca");
        let crowded = [engine("a", 0, &[], 1), engine("b", ENGINE_LOADING_COST + 1, &["m"], 1)];
        assert_eq!(order(&standing, &crowded), "ab", "a crowded engine leaves the model to another one");
    }

    #[test]
    fn what_this_server_asked_for_counts_at_once() {
        let standing = Arc::new(Standing::default());
        let engines = [engine("a", 0, &["m"], 1), engine("b", 1, &["m"], 1)];
        let asked: Vec<_> = (0..2).map(|_| standing.busy("a")).collect();
        assert_eq!(order(&standing, &engines), "ba");
        drop(asked);
        assert_eq!(order(&standing, &engines), "ab");
    }

    #[test]
    fn one_that_did_not_answer_comes_last_until_it_is_heard_of() {
        let standing = Arc::new(Standing::default());
        let engines = [engine("a", 0, &["m"], 1), engine("b", 5, &[], 1)];
        standing.lost(&engines[0]);
        assert_eq!(order(&standing, &engines), "ba");
        assert_eq!(order(&standing, &[engine("a", 0, &["m"], 2), engines[1].clone()]), "ab");
    }
}
