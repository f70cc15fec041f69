//! Health of the engines, and which of them gets a request.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};

use crate::config::serving::ENGINE_LOADING_COST;
use crate::domain::engine::EngineRecord;

/// What this server itself knows about engines: how many of its requests they work on, and which did not answer.
#[derive(Default)]
pub(super) struct EngineHealth(Mutex<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// Requests of this server that it is working on.
    in_flight: u64,
    /// Set when it did not answer: its last heartbeat at that time.
    lost_at: Option<DateTime<Utc>>,
}

/// Counts a request as in flight until it is dropped.
pub(super) struct InFlight {
    health: Arc<EngineHealth>,
    engine: String,
}

impl EngineHealth {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock()
    }

    /// The engines in the order in which they are tried. One that did not answer comes last until its next heartbeat.
    pub(super) fn ranked(&self, mut engines: Vec<EngineRecord>, model: &str) -> Vec<EngineRecord> {
        let mut known = self.known();
        known.retain(|id, known| known.in_flight > 0 || engines.iter().any(|engine| engine.id == *id));
        engines.sort_by_cached_key(|engine| {
            let (in_flight, lost_at) =
                known.get(&engine.id).map_or((0, None), |known| (known.in_flight, known.lost_at));
            let is_loaded = engine.models.iter().any(|loaded| loaded == model);
            let cost = if is_loaded { 0 } else { ENGINE_LOADING_COST };
            // The load that it reported may be older than the requests of this server.
            (lost_at == Some(engine.heartbeat_at), engine.load.max(in_flight) + cost)
        });
        engines
    }

    /// Counts a request to an engine.
    pub(super) fn begin(self: &Arc<Self>, engine: &str) -> InFlight {
        self.known().entry(engine.to_owned()).or_default().in_flight += 1;
        InFlight { health: Arc::clone(self), engine: engine.to_owned() }
    }

    /// Records that an engine did not answer.
    pub(super) fn lost(&self, engine: &EngineRecord) {
        self.known().entry(engine.id.clone()).or_default().lost_at = Some(engine.heartbeat_at);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(known) = self.health.known().get_mut(&self.engine) {
            known.in_flight = known.in_flight.saturating_sub(1);
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

    fn order(health: &EngineHealth, engines: &[EngineRecord]) -> String {
        health.ranked(engines.to_vec(), "m").into_iter().map(|engine| engine.id).collect()
    }

    #[test]
    fn the_model_counts_and_then_the_load() {
        let health = Arc::new(EngineHealth::default());
        let engines =
            [engine("a", 1, &[], 1), engine("b", 3, &["m"], 1), engine("c", 0, &[], 1), engine("d", 2, &["m"], 1)];
        assert_eq!(order(&health, &engines), "dbca");
        let crowded = [engine("a", 0, &[], 1), engine("b", ENGINE_LOADING_COST + 1, &["m"], 1)];
        assert_eq!(order(&health, &crowded), "ab", "a loaded model does not make up for a long queue");
    }

    #[test]
    fn what_this_server_asked_for_counts_at_once() {
        let health = Arc::new(EngineHealth::default());
        let engines = [engine("a", 0, &["m"], 1), engine("b", 1, &["m"], 1)];
        let asked: Vec<_> = (0..2).map(|_| health.begin("a")).collect();
        assert_eq!(order(&health, &engines), "ba");
        drop(asked);
        assert_eq!(order(&health, &engines), "ab");
    }

    #[test]
    fn one_that_did_not_answer_comes_last_until_its_next_heartbeat() {
        let health = Arc::new(EngineHealth::default());
        let engines = [engine("a", 0, &["m"], 1), engine("b", 5, &[], 1)];
        health.lost(&engines[0]);
        assert_eq!(order(&health, &engines), "ba");
        assert_eq!(order(&health, &[engine("a", 0, &["m"], 2), engines[1].clone()]), "ab");
    }
}
