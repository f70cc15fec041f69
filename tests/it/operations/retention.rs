//! The policy, as the service carries it out.

use std::time::Duration;

use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::retention::{Pruned, RetentionPolicy};
use vgpo::service::Service;

use crate::store::fixture::{self, Db, claimed, group, new_checkpoint, point};

const DAY: Duration = Duration::from_secs(86_400);

fn settings(folder: &std::path::Path) -> AppSettings {
    let flags = [("data_dir", folder.display().to_string())];
    AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap()
}

async fn finished_run(db: &Db) -> String {
    let leased = claimed(&*db.store, "w").await;
    for step in 0..3 {
        db.store.append_metrics(&leased.token, &[point(db, step, &[("loss", 1.0)])]).await.unwrap();
        db.store.append_samples(&leased.token, step, &[group(step)]).await.unwrap();
        let id = format!("ckpt_{}{step}", leased.token.run_id);
        db.store.add_checkpoint(&leased.token, new_checkpoint(&id, step, None)).await.unwrap();
    }
    db.store.complete(&leased.token, "done").await.unwrap();
    leased.token.run_id
}

#[tokio::test]
async fn what_is_older_than_the_policy_goes_with_its_files() {
    let db = fixture::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let artifacts = vgpo::artifacts::open(&settings.artifacts_url).unwrap();
    let service = Service::new(db.store.clone(), db.clock.clone(), settings);
    let run = finished_run(&db).await;
    let mut kept = Vec::new();
    for checkpoint in db.store.run_checkpoints(&run).await.unwrap() {
        let files = folder.path().join("made");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("weights"), "w").unwrap();
        artifacts.publish_dir(&files, &checkpoint.key).unwrap();
        kept.push(checkpoint);
    }
    db.clock.advance(DAY * 20);

    let nothing = service.admin().prune(&RetentionPolicy::default()).await.unwrap();
    assert_eq!(nothing, Pruned::default(), "without a policy nothing goes");
    let lenient = RetentionPolicy { samples_days: Some(30), metrics_days: Some(30), ..RetentionPolicy::default() };
    assert_eq!(service.admin().prune(&lenient).await.unwrap(), Pruned::default());
    let strict = RetentionPolicy {
        events_days: Some(10),
        samples_days: Some(10),
        metrics_days: Some(10),
        checkpoints_days: Some(10),
    };
    let events = fixture::all_events(&*db.store).await.len() as u64;
    let pruned = service.admin().prune(&strict).await.unwrap();
    assert_eq!(
        pruned,
        Pruned { events, samples: 3, points: 3, checkpoints: 2, orphans: 0 },
        "the last checkpoint stays"
    );
    let left = db.store.run_checkpoints(&run).await.unwrap();
    assert_eq!(left.len(), 1);
    for checkpoint in kept {
        let is_left = left.iter().any(|other| other.id == checkpoint.id);
        assert_eq!(artifacts.path(&checkpoint.key).is_ok(), is_left, "files follow their record");
    }
    let again = service.admin().prune(&strict).await.unwrap();
    assert_eq!((again.samples, again.points, again.checkpoints), (0, 0, 0));
}
